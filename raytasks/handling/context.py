"""The context of a handler: what it may ask and report while it runs."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Protocol

from raytasks.handling.task_log import TaskLog, clean
from raytasks.model.task_events import LogLine
from raytasks.model.tasks import DEFAULT_NAMESPACE, TaskNotFound, is_task_id

MAX_READ_BYTES = 256 * 1024 * 1024
"""How large a file `Context.read_artifact` reads by default, in bytes."""

_MESSAGE_LENGTH = 500


class Cancelled(BaseException):
    """Raised inside a handler whose task was cancelled.

    It is no `Exception`, so that a handler's `except Exception` does not swallow it.
    """


class Channel(Protocol):
    """The connection of a context to its runner."""

    def progress(self, fraction: float | None, message: str | None) -> None:
        """Report the progress of the attempt. Must not block."""

    def checkpoint(self, data: str) -> None:
        """Send JSON text, and return when it is on disk."""

    def log(self, line: LogLine) -> None:
        """Send a line that the handler has logged. Must not block."""

    def cancelled(self) -> bool:
        """Return whether the attempt was told to stop."""


class Artifacts(Protocol):
    """The store for the files of a context's task."""

    def save(self, task_id: str, name: str, data: bytes) -> str:
        """Keep a file, and return the path at which the API serves it."""

    def load(self, task_id: str, name: str, max_bytes: int) -> bytes:
        """Return a file's bytes. Raises `FileNotFoundError`, and `ValueError` if it is larger."""


@dataclass
class LocalChannel:
    """A channel that keeps everything in memory, for a handler that is called outside raytasks."""

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
        """Return the flag that was set."""
        return self.is_cancelled


@dataclass
class Context:
    """A handler's view of its attempt, and its means beside returning a result.

    The number `attempt` counts from 1 and never repeats. The number of earlier failed attempts in
    the present budget of `max_attempts` is `failures`. The attempt times out at `deadline` (seconds
    since the epoch, or None). In an earlier process that died, the attempt has logged
    `lines_before` lines. The task has this `priority`, these `tags` and this `namespace`.
    `namespace_of` returns the namespace of another task, or None if there is no such task.

    If a schedule has made the task, `scheduled_for` is the time that it was made for, in UTC; else
    None. It is the same in all attempts.
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
    priority: int = 0
    tags: tuple[str, ...] = ()
    namespace: str = DEFAULT_NAMESPACE
    namespace_of: Callable[[str], str | None] | None = None
    scheduled_for: datetime | None = None

    @cached_property
    def log(self) -> TaskLog:
        """A logger that names the task and the attempt, and keeps the lines with the task.

        Kept are all lines at INFO or above, and lower ones that logging is set to write. Kept are
        at most 1,000 lines of an attempt, and 4,000 characters of each. Clients see them in the
        events of the task.
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
        """The seconds until the attempt times out: 0 when it is late, None without a timeout."""
        return None if self.deadline is None else max(0.0, self.deadline - self.clock())

    def raise_if_cancelled(self) -> None:
        """Raise `Cancelled` if the attempt should stop. Call it in loops."""
        if self.cancelled:
            raise Cancelled

    def progress(self, fraction: float | None = None, message: str | None = None) -> None:
        """Report the progress of the attempt: a fraction from 0 to 1, a short message, or both.

        It may be called often: only the newest progress is sent. Raises `ValueError` for a bad
        fraction.
        """
        if fraction is not None:
            fraction = _fraction(fraction)
        if message is not None:
            message = clean(f"{message}"[:_MESSAGE_LENGTH])[:_MESSAGE_LENGTH]
        self.channel.progress(fraction, message)

    def checkpoint(self, data: Any) -> None:
        """Keep `data` (anything that JSON can hold) for the next attempt of this task.

        Returns when it is on disk. Each checkpoint replaces the one before. Raises `ValueError` for
        one over RAYTASKS_MAX_RESULT_BYTES, and for data that JSON cannot hold, such as NaN.
        """
        from raytasks.handling.handler_json import handler_json  # needs pydantic

        written = handler_json(data)
        if self.max_checkpoint_bytes is not None and len(written) > self.max_checkpoint_bytes:
            raise ValueError(
                f"the checkpoint has {len(written)} bytes of JSON; "
                f"RAYTASKS_MAX_RESULT_BYTES allows {self.max_checkpoint_bytes}: keep it with "
                "save_artifact, and its name here"
            )
        text = written.decode()
        self.channel.checkpoint(text)
        self.saved_checkpoint = text

    @property
    def last_checkpoint(self) -> Any:
        """The data of the newest checkpoint, of this or an earlier attempt; None without one.

        A large one is read from the artifact store at its first use.
        """
        if self.saved_checkpoint is None and self.load_checkpoint is not None:
            self.saved_checkpoint = self.load_checkpoint()
        if self.saved_checkpoint is None:
            return None
        from pydantic_core import from_json

        return from_json(self.saved_checkpoint)

    def save_artifact(self, name: str, data: bytes) -> str:
        """Keep a file of this task, and return the path at which the API serves it.

        `name` is a plain file name. Its extension sets the content type. A second file of the same
        name replaces the first. Raises `ValueError` for a bad name.
        """
        if self.artifacts is None:
            raise RuntimeError("this context has no artifact store")
        return self.artifacts.save(self.task_id, name, data)

    def read_artifact(
        self, name: str, *, task_id: str | None = None, max_bytes: int = MAX_READ_BYTES
    ) -> bytes:
        """Return the bytes of a file of this task, or of another task of its namespace.

        Raises `FileNotFoundError` if the task has no such file. Raises `TaskNotFound` if its
        namespace has no task with the id `task_id`. Raises `ValueError` for a bad name, and for a
        file of more than `max_bytes` bytes.
        """
        if self.artifacts is None:
            raise RuntimeError("this context has no artifact store")
        if task_id is None or task_id == self.task_id:
            return self.artifacts.load(self.task_id, name, max_bytes)
        if self.namespace_of is None:
            raise RuntimeError(
                "this context cannot look at other tasks: in a test, use raytasks.testing.Queue"
            )
        if not is_task_id(task_id) or self.namespace_of(task_id) != self.namespace:
            raise TaskNotFound(f"the namespace {self.namespace} has no task {task_id!r:.100}")
        return self.artifacts.load(task_id, name, max_bytes)


def _fraction(value: Any) -> float:
    try:
        if 0 <= value <= 1:
            return float(value)
    except Exception:  # noqa: S110 - it is no number at all
        pass
    raise ValueError(f"fraction must be from 0 to 1, not {value!r:.100}")
