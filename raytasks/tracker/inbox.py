"""What has come in since the last tick, and who waits for an answer to it."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Literal

from pydantic_core import to_json

from raytasks.messages import AttemptLog, Outcome, Report
from raytasks.models import Duplicate, NewTask, RaytasksError, Running
from raytasks.states import OutcomeKind

log = logging.getLogger(__name__)


def _future() -> "asyncio.Future[Any]":
    return asyncio.get_running_loop().create_future()


@dataclass(eq=False)
class Submission:
    """Tasks that one caller submits together."""

    tasks: tuple[NewTask, ...]
    answer: "asyncio.Future[Any]" = field(default_factory=_future)


@dataclass(eq=False)
class Action:
    """A cancel or a retry that a person asks for; answered with the task before and after it.

    A task that is not in `namespace` does not exist for whoever asks; None: any.
    """

    verb: Literal["cancel", "retry"]
    task_id: str
    namespace: str | None = None
    answer: "asyncio.Future[Any]" = field(default_factory=_future)

    @property
    def target(self) -> tuple[str, str | None]:
        """The task's id, and the namespace that it must be in."""
        return self.task_id, self.namespace


@dataclass(eq=False)
class Pruning:
    """Tasks to be deleted, if they ended before `before` (seconds since the epoch)."""

    task_ids: tuple[str, ...]
    before: float
    answer: "asyncio.Future[Any]" = field(default_factory=_future)


@dataclass
class Inbox:
    """The commands that the next tick takes. `alone` marks one that is tried by itself."""

    submissions: list[Submission] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    reports: list[tuple[str, Report]] = field(default_factory=list)
    logs: list[tuple[str, AttemptLog]] = field(default_factory=list)
    outcomes: list[tuple[Running, Outcome]] = field(default_factory=list)
    late: list[tuple[str, Outcome]] = field(default_factory=list)
    prunings: list[Pruning] = field(default_factory=list)
    alone: bool = False
    suspects: "list[Inbox]" = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.suspects or any(self._lists))

    @property
    def _lists(self) -> tuple[list[Any], ...]:
        # An attempt's reports and lines come before its outcome: after it they count no more.
        return (
            self.submissions,
            self.actions,
            self.reports,
            self.logs,
            self.outcomes,
            self.late,
            self.prunings,
        )

    def take(self) -> "Inbox":
        """Empty the inbox, and return what was in it; suspects come one by one."""
        if self.suspects:
            return self.suspects.pop(0)
        taken = Inbox()
        for kept, moved in zip(self._lists, taken._lists, strict=True):
            moved[:], kept[:] = kept, []
        return taken

    def put_back(self, taken: "Inbox") -> None:
        """Put back what could not be done, before what has come in since."""
        for kept, again in zip(self._lists, taken._lists, strict=True):
            kept[:0] = again

    @property
    def _awaited(self) -> tuple[list[Any], ...]:
        """Those of the commands for whose answer somebody waits."""
        return (self.submissions, self.actions, self.prunings)

    def succeed(self, duplicates: Mapping[str, Duplicate]) -> None:
        """Tell all who submitted that it is done; actions are answered one by one."""
        for submission in self.submissions:
            if not submission.answer.done():
                submission.answer.set_result(duplicates)
        for pruning in self.prunings:
            if not pruning.answer.done():
                pruning.answer.set_result(None)

    def fail(self, error: RaytasksError) -> None:
        """Answer everybody who waits with an error."""
        for item in chain(*self._awaited):
            if not item.answer.done():
                item.answer.set_exception(error)

    def refuse(self, error: RaytasksError) -> None:
        """Answer everybody who waits with an error, and keep what runners said."""
        self.fail(error)
        for refused in self._awaited:
            refused.clear()

    def isolate(self, taken: "Inbox", error: Exception) -> None:
        """Deal with a tick that failed for no known reason: one of its commands is bad.

        Each command is tried again by itself, so that only the bad one fails. An outcome that
        fails by itself becomes a failed attempt, so that its task does not run for ever.
        """
        if not taken.alone:
            for kind, items in enumerate(taken._lists):
                for item in items:
                    suspect = Inbox(alone=True)
                    suspect._lists[kind].append(item)
                    self.suspects.append(suspect)
            log.warning("a tick failed; its commands are tried one by one", exc_info=error)
            return
        log.error("a command cannot be stored", exc_info=error)
        taken.fail(RaytasksError(f"cannot be stored: {type(error).__name__}"))
        for running, outcome in taken.outcomes:
            failed = unstorable_outcome(running, outcome, error)
            if outcome.error != failed.error:
                self.outcomes.append((running, failed))


def lost_outcome(
    running: Running,
    reason: str,
    now: float,
    *,
    charged: bool,
    company: int | None = None,
    out_of_memory: bool = False,
    node_id: str | None = None,
    worker_id: str | None = None,
) -> Outcome:
    """Return the outcome of an attempt whose runner is gone."""
    return Outcome(
        running.task_id,
        running.attempt,
        OutcomeKind.OUT_OF_MEMORY if out_of_memory else OutcomeKind.LOST,
        started_at=running.started_at or running.claimed_at,
        finished_at=now,
        error=_error_json("WorkerLost", reason, retryable=True),
        node_id=node_id,
        worker_id=worker_id,
        charged=charged,
        company=company,
        begun=not running.waits,
    )


def released_outcome(running: Running, now: float) -> Outcome:
    """Return the outcome of an attempt that is given back: its runner never got it, or leaves."""
    return Outcome(
        running.task_id,
        running.attempt,
        OutcomeKind.RELEASED,
        started_at=running.started_at or running.claimed_at,
        finished_at=now,
        begun=not running.waits,
    )


def unstorable_outcome(running: Running, outcome: Outcome, error: Exception) -> Outcome:
    """Return what stands for an outcome that the database refuses."""
    return Outcome(
        running.task_id,
        running.attempt,
        OutcomeKind.FAILED,
        started_at=outcome.started_at,
        finished_at=outcome.finished_at,
        error=_error_json("UnstorableOutcome", type(error).__name__, retryable=False),
    )


def _error_json(kind: str, message: str, *, retryable: bool) -> str:
    return to_json(
        {"type": kind, "message": message, "retryable": retryable, "traceback": None}
    ).decode()
