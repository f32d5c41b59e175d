"""One attempt in a Ray remote task: what runs in that task's process."""

import contextlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import ray
from msgspec.structs import replace
from ray.exceptions import RayError

from raytasks.artifacts import ArtifactStore
from raytasks.messages import Claim, LogLine, Outcome
from raytasks.registry import Registry
from raytasks.retry import PermanentError, RetryAfter
from raytasks.runner.attempt import Attempt, Workplace, describe_error
from raytasks.runner.children import ChildTasks
from raytasks.runner.plan import RunnerPlan
from raytasks.states import OutcomeKind

_CANCELLED_CACHE_SECONDS = 0.5
_TELL_SECONDS = 0.1


@dataclass(frozen=True)
class Place:
    """Where and when a remote task began: Ray's ids of node and worker, seconds since the epoch."""

    node_id: str | None = None
    worker_id: str | None = None
    started_at: float = 0.0


@dataclass(frozen=True)
class Start:
    """What the task runner says to a try of an attempt that is about to begin.

    `number` counts the tries that began before, so from 0, and `lines` what they have logged.
    `spent` means that it must not begin: those were as many as the handler allows.
    """

    number: int
    checkpoint: str | None = None
    spent: bool = False
    lines: int = 0


class WorkerLost(Exception):
    """The process of an attempt is gone."""


def execute(plan: RunnerPlan, claim: Claim, task_runner: Any) -> Outcome:
    """Run the attempt, and return its outcome; the task runner hears of its start and progress.

    Raises the handler's error where Ray is to try again within this attempt; else only what has
    nothing to do with the handler: its module cannot be imported.
    """
    spec = _registry(plan).require(claim.task_type)
    context = ray.get_runtime_context()
    workplace = Workplace(
        artifacts=ArtifactStore(plan.artifacts_url),
        offload_bytes=plan.offload_bytes,
        max_result_bytes=plan.max_result_bytes,
        node_id=context.get_node_id(),
        worker_id=context.get_worker_id(),
        make_children=ChildTasks,
    )
    attempt = Attempt(spec, claim, workplace)
    place = Place(workplace.node_id, workplace.worker_id, attempt.started_at)
    # First of all the task runner hears of it: what it has not heard of has not begun.
    start: Start | None = ray.get(task_runner.started.remote(claim.task_id, claim.attempt, place))
    if start is None:  # nobody waits for it any more
        return attempt.outcome(OutcomeKind.CANCELLED)
    if start.spent:
        lost = describe_error(WorkerLost("the attempt's process died"), retryable=True)
        return attempt.outcome(OutcomeKind.LOST, error=lost, ray_attempt=start.number - 1)
    workplace.enter()
    if start.number:  # there may be a newer checkpoint than the claim's
        attempt.claim = replace(claim, checkpoint=start.checkpoint)
        attempt.lines_before = start.lines
    channel = RemoteChannel(attempt, task_runner)
    outcome = attempt.run(spec.target, channel)
    channel.close()
    if attempt.error is not None and may_ray_retry(spec.ray_options, attempt.error, start.number):
        raise attempt.error
    return replace(outcome, ray_task_id=context.get_task_id(), ray_attempt=start.number)


def may_ray_retry(options: Mapping[str, Any], error: BaseException, number: int) -> bool:
    """Return whether Ray, by a handler's options, tries again in this attempt after the error.

    `number` counts the tries that began before.
    """
    wanted = options.get("retry_exceptions") or ()
    most = options.get("max_retries", 0)
    if isinstance(error, PermanentError | RetryAfter) or 0 <= most <= number:
        return False
    return isinstance(error, Exception if wanted is True else tuple(wanted))


class RemoteChannel:
    """The channel of an attempt in a Ray remote task: calls to the task runner's actor."""

    def __init__(self, attempt: Attempt, task_runner: Any) -> None:
        self._attempt = attempt
        self._task_runner = task_runner
        self._told_at = 0.0
        self._asked_at = 0.0
        self._cancelled = False
        self._lines: list[LogLine] = []
        self._sent: list[Any] = []
        self._timer: threading.Timer | None = None
        self._lock = threading.Lock()

    def progress(self, fraction: float | None, message: str | None) -> None:
        """Pass on how far the attempt has come: the newest, some times a second."""
        now = self._attempt.workplace.clock()
        if now - self._told_at < _TELL_SECONDS and fraction != 1:
            return
        self._told_at = now
        claim = self._attempt.claim
        told = self._task_runner.progress.remote(claim.task_id, claim.attempt, fraction, message)
        if fraction == 1:
            ray.get(told)  # else the attempt's end could overtake it

    def checkpoint(self, data: str) -> None:
        """Return when the checkpoint is on disk."""
        claim = self._attempt.claim
        ray.get(self._task_runner.checkpoint.remote(claim.task_id, claim.attempt, data))

    def log(self, line: LogLine) -> None:
        """Pass on a line, together with those that follow soon."""
        with self._lock:
            self._lines.append(line)
            if self._timer is None:
                self._timer = threading.Timer(_TELL_SECONDS, self._send_lines)
                self._timer.daemon = True
                self._timer.start()

    def close(self) -> None:
        """Return when the task runner has all lines: the attempt's end must not overtake them."""
        self._send_lines()
        with contextlib.suppress(RayError):  # a lost line is no reason for a failed attempt
            ray.get(self._sent)

    def cancelled(self) -> bool:
        """Return whether the attempt was told to stop; asks the task runner now and then."""
        now = self._attempt.workplace.clock()
        if not self._cancelled and now - self._asked_at > _CANCELLED_CACHE_SECONDS:
            claim = self._attempt.claim
            self._asked_at = now
            asked = self._task_runner.is_stopped.remote(claim.task_id, claim.attempt)
            self._cancelled = ray.get(asked)
        return self._cancelled

    def _send_lines(self) -> None:
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if self._lines:
                claim = self._attempt.claim
                told = self._task_runner.log.remote(claim.task_id, claim.attempt, self._lines)
                self._sent.append(told)
                self._lines = []


@cache
def _registry_of(generation: str, modules: tuple[str, ...]) -> Registry:  # noqa: ARG001
    return Registry.load(modules)


def _registry(plan: RunnerPlan) -> Registry:
    return _registry_of(plan.generation, plan.modules)
