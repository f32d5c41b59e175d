"""The context that a handler gets: what it may ask, and what it may tell, while it runs."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from raytasks.handling.task_log import TaskLog, clean
from raytasks.model.task_events import LogLine

_MESSAGE_LENGTH = 500


class Cancelled(BaseException):
    """Raised inside a handler whose task was cancelled. Not an `Exception`, so that a handler's
    `except Exception` does not swallow it."""


class Channel(Protocol):
    """How a context reaches its runner."""

    def progress(self, fraction: float | None, message: str | None) -> None:
        """Pass on how far the attempt has come. Must not block."""

    def checkpoint(self, data: str) -> None:
        """Pass on JSON text, and return when it is on disk."""

    def log(self, line: LogLine) -> None:
        """Pass on a line that the handler has logged. Must not block."""

    def cancelled(self) -> bool:
        """Return whether the attempt was told to stop."""


class Artifacts(Protocol):
    """Where a context keeps the files of its task."""

    def save(self, task_id: str, name: str, data: bytes) -> str:
        """Keep a file, and return the path at which the API serves it."""


@dataclass
class LocalChannel:
    """A channel that keeps everything in memory: for a handler that is called outside raytasks."""

    fraction: float | None = None
    message: str | None = None
    saved: str | None = None
    is_cancelled: bool = False
    lines: list[LogLine] = field(default_factory=list)

    def progress(self, fraction: float | None, message: str | None) -> None:
        """Remember the progress."""
        self.fraction, self.message = fraction, message

    def checkpoint(self, data: str) -> None:
        """Remember the checkpoint."""
        self.saved = data

    def log(self, line: LogLine) -> None:
        """Remember the line."""
        self.lines.append(line)

    def cancelled(self) -> bool:
        """Return what was set."""
        return self.is_cancelled


@dataclass
class Context:
    """What a handler knows of its attempt, and what it can do besides returning a result.

    `attempt` counts from 1 and never repeats; `failures` is how many attempts failed before this
    one in the present budget of `max_attempts`. `deadline` (seconds since the epoch) is when the
    attempt times out, or None. `lines_before` is how many lines the attempt has logged before, in a
    process that died.
    """

    task_id: str
    task_type: str
    attempt: int = 1
    failures: int = 0
    max_attempts: int = 1
    deadline: float | None = None
    channel: Channel = field(default_factory=LocalChannel)
    artifacts: Artifacts | None = None
    saved_checkpoint: str | None = None
    clock: Callable[[], float] = time.time
    lines_before: int = 0
    max_checkpoint_bytes: int | None = None
    load_checkpoint: Callable[[], str | None] | None = None

    @cached_property
    def log(self) -> TaskLog:
        """A logger that names the task and the attempt, and keeps the lines with the task.

        Kept is what is INFO or above, and whatever else is logged here: at most 1,000 lines of an
        attempt, and 4,000 characters of each. Clients see them in the events of the task.
        """
        return TaskLog(
            self.task_type,
            {"task_id": self.task_id, "attempt": self.attempt},
            self.channel.log,
            clock=self.clock,
            written=self.lines_before,
        )

    @property
    def cancelled(self) -> bool:
        """Whether the attempt should stop: its task was cancelled, or its time is up."""
        return self.channel.cancelled() or self.remaining_seconds == 0.0

    @property
    def remaining_seconds(self) -> float | None:
        """The seconds until the attempt times out, 0 when it is late, None without a timeout."""
        return None if self.deadline is None else max(0.0, self.deadline - self.clock())

    def raise_if_cancelled(self) -> None:
        """Raise `Cancelled` if the attempt should stop; a good thing to call in a loop."""
        if self.cancelled:
            raise Cancelled

    def progress(self, fraction: float | None = None, message: str | None = None) -> None:
        """Tell how far the attempt has come: a fraction from 0 to 1, a short message, or both.

        Cheap to call often: only the newest is sent on. Raises `ValueError` for a bad fraction.
        """
        if fraction is not None:
            fraction = _fraction(fraction)
        if message is not None:
            message = clean(f"{message}"[:_MESSAGE_LENGTH])[:_MESSAGE_LENGTH]
        self.channel.progress(fraction, message)

    def checkpoint(self, data: Any) -> None:
        """Keep `data` (anything that JSON can hold) for the next attempt of this task.

        Returns when it is on disk. The newest checkpoint replaces the one before. Raises
        `ValueError` for one over MAX_RESULT_BYTES, and for what JSON cannot hold, NaN too.
        """
        from raytasks.handling.handler_json import handler_json  # needs pydantic

        written = handler_json(data)
        if self.max_checkpoint_bytes is not None and len(written) > self.max_checkpoint_bytes:
            raise ValueError(
                f"the checkpoint has {len(written)} bytes of JSON; MAX_RESULT_BYTES allows "
                f"{self.max_checkpoint_bytes}: keep it with save_artifact, and its name here"
            )
        text = written.decode()
        self.channel.checkpoint(text)
        self.saved_checkpoint = text

    @property
    def last_checkpoint(self) -> Any:
        """The data of the newest checkpoint, of this or an earlier attempt; None without one.

        A large one is read from the artifact store, the first time that it is asked for.
        """
        if self.saved_checkpoint is None and self.load_checkpoint is not None:
            self.saved_checkpoint = self.load_checkpoint()
        if self.saved_checkpoint is None:
            return None
        from pydantic_core import from_json

        return from_json(self.saved_checkpoint)

    def save_artifact(self, name: str, data: bytes) -> str:
        """Keep a file of this task, and return the path at which the API serves it.

        `name` is a plain file name; its ending tells the content type. Saving the same name again
        replaces the file. Raises `ValueError` for a bad name.
        """
        if self.artifacts is None:
            raise RuntimeError("this context has no artifact store")
        return self.artifacts.save(self.task_id, name, data)


def _fraction(value: Any) -> float:
    try:
        if 0 <= value <= 1:
            return float(value)
    except Exception:  # noqa: S110 - it is no number at all
        pass
    raise ValueError(f"fraction must be from 0 to 1, not {value!r:.100}")
