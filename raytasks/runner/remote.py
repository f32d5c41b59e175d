"""One attempt in a Ray remote task: what runs in that task's process."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import ray

from raytasks.artifacts import ArtifactStore
from raytasks.models import Claim, Outcome
from raytasks.registry import Registry
from raytasks.retry import PermanentError, RetryAfter
from raytasks.runner.attempt import Attempt, Workplace, describe_error
from raytasks.runner.children import ChildTasks
from raytasks.runner.plan import RunnerPlan
from raytasks.runner.ray_internals import attempt_number
from raytasks.states import OutcomeKind

_CANCELLED_CACHE_SECONDS = 0.5
_TELL_SECONDS = 0.1


@dataclass(frozen=True)
class Place:
    """Where and when a remote task began: Ray's ids of node and worker, seconds since the epoch."""

    node_id: str | None = None
    worker_id: str | None = None
    started_at: float = 0.0


class WorkerLost(Exception):
    """The process of an attempt is gone."""


def execute(plan: RunnerPlan, claim: Claim, task_runner: Any) -> Outcome:
    """Run the attempt, and return its outcome; the task runner hears of its start and progress.

    Raises the handler's error where Ray is to try again within this attempt; else only what has
    nothing to do with the handler: its module cannot be imported.
    """
    spec = _registry(plan).require(claim.task_type)
    context = ray.get_runtime_context()
    ray_attempt = attempt_number()
    workplace = Workplace(
        artifacts=ArtifactStore(plan.artifacts_url),
        node_id=context.get_node_id(),
        worker_id=context.get_worker_id(),
        make_children=ChildTasks,
    )
    attempt = Attempt(spec, claim, workplace)
    own_retries = spec.ray_options.get("max_retries", 0)
    if ray_attempt is not None and 0 <= own_retries < ray_attempt:  # see `remote_options`
        lost = describe_error(WorkerLost("the attempt's process died"), retryable=True)
        return attempt.outcome(OutcomeKind.LOST, error=lost, ray_attempt=ray_attempt - 1)
    workplace.enter()
    place = Place(workplace.node_id, workplace.worker_id, attempt.started_at)
    told = task_runner.started.remote(claim.task_id, claim.attempt, place)
    if ray_attempt:  # Ray tries again: there may be a newer checkpoint than the claim's
        attempt.claim = replace(claim, checkpoint=ray.get(told))
    outcome = attempt.run(spec.target, RemoteChannel(attempt, task_runner))
    if attempt.error is not None and may_ray_retry(spec.ray_options, attempt.error, ray_attempt):
        raise attempt.error
    return replace(outcome, ray_task_id=context.get_task_id(), ray_attempt=ray_attempt)


def may_ray_retry(
    options: Mapping[str, Any], error: BaseException, ray_attempt: int | None
) -> bool:
    """Return whether Ray, by a handler's options, tries again in this attempt after the error."""
    wanted = options.get("retry_exceptions") or ()
    most = options.get("max_retries", 0)
    if isinstance(error, PermanentError | RetryAfter) or _reached(most, ray_attempt):
        return False
    return isinstance(error, Exception if wanted is True else tuple(wanted))


def _reached(most: int, ray_attempt: int | None) -> bool:
    # Where Ray does not tell the number, it is Ray that ends the retries, with the error.
    return most == 0 or (most > 0 and ray_attempt is not None and ray_attempt >= most)


class RemoteChannel:
    """The channel of an attempt in a Ray remote task: calls to the task runner's actor."""

    def __init__(self, attempt: Attempt, task_runner: Any) -> None:
        self._attempt = attempt
        self._task_runner = task_runner
        self._told_at = 0.0
        self._asked_at = 0.0
        self._cancelled = False

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

    def cancelled(self) -> bool:
        """Return whether the attempt was told to stop; asks the task runner now and then."""
        now = self._attempt.workplace.clock()
        if not self._cancelled and now - self._asked_at > _CANCELLED_CACHE_SECONDS:
            claim = self._attempt.claim
            self._asked_at = now
            asked = self._task_runner.is_stopped.remote(claim.task_id, claim.attempt)
            self._cancelled = ray.get(asked)
        return self._cancelled


@cache
def _registry_of(generation: str, modules: tuple[str, ...]) -> Registry:  # noqa: ARG001
    return Registry.load(modules)


def _registry(plan: RunnerPlan) -> Registry:
    return _registry_of(plan.generation, plan.modules)
