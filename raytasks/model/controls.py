"""What steers the flow of tasks: pools, limits and batches, as a handler's author declares them.

Plain data that checks itself. Every error names the field and the fix.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

DAY_SECONDS = 86_400.0
"""The longest period of a rate, in seconds."""

MIN_PERIOD = 0.001
"""The shortest period of a rate, in seconds."""

MIN_RATE, MAX_RATE = 0.001, 1e9
"""The bounds of a rate, in attempts per period."""

MAX_SLOTS = 100_000
"""The highest number of attempts that anything here may allow at a time."""

MIN_WEIGHT, MAX_WEIGHT = 0.001, 1000.0
"""The bounds of a weight."""

NAME = "[A-Za-z][A-Za-z0-9_.-]{0,62}"
"""The form of a pool's or a limit's name, as a regular expression."""

RESERVED_POOLS = ("shared", "concurrent", "remote")
"""The pools of raytasks itself."""

_NAME = re.compile(NAME)


@dataclass(frozen=True)
class Pool:
    """A pool of runners: all types that name it share its processes.

    It has at least `runners[0]` and at most `runners[1]` runners. With 0 as the least, the first
    runner starts when the first task comes. The `ray_options` are those of its actors:
    `num_cpus`, `num_gpus`, `memory`, `resources`, `runtime_env`, `scheduling_strategy`.
    Raises `ValueError`.
    """

    name: str
    runners: tuple[int, int] = (1, 1)
    ray_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_name("Pool", self.name)
        if self.name in RESERVED_POOLS or self.name.startswith("class."):
            raise ValueError(f"Pool: the name {self.name!r} is one of raytasks' own; take another")
        check_sizes(f"Pool {self.name!r}", self.runners)


@dataclass(frozen=True)
class Limit:
    """A limit: how many attempts run at a time, or begin in a period, over all types that name it.

    - `running`: how many attempts may run at the same time.
    - `rate`: how many may begin in each `per_seconds`; `burst`: how many of them at once, by
      default what one second allows, at least 1.
    - `by`: a JSON pointer into the payload, such as `/account`. Then the limit holds for each value
      there by itself, within each namespace.
    - `ordered`: tasks of one value run one after the other, in their order. A task that waits for
      its retry holds up those behind it. It needs `by` and `running=1`.

    Raises `ValueError`.
    """

    name: str
    running: int | None = None
    rate: float | None = None
    per_seconds: float = 1.0
    burst: int | None = None
    by: str | None = None
    ordered: bool = False

    def __post_init__(self) -> None:
        _check_name("Limit", self.name)
        check_bounds(f"Limit {self.name!r}", self.running, self.rate, self.per_seconds, self.burst)
        if self.by is not None and not self.by.startswith("/"):
            raise ValueError(
                f"Limit {self.name!r}: by={self.by!r} is no JSON pointer; write it as '/account'"
            )
        if self.ordered and (self.by is None or self.running != 1):
            raise ValueError(f"Limit {self.name!r}: ordered=True needs by= and running=1")


@dataclass(frozen=True)
class Batch:
    """Attempts of one type that are run by one call: the handler gets a list of payloads.

    The call gets at most `size` payloads, and waits at most `seconds` for more of them. It returns
    a list with a result or an exception for each, in the same order. Raises `ValueError`.
    """

    size: int
    seconds: float = 0.05

    def __post_init__(self) -> None:
        _check_count("Batch: size", self.size)
        if not 0 <= _number("Batch: seconds", self.seconds) <= 60:
            raise ValueError(f"Batch: seconds must be from 0 to 60, not {self.seconds!r}")


def check_sizes(where: str, runners: object) -> None:
    """Refuse sizes of a pool that cannot be. Raises `ValueError`."""
    if (
        not isinstance(runners, tuple | list)
        or len(runners) != 2
        or not all(isinstance(size, int) and not isinstance(size, bool) for size in runners)
        or not 0 <= runners[0] <= runners[1] <= MAX_SLOTS
        or runners[1] < 1
    ):
        raise ValueError(
            f"{where}: runners must be (least, most) with 0 <= least <= most and most >= 1, "
            f"not {runners!r}"
        )


def check_bounds(
    where: str,
    running: int | None,
    rate: float | None,
    per_seconds: float,
    burst: int | None,
) -> None:
    """Refuse the bounds of a limit that limit nothing, or that cannot be. Raises `ValueError`."""
    if running is None and rate is None:
        raise ValueError(f"{where}: give running=, rate=, or both")
    if running is not None:
        _check_count(f"{where}: running", running)
    if rate is not None and not MIN_RATE <= _number(f"{where}: rate", rate) <= MAX_RATE:
        raise ValueError(f"{where}: rate must be from {MIN_RATE:g} to {MAX_RATE:g}, not {rate!r}")
    if not MIN_PERIOD <= _number(f"{where}: per_seconds", per_seconds) <= DAY_SECONDS:
        raise ValueError(
            f"{where}: per_seconds must be from {MIN_PERIOD:g} to {DAY_SECONDS:g}, "
            f"not {per_seconds!r}"
        )
    if burst is not None:
        _check_count(f"{where}: burst", burst)
        if rate is None:
            raise ValueError(f"{where}: burst belongs to a rate; give rate= as well")


def check_weight(where: str, weight: float) -> None:
    """Refuse a weight that is no share. Raises `ValueError`."""
    if not MIN_WEIGHT <= _number(where, weight) <= MAX_WEIGHT:
        raise ValueError(f"{where} must be from {MIN_WEIGHT:g} to {MAX_WEIGHT:g}, not {weight!r}")


def default_burst(rate: float, per_seconds: float) -> int:
    """Return how many attempts may begin at once: what one second allows, at least 1."""
    return max(1, math.floor(rate / per_seconds))


def _check_name(kind: str, name: str) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(
            f"{kind}: bad name {name!r}: a letter, then up to 62 letters, digits, . _ -"
        )


def _check_count(where: str, count: int) -> None:
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MAX_SLOTS:
        raise ValueError(f"{where} must be a whole number from 1 to {MAX_SLOTS}, not {count!r}")


def _number(where: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{where} must be a finite number, not {value!r}")
    return value
