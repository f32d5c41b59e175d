"""One attempt in a Ray remote task: the code that runs in that task's process."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import ray
from msgspec.structs import replace

from raytasks.artifacts.artifact_store import ArtifactStore
from raytasks.handling.registry import Registry
from raytasks.model.retry import PermanentError, RetryAfter
from raytasks.model.states import OutcomeKind
from raytasks.observe.traces import flush
from raytasks.protocol.messages import Claim, Outcome
from raytasks.runner.attempt import Attempt
from raytasks.runner.error_report import describe_error, fenced
from raytasks.runner.on_ray.children import ChildTasks
from raytasks.runner.on_ray.other_tasks import namespace_of
from raytasks.runner.on_ray.remote_channel import RemoteChannel, insist
from raytasks.runner.plan import RunnerPlan
from raytasks.runner.workplace import Workplace


@dataclass(frozen=True)
class Place:
    """The place and time where a try began: Ray's ids, and the clock of the try's process.

    The `token` is unique to the try: a try whose call to the task runner failed asks again.
    """

    node_id: str | None = None
    worker_id: str | None = None
    started_at: float = 0.0
    token: str = ""
    host: str | None = None
    pid: int | None = None


@dataclass(frozen=True)
class Start:
    """The task runner's answer to a try that is about to begin.

    - `number`: how many tries of the attempt began before; 0 for the first.
    - `lines`: how many lines these have logged.
    - `spent`: the try must not begin, as the handler allows no more tries.
    - `passed_seconds`: the time since the attempt began, with its first try.
    """

    number: int
    checkpoint: str | None = None
    checkpoint_ref: str | None = None
    spent: bool = False
    lines: int = 0
    passed_seconds: float = 0.0


class WorkerLost(Exception):
    """The process of an attempt died."""


def execute(plan: RunnerPlan, claim: Claim, task_runner: Any) -> Outcome:
    """Run the attempt and return its outcome. The task runner hears of its start and progress.

    Raises the handler's error if Ray is to retry within this attempt. Apart from that, it raises
    only errors outside the handler, e.g. when its module cannot be imported.
    """
    registry = _registry(plan)
    spec = registry.require(claim.task_type)
    context = ray.get_runtime_context()
    workplace = Workplace(
        artifacts=ArtifactStore(plan.artifacts_url),
        offload_bytes=plan.offload_bytes,
        max_result_bytes=plan.max_result_bytes,
        node_id=context.get_node_id(),
        worker_id=context.get_worker_id(),
        make_children=ChildTasks,
        trace_parenting=plan.trace_parenting,
        middleware=registry.middleware,
        namespace_of=namespace_of,
    )
    attempt = Attempt(spec, claim, workplace)
    place = Place(
        workplace.node_id,
        workplace.worker_id,
        attempt.started_at,
        uuid.uuid4().hex,
        workplace.host,
        workplace.pid,
    )
    # First tell the task runner: a try that it has not heard of counts as not begun.
    start: Start | None = insist(
        lambda: task_runner.started.remote(claim.task_id, claim.attempt, place), gone=None
    )
    if start is None:  # nobody waits for the attempt any more
        return attempt.outcome(OutcomeKind.CANCELLED)
    if start.spent:
        lost = describe_error(WorkerLost("the attempt's process died"), retryable=True)
        return attempt.outcome(OutcomeKind.LOST, error=lost, ray_attempt=start.number - 1)
    workplace.enter()
    attempt.started_at -= start.passed_seconds
    if start.number:  # an earlier try may have kept a newer checkpoint than the claim's
        attempt.claim = replace(
            claim, checkpoint=start.checkpoint, checkpoint_ref=start.checkpoint_ref
        )
        attempt.lines_before = start.lines
        attempt.ran_elsewhere = True
    attempt.tries_again = lambda error: may_ray_retry(spec.ray_options, error, start.number)
    channel = RemoteChannel(attempt, task_runner, start.number)
    attempt.ask_stop = channel.stop_reason
    outcome = attempt.run(spec.target, channel)
    channel.close()
    flush()  # Ray may end this process at any time
    error = attempt.error
    if error is not None and fenced(lambda: attempt.tries_again(error), lambda _: False):
        raise error
    return replace(outcome, ray_task_id=context.get_task_id(), ray_attempt=start.number)


def may_ray_retry(options: Mapping[str, Any], error: BaseException, number: int) -> bool:
    """Return whether Ray, by the handler's options, retries this attempt after the error.

    `number` is how many tries began before this one.
    """
    wanted = options.get("retry_exceptions") or ()
    most = options.get("max_retries", 0)
    if isinstance(error, PermanentError | RetryAfter) or 0 <= most <= number:
        return False
    return isinstance(error, Exception if wanted is True else tuple(wanted))


@cache
def _registry_of(
    generation: str,  # noqa: ARG001
    modules: tuple[str, ...],
    folder: str | None,
) -> Registry:
    return Registry.load(modules, folder)


def _registry(plan: RunnerPlan) -> Registry:
    return _registry_of(plan.generation, plan.modules, plan.folder)
