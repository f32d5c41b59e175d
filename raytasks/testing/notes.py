"""The notes of the test kit on what an attempt does."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pydantic_core import from_json

from raytasks.api.task_models import ErrorView
from raytasks.artifacts.artifact_store import ArtifactStore
from raytasks.handling.context import LocalChannel
from raytasks.model.states import OutcomeKind
from raytasks.model.task_events import LogLine
from raytasks.runner.attempt import Attempt


class ProcessDied(BaseException):
    """Raise this in a handler, or in a function that it calls, to let its process die there."""


class Progress(NamedTuple):
    """The progress that a handler reported in one call."""

    fraction: float | None
    message: str | None


class Logged(NamedTuple):
    """A line that a handler wrote to `context.log`, and that is kept with the task."""

    level: str
    message: str


@dataclass(frozen=True)
class AttemptRun:
    """The record of one attempt: what it did, and how it ended.

    `result` is the result as JSON gives it back. The `error` is as the API shows it; the
    `exception` is what the handler raised. The next attempt is wanted after `delay_seconds`, by the
    retry policy or by the handler. The saved files, by name, are `artifacts`. Times are seconds
    since the epoch.
    """

    task_id: str
    task_type: str
    attempt: int
    outcome: OutcomeKind
    started_at: float
    finished_at: float
    result: Any = None
    error: ErrorView | None = None
    exception: BaseException | None = None
    delay_seconds: float | None = None
    progress: list[Progress] = field(default_factory=list)
    checkpoints: list[Any] = field(default_factory=list)
    artifacts: dict[str, bytes] = field(default_factory=dict)
    logs: list[Logged] = field(default_factory=list)


@dataclass
class NotingChannel(LocalChannel):
    """A channel that keeps all that a handler reports.

    The process dies after `dies_after` checkpoints.
    """

    dies_after: int | None = None
    told: list[Progress] = field(default_factory=list)
    checkpoints: list[Any] = field(default_factory=list)
    logged: list[Logged] = field(default_factory=list)
    attempt: Attempt | None = None

    @property
    def died(self) -> bool:
        """Whether the process died in this attempt."""
        return self.dies_after is not None and len(self.checkpoints) >= self.dies_after

    def progress(self, fraction: float | None, message: str | None) -> None:
        """Note the progress."""
        self.told.append(Progress(fraction, message))

    def checkpoint(self, data: str) -> None:
        """Note the checkpoint. Raises `ProcessDied` if the process dies after it."""
        self.keep(data)
        self.checkpoints.append(from_json(data))
        if self.died:
            raise ProcessDied

    def keep(self, data: str) -> None:
        """Keep a checkpoint for the next attempt."""

    def log(self, line: LogLine) -> None:
        """Note the line."""
        self.logged.append(Logged(line.level, line.message))

    def cancelled(self) -> bool:
        """Return whether the attempt was told to stop."""
        return self.attempt is not None and self.attempt.stop.reason is not None


class NotingArtifacts(ArtifactStore):
    """An artifact store that also notes in `saved` what one attempt saves."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.saved: dict[str, bytes] = {}

    def save(self, task_id: str, name: str, data: bytes) -> str:
        """Write the file, and note it."""
        path = super().save(task_id, name, data)
        self.saved[name] = bytes(data)
        return path
