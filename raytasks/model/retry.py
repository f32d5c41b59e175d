"""The rules for the retry of failed attempts, and the errors that a handler may raise for them."""

import math
import random
from dataclasses import dataclass
from typing import Any

MAX_SECONDS = 10 * 366 * 86_400.0
"""The longest delay: ten years. Times far beyond that could not be shown."""


DEFAULT_SECONDS = 1.0
"""The wait of a `RetryAfter` or `Snooze` whose `seconds` are not a number."""


class PermanentError(Exception):
    """Raised by a handler: trying again cannot help. The task is FAILED at once."""


class AttemptTimeout(Exception):
    """The attempt took longer than its timeout. It can be in the lists of a `RetryPolicy`."""


class RetryAfter(Exception):
    """Raised by a handler: this attempt failed. Try again in `seconds`, not sooner."""

    seconds: float = DEFAULT_SECONDS  # for a subclass that does not call our `__init__`

    def __init__(self, seconds: float, message: str = "") -> None:
        super().__init__(seconds, message)
        self.seconds = _bounded(seconds)

    def __str__(self) -> str:
        return _own_text(self) or f"try again in {wait_of(self):g} seconds"


class Snooze(Exception):
    """Raised by a handler: not now, run again in `seconds`. It does not count as an attempt."""

    seconds: float = DEFAULT_SECONDS

    def __init__(self, seconds: float, message: str = "") -> None:
        super().__init__(seconds, message)
        self.seconds = _bounded(seconds)

    def __str__(self) -> str:
        return _own_text(self) or f"snoozed for {wait_of(self):g} seconds"


class RateLimited(Snooze):
    """Raised by a handler: whoever it calls takes no more for now.

    The task runs again in `seconds`; that is no failed attempt. Until then, no attempt begins that
    the `limit` holds for: of a keyed limit, none with the same value.
    """

    def __init__(self, limit: str, seconds: float, message: str = "") -> None:
        super().__init__(seconds, message or f"the limit {limit} is closed for {seconds:g} seconds")
        self.limit = limit

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.limit, *self.args), vars(self)


@dataclass(frozen=True)
class RetryDecision:
    """Whether a failed attempt may be tried again, and after how many seconds."""

    retryable: bool
    delay_seconds: float


@dataclass(frozen=True)
class RetryPolicy:
    """The retry policy of a task: how often and how soon its failed attempts are tried again.

    The delay after the n-th failure (n from 1) is
    `min(max_delay_seconds, initial_delay_seconds * factor ** (n - 1))`. At random it is made longer
    or shorter by up to `jitter` (a fraction), so that tasks that failed together come back apart.

    Errors of the types in `never_retry`, and `PermanentError`, end the task at once. With
    `retry_on`, only errors of those types are tried again. If both match, `never_retry` wins.

    The last three are for attempts that ran out of memory, of handlers with `ray_options`. Each
    multiplies the `memory` that the next one asks Ray for by `memory_factor`, up to `max_memory`
    bytes. With `other_node`, the next one begins on another node, if one has room.
    """

    max_attempts: int = 3
    initial_delay_seconds: float = 1.0
    factor: float = 2.0
    max_delay_seconds: float = 300.0
    jitter: float = 0.1
    never_retry: tuple[type[BaseException], ...] = ()
    retry_on: tuple[type[BaseException], ...] | None = None
    memory_factor: float = 1.0
    max_memory: int | None = None
    other_node: bool = False

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ValueError(f"max_attempts must be at least 1, not {self.max_attempts}")
        delays = (self.initial_delay_seconds, self.max_delay_seconds)
        if not all(map(math.isfinite, (*delays, self.factor, self.jitter))):
            raise ValueError("delays, factor and jitter must be finite numbers")
        if not 0 <= min(delays) <= max(delays) <= MAX_SECONDS:
            raise ValueError("delays must not be negative, nor longer than ten years")
        if self.factor < 1:
            raise ValueError(f"factor must be at least 1, not {self.factor}")
        if not 0 <= self.jitter <= 1:
            raise ValueError(f"jitter is a fraction from 0 to 1, not {self.jitter}")
        self._check_memory()

    def _check_memory(self) -> None:
        if not 1 <= self.memory_factor < math.inf:
            raise ValueError(f"memory_factor must be a number from 1, not {self.memory_factor}")
        if (self.max_memory is None) != (self.memory_factor == 1):
            raise ValueError(
                "memory_factor (more than 1) and max_memory go together: max_memory is the most "
                "bytes that an attempt asks for, such as what your largest node has"
            )
        if self.max_memory is not None and self.max_memory < 1:
            raise ValueError(f"max_memory must be at least 1 byte, not {self.max_memory}")

    @property
    def heeds_memory(self) -> bool:
        """Whether it matters to the next attempt that earlier ones ran out of memory."""
        return self.other_node or self.memory_factor > 1

    def memory_after(self, memory: float, times: int) -> float:
        """Return the bytes to ask for when so many attempts of the task ran out of memory.

        The first one asked for `memory`.
        """
        if self.max_memory is None:
            return memory
        try:
            more = memory * self.memory_factor**times
        except OverflowError:
            more = math.inf
        return min(more, max(memory, self.max_memory))

    def may_retry(self, error: BaseException) -> bool:
        """Return whether the policy allows a retry after an error of this kind."""
        if isinstance(error, (PermanentError, *self.never_retry)):
            return False
        if isinstance(error, RetryAfter) or self.retry_on is None:
            return True
        return isinstance(error, self.retry_on)

    def backoff(self, failures: int, random_source: random.Random) -> float:
        """Return the delay in seconds after `failures` failed attempts (at least 1)."""
        try:
            delay = self.initial_delay_seconds * self.factor ** (failures - 1)
        except OverflowError:
            delay = self.max_delay_seconds if self.initial_delay_seconds else 0.0
        delay = min(self.max_delay_seconds, delay)
        return delay * (1 + self.jitter * random_source.uniform(-1, 1))

    def verdict(
        self, error: BaseException, failures: int, random_source: random.Random
    ) -> RetryDecision:
        """Return the decision on an attempt that `error` ended.

        It was failure number `failures` of the task's budget.
        """
        if not self.may_retry(error):
            return RetryDecision(retryable=False, delay_seconds=0.0)
        if isinstance(error, RetryAfter):
            return RetryDecision(retryable=True, delay_seconds=wait_of(error))
        return RetryDecision(True, self.backoff(failures, random_source))


def wait_of(error: RetryAfter | Snooze) -> float:
    """Return the wait that an error asks for, in seconds: a finite number from 0 to `MAX_SECONDS`.

    A subclass may have set anything, e.g. the text of a header. If it is not a number, return
    `DEFAULT_SECONDS`.
    """
    try:
        seconds = float(error.seconds)
    except OverflowError:
        return MAX_SECONDS
    except Exception:
        return DEFAULT_SECONDS
    return DEFAULT_SECONDS if math.isnan(seconds) else min(MAX_SECONDS, max(0.0, seconds))


def _bounded(seconds: float) -> float:
    if not math.isfinite(seconds):
        raise ValueError(f"seconds must be a finite number, not {seconds!r}")
    return min(MAX_SECONDS, max(0.0, float(seconds)))


def _own_text(error: RetryAfter | Snooze) -> str:
    """Return the error's own text: its message, or the text of a subclass's arguments."""
    if len(error.args) == 2 and isinstance(error.args[0], int | float):
        return str(error.args[1])
    return Exception.__str__(error)
