"""The reasons in `/health`: where work stands, or submissions cannot be accepted. Pure rules.

Each reason is `{code, message, fix, since, count}`. `since` is in seconds since the epoch, or None
if it is unknown. `docs/health.md` lists the codes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from raytasks.model.handler_info import REMOTE_POOL
from raytasks.model.steering import EVERYTHING, Pause
from raytasks.pools.cluster_view import PoolView, RunnerPlace, Stage
from raytasks.protocol.messages import Demand
from raytasks.runner.demand import NEVER_FITS, NO_RESOURCES, NODES_COMING, code_of
from raytasks.runner.placement_groups import GROUP_PENDING, NO_PLACEMENT_GROUP
from raytasks.tracker.fleet import Fleet, RunnerState
from raytasks.tracker.outlook import Outlook
from raytasks.tracker.pause_text import paused_text, resume_text
from raytasks.tracker.resource_words import Need, group_words, never_fits_fix

HealthReason: TypeAlias = dict[str, Any]

_BY_RAY = "ray"  # a runner's way, as `RunnerState` has it

NO_RUNNER_SECONDS = 30.0
"""How long due tasks wait without any runner before that is a reason, in seconds."""

BY_RAY_SECONDS = 60.0
"""How long calls may go by Ray although there is a socket, in seconds."""

UNPLACED_SECONDS = 10.0
"""How long a runner waits for a place before that is a reason, in seconds.

Also how long an attempt waits that fits on no node: an autoscaler needs a moment to add one.
"""

_FREE_LATER = (NO_RESOURCES, NODES_COMING)

MAX_NAMED = 5
"""Maximum number of attempts, runners or commands that one reason names."""


@dataclass(frozen=True)
class WorkScene:
    """The tracker's work at one moment.

    - `now`, `monotonic`: the time by the two clocks of the tracker.
    - `waiting`: how many tasks wait, by type.
    - `pauses`: those in force, each with how many tasks it holds back.
    - `oldest`: how long the oldest due task has waited, by type.
    - `wait_seconds`, `stall_seconds`: the thresholds, from the settings.
    - `socket_node`: the node on which calls go over the tracker's socket, or None.
    """

    now: float
    monotonic: float
    fleet: Fleet
    outlook: Outlook
    waiting: Mapping[str, int]
    oldest: Mapping[str, float]
    wait_seconds: float
    stall_seconds: float
    pauses: Sequence[tuple[Pause, int]] = ()
    stopping: bool = False
    socket_node: str | None = None

    @property
    def runners(self) -> list[RunnerState]:
        """The runners that take attempts."""
        return [
            runner
            for runner in self.fleet
            if runner.confirmed and not (runner.leaving or runner.retiring)
        ]


def health_reason(
    code: str, message: str, fix: str, *, since: float | None = None, count: int = 1
) -> HealthReason:
    """Return a reason."""
    return {"code": code, "message": message, "fix": fix, "since": since, "count": count}


def work_reasons(work: WorkScene) -> list[HealthReason]:
    """Return the reasons why work stands."""
    paused = [_paused(pause, waiting) for pause, waiting in work.pauses[:MAX_NAMED]]
    if any(pause.key == EVERYTHING for pause, _ in work.pauses):
        return [*paused, *_impossible(work)]
    return [
        *paused,
        *_without_runner(work),
        *_long_waits(work),
        *_stalled(work),
        *_impossible(work),
        *_by_ray(work),
    ]


def _paused(pause: Pause, waiting: int) -> HealthReason:
    return health_reason(
        "paused",
        f"{paused_text(pause)} by {pause.by}: no such task is handed out, and {waiting:,} wait",
        resume_text(pause) + ("; it ends by itself as well" if pause.until is not None else ""),
        since=pause.since,
        count=waiting,
    )


def _long_waits(work: WorkScene) -> Iterator[HealthReason]:
    """Yield the pools whose oldest due task has waited too long."""
    for name, types in _pools(work).items():
        over = {
            task_type: work.oldest[task_type]
            for task_type in types
            if task_type in work.oldest and work.oldest[task_type] >= work.wait_seconds
        }
        if not over:
            continue
        task_type, seconds = max(over.items(), key=lambda item: item[1])
        yield health_reason(
            "tasks_wait",
            f"the oldest due task of the pool {name} has waited for {seconds:.0f} s; it is of the "
            f"type {task_type}",
            "see waiting_for of such a task; more runners, more nodes or less work let it begin",
            since=work.now - seconds,
            count=sum(work.waiting.get(item, 0) for item in over),
        )


def _without_runner(work: WorkScene) -> Iterator[HealthReason]:
    """Yield the pools that have due tasks and no runner, or that there is no runner at all."""
    present = {name for runner in work.runners for name in runner.capacity_by_type}
    have = work.outlook.task_types() or ()
    lacking = {
        name: seconds
        for name, seconds in work.oldest.items()
        if name in have and name not in present and seconds >= NO_RUNNER_SECONDS
    }
    pools = work.outlook.pools()
    wanted = not pools or any(pool.min_runners != 0 for pool in pools)
    if lacking:
        yield health_reason(
            "no_runner",
            f"no runner takes the waiting tasks of {_named(sorted(lacking))}",
            "see /pools and the reasons beside this one; a runner may lack a place in the cluster",
            since=work.now - max(lacking.values()),
            count=sum(work.waiting.get(name, 0) for name in lacking),
        )
    elif wanted and not any(runner.confirmed for runner in work.fleet):
        yield health_reason(
            "no_runner",
            "no runner has called the tracker",
            "wait some seconds after a start; else see /pools and the log",
            count=0,
        )


def _stalled(work: WorkScene) -> Iterator[HealthReason]:
    """Yield the pools whose runners all hold attempts that give no sign of life."""
    by_pool: dict[str, list[RunnerState]] = {}
    for runner in work.runners:
        by_pool.setdefault(runner.pool, []).append(runner)
    for name, runners in sorted(by_pool.items()):
        silent = [_silence(runner, work.monotonic) for runner in runners]
        if not all(seconds >= work.stall_seconds for seconds in silent):
            continue
        attempts = [
            f"{running.task_id} ({running.task_type}, attempt {running.attempt})"
            for runner in runners
            for running in runner.held.values()
            if not running.waits
        ]
        yield health_reason(
            "pool_stalled",
            f"all {len(runners)} runners of the pool {name} hold attempts, and none gave a sign of "
            f"life for {min(silent):.0f} s: {_named(attempts)}",
            "cancel what hangs, set a time-out for its type, or have it report progress",
            since=work.now - min(silent),
            count=len(attempts),
        )


def _silence(runner: RunnerState, now: float) -> float:
    """Return for how many seconds a full runner gave no sign; 0 if it can take more."""
    begun = any(not running.waits for running in runner.held.values())
    if not begun or (runner.pool == REMOTE_POOL and runner.capacity > 0):
        return 0.0
    return max(0.0, now - runner.sign_at)


def _impossible(work: WorkScene) -> Iterator[HealthReason]:
    """Yield the demand that no node can hold, and the demand that has waited too long for one."""
    for runner in work.runners:
        for demand in runner.demands:
            yield from _of_demand(demand, work)
    nodes = [node.as_place() for node in work.outlook.nodes() if node.takes_work]
    for pool in work.outlook.pools() if nodes else ():
        unplaced = [item for item in pool.runners if _is_unplaced(item)]
        if not unplaced:
            continue
        longest = max(item.seconds for item in unplaced)
        who = f"{len(unplaced)} runners of the pool {pool.name}"
        need = Need(unplaced[0].resources, unplaced[0].selectors)
        since = work.now - longest
        coming = work.outlook.coming()
        code = code_of(need.resources, nodes, need.selectors, coming=coming, seconds=longest)
        if code == NEVER_FITS:
            yield _never_fits(who, need, since, len(unplaced))
        elif code in _FREE_LATER and longest >= work.wait_seconds and _has_work(pool, work):
            yield _no_resources(who, need, since, len(unplaced))


def _of_demand(demand: Demand, work: WorkScene) -> Iterator[HealthReason]:
    """Yield that attempts have no place, or that tasks are not claimed as they would have none."""
    if demand.count:
        who, count, seconds = f"{demand.count} attempts of", demand.count, demand.seconds
    else:
        who, count = "the tasks of", work.waiting.get(demand.task_type, 0)
        seconds = min(demand.seconds, work.oldest.get(demand.task_type, 0.0))
        if demand.task_type not in work.oldest:
            return  # none is due
    who = f"{who} {demand.task_type}"
    need, since = Need.of(demand), work.now - seconds
    is_long = seconds >= work.wait_seconds
    if demand.code == NEVER_FITS and demand.seconds >= UNPLACED_SECONDS:
        yield _never_fits(who, need, since, count)
    elif demand.code in _FREE_LATER and is_long:
        yield _no_resources(who, need, since, count)
    elif demand.code == NO_PLACEMENT_GROUP or (demand.code == GROUP_PENDING and is_long):
        message, fix = group_words(demand.code, need)
        yield health_reason(demand.code, f"{who} wait: {message}", fix, since=since, count=count)


def _is_unplaced(runner: RunnerPlace) -> bool:
    return (
        runner.stage is Stage.STARTING and not runner.placed and runner.seconds >= UNPLACED_SECONDS
    )


def _has_work(pool: PoolView, work: WorkScene) -> bool:
    return any(name in work.oldest for name in pool.task_types)


def _never_fits(who: str, need: Need, since: float, count: int) -> HealthReason:
    return health_reason(
        NEVER_FITS,
        f"{who} need {need.text()}, which {need.no_place()} has",
        never_fits_fix(need),
        since=since,
        count=count,
    )


def _no_resources(who: str, need: Need, since: float, count: int) -> HealthReason:
    place = need.no_place() if need.placement_group else "no node"
    return health_reason(
        NO_RESOURCES,
        f"{who} have waited long for {need.text()}, which {place} has free",
        "make the group larger, or end what holds it: see /runners"
        if need.placement_group
        else "add a node, or end what holds it: see /nodes and /runners",
        since=since,
        count=count,
    )


def _by_ray(work: WorkScene) -> Iterator[HealthReason]:
    """Yield that runners on the tracker's node call it by Ray, though it has a socket there."""
    slow = [
        runner.name
        for runner in work.runners
        if work.socket_node is not None
        and runner.node_id == work.socket_node
        and runner.way == _BY_RAY
        and work.monotonic - runner.since >= BY_RAY_SECONDS
    ]
    if slow:
        yield calls_by_ray(f"{len(slow)} runners on its node", count=len(slow))


def calls_by_ray(who: str, *, count: int = 1) -> HealthReason:
    """Return the reason that somebody on the tracker's node calls it by Ray."""
    return health_reason(
        "calls_by_ray",
        f"calls of the tracker by {who} go by Ray, which is slower than its socket",
        "let them share the node's network namespace; the log of the runner or replica says why",
        count=count,
    )


def _pools(work: WorkScene) -> dict[str, Sequence[str]]:
    """Return the types of each pool, for those that have a handler."""
    return {pool.name: pool.task_types for pool in work.outlook.pools()}


def _named(names: Sequence[str]) -> str:
    more = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
