"""The flight: an attempt that was handed to Ray, and the outcome that an error of Ray's means."""

from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace
from pydantic_core import from_json
from ray.exceptions import (
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayTaskError,
    TaskCancelledError,
    TaskPlacementGroupRemoved,
    WorkerCrashedError,
)

from raytasks.model.states import CRASHES, OutcomeKind
from raytasks.protocol.messages import Outcome
from raytasks.runner.attempt import Attempt
from raytasks.runner.demand import Wait
from raytasks.runner.error_report import describe_error
from raytasks.runner.on_ray.memory_shortage import options_after
from raytasks.runner.on_ray.remote_attempt import Place, Start
from raytasks.runner.stacks import StackRequests

MAX_UNBEGUN = 3
"""How often an attempt is given back when its process died before the attempt began.

After that it counts as lost. Otherwise a handler module that ends its process would be retried for
ever.
"""

# The attempt's process is gone, or its result is gone with the node that kept it.
_LOST = (WorkerCrashedError, NodeDiedError, OutOfMemoryError, ObjectLostError)


class PlacementGroupRemoved(Exception):
    """The placement group in which an attempt ran was removed, and Ray ended its process."""


@dataclass
class Flight:
    """One attempt that was handed to Ray.

    - `begun`: how many tries have begun; more than one if Ray retries the remote task.
    - `place`: where the latest try runs.
    - `ahead`: how many seconds the clock is ahead of ours on the node that asked last to begin.
    - `step`: how many steps were taken to stop it.
    - `lines`: how many lines all tries have logged.
    - `recalled`: the attempt must not begin, and is given back.
    - `group_id`: Ray's id of the placement group that it was handed to, or None.
    - `group_gone`: this group was removed, so the attempt was ended.
    - `stacks`: who asks for the stack of the present try.
    """

    attempt: Attempt
    launched_at: float
    ref: Any = None
    begun: int = 0
    place: Place = field(default_factory=Place)
    ahead: float = 0.0
    start: Start | None = None
    step: int = 0
    checkpoint: str | None = None
    checkpoint_ref: str | None = None
    lines: int = 0
    recalled: bool = False
    group_id: str | None = None
    group_gone: bool = False
    stacks: StackRequests = field(default_factory=StackRequests)

    @property
    def number(self) -> int | None:
        """The number of the present try within the attempt, from 0 as Ray counts, or None."""
        return self.begun - 1 if self.begun else None

    def wait(self, now: float) -> Wait:
        """Return the wait of the attempt, which has not begun, until now."""
        claim, spec = self.attempt.claim, self.attempt.spec
        memory = None
        if claim.short_on and spec.retry.max_memory is not None:
            memory = options_after(spec.ray_options, spec.retry, claim.short_on)["memory"]
        return Wait(claim.task_type, now - self.launched_at, claim.task_id, memory)

    def begin(self, place: Place, now: float) -> Start:
        """Note that a try begins. A try that asks again gets the same answer.

        The timeout is the attempt's: it counts from the first try, however often Ray retries.
        """
        if self.start is not None and place.token == self.place.token:
            return self.start
        self.ahead = place.started_at - now
        own_retries = self.attempt.spec.ray_options.get("max_retries", 0)
        if 0 <= own_retries < self.begun:  # Ray's additional retry: see `remote_options`
            return Start(self.begun, spent=True)
        self.begun += 1
        self.place = place
        self.attempt.ran_elsewhere = True
        if self.begun == 1:
            self.attempt.started_at = now
        passed = now - self.attempt.started_at
        self.start = Start(
            self.begun - 1,
            self.checkpoint,
            self.checkpoint_ref,
            lines=self.lines,
            passed_seconds=passed,
        )
        return self.start

    def on_our_clock(self, outcome: Outcome) -> Outcome:
        """Return the outcome that a try has sent from its node, with times by our clock.

        They are translated by the beginning of its process, which is known by both clocks.
        Outcomes that were made here are by our clock already: they must not come here.
        """
        begun_at = self.attempt.started_at
        if not self.begun:  # nothing is known by both clocks
            return replace(outcome, started_at=begun_at, finished_at=self.attempt.workplace.now())
        finished_at = max(begun_at, outcome.finished_at - self.ahead)
        return replace(outcome, started_at=begun_at, finished_at=finished_at)

    def in_place(self, outcome: Outcome) -> Outcome:
        """Return the outcome: without a beginning if there was none, for a crash with its place."""
        if not self.begun:
            return replace(outcome, begun=False)
        if outcome.kind not in CRASHES:
            return outcome
        place = self.place
        return replace(
            outcome,
            node_id=place.node_id,
            worker_id=place.worker_id,
            host=place.host,
            pid=place.pid,
        )

    def outcome_of(self, error: BaseException, crashes_unbegun: int = 0) -> Outcome:
        """Return the outcome of an attempt that ended by an error of Ray's.

        An attempt that has not begun is given back, as nothing of the task was tried. That happens
        at most `MAX_UNBEGUN` times: `crashes_unbegun` counts earlier such deaths of its process,
        without those of dead nodes.
        """
        attempt = self.attempt
        if isinstance(error, RayTaskError):  # raised in the attempt's process
            cause = error.cause
            return attempt.failed(
                cause if isinstance(cause, BaseException) else error, ray_attempt=self.number
            )
        gone = isinstance(error, TaskPlacementGroupRemoved)
        if gone or (self.group_gone and isinstance(error, (TaskCancelledError, *_LOST))):
            return self._without_group()
        if isinstance(error, TaskCancelledError):  # not by us
            return attempt.outcome(OutcomeKind.CANCELLED, ray_attempt=self.number)
        if not isinstance(error, _LOST):
            return attempt.failed(error, ray_attempt=self.number)
        if not self.begun and crashes_unbegun < MAX_UNBEGUN:
            return attempt.outcome(OutcomeKind.RELEASED)
        no_memory = isinstance(error, OutOfMemoryError)
        kind = OutcomeKind.OUT_OF_MEMORY if no_memory else OutcomeKind.LOST
        described = describe_error(error, retryable=True)
        return attempt.outcome(kind, error=described, ray_attempt=self.number)

    def excused(self, outcome: Outcome) -> Outcome:
        """Return the outcome of an attempt that failed: lost if its placement group was removed.

        Ray then ends the process by a signal, which raises `SystemExit` in the handler. What else
        can be retried counts as lost, too: the handler's own Ray tasks may have been in the group.
        """
        if not self.group_gone or not (outcome.retryable or _is_exit(outcome.error)):
            return outcome
        return replace(
            outcome,
            kind=OutcomeKind.LOST,
            error=_group_removed(),
            retryable=True,
            delay_seconds=0.0,
            charged=False,
            closes=None,
        )

    def _without_group(self) -> Outcome:
        """Return the outcome of an attempt whose placement group was removed: not its fault."""
        if not self.begun:
            return self.attempt.outcome(OutcomeKind.RELEASED)
        return self.attempt.outcome(
            OutcomeKind.LOST, error=_group_removed(), ray_attempt=self.number, charged=False
        )


def _group_removed() -> str:
    error = PlacementGroupRemoved("the placement group was removed while the attempt ran")
    return describe_error(error, retryable=True)


def _is_exit(error: str | None) -> bool:
    return error is not None and from_json(error)["type"] == SystemExit.__name__
