"""The reasons why a task does not run yet, in words, from memory: pure rules over one moment.

A rule is a function that yields the reasons it finds. To add a reason, add its code to `STRONGEST`
and its rule to `_RULES`.
"""

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from raytasks.model.steering import Pause
from raytasks.model.time_text import rfc3339
from raytasks.pools.cluster_view import PoolView, RunnerPlace, Stage
from raytasks.protocol.messages import Demand
from raytasks.protocol.queries import WaitingFor
from raytasks.runner.demand import (
    NEVER_FITS,
    NO_RESOURCES,
    NODES_COMING,
    RUNNER_STARTING,
    WAITS_SECONDS,
    code_of,
)
from raytasks.runner.placement_groups import GROUP_PENDING, NO_PLACEMENT_GROUP
from raytasks.store.queue_reads import TaskPlace
from raytasks.tracker.fleet import Fleet, RunnerState
from raytasks.tracker.limit_use import Block
from raytasks.tracker.outlook import Outlook
from raytasks.tracker.pause_text import paused_text, resume_text
from raytasks.tracker.resource_words import Need, waiting_words

DATABASE_AWAY = "database_away"
NO_HANDLER = "no_handler"
PAUSED = "paused"
DRAINING = "draining"
NOT_DUE = "not_due"
LIMIT_FULL = "limit_full"
RATE = "rate"
NO_RUNNER = "no_runner"
BEHIND_OTHERS = "behind_others"

STRONGEST = (
    DATABASE_AWAY,
    NO_HANDLER,
    PAUSED,
    DRAINING,
    NOT_DUE,
    LIMIT_FULL,
    RATE,
    NO_PLACEMENT_GROUP,
    NEVER_FITS,
    NO_RUNNER,
    GROUP_PENDING,
    NO_RESOURCES,
    NODES_COMING,
    RUNNER_STARTING,
    BEHIND_OTHERS,
)
"""The codes, the strongest first: what nothing but a person or time ends comes before what ends by
itself."""

MAX_BEFORE = 1000
"""Maximum number of tasks before this one that are counted."""

_HOLDS_ALL = frozenset(
    {
        DATABASE_AWAY,
        NO_HANDLER,
        PAUSED,
        DRAINING,
        NOT_DUE,
        LIMIT_FULL,
        RATE,
        NO_PLACEMENT_GROUP,
        GROUP_PENDING,
    }
)

Reason: TypeAlias = dict[str, Any]
"""A reason: `{code, message, fix, details, until}`."""


@dataclass(frozen=True)
class Moment:
    """The tracker's knowledge at one moment, as far as it decides whether a task can run.

    - `database_error`: what is wrong with the database, or None.
    - `pause`: the widest pause that holds back the task, or None.
    - `stopping`: nothing is claimed any more, as the service stops.
    - `is_barred`: the database refuses the claims of the task's type.
    - `blocks`: the limits of the task that have no room.
    - `rated`: the types that have a rate.
    """

    now: float
    fleet: Fleet
    outlook: Outlook
    database_error: str | None = None
    pause: Pause | None = None
    stopping: bool = False
    is_barred: bool = False
    blocks: Sequence[Block] = ()
    rated: Container[str] = ()

    def pool_of(self, task_type: str) -> PoolView | None:
        """Return the pool of a type in the version in force, if that is known."""
        pools = self.outlook.pools()
        return next((pool for pool in pools if task_type in pool.task_types), None)

    def takers(self, task_type: str) -> list[RunnerState]:
        """Return the runners that run tasks of a type."""
        return [
            runner
            for runner in self.fleet
            if runner.confirmed
            and task_type in runner.capacity_by_type
            and not (runner.leaving or runner.retiring)
        ]


def waiting_for(task: WaitingFor, moment: Moment) -> list[Reason] | None:
    """Return the reasons why a task does not run, the strongest first; None if it runs.

    Which tasks are before it is not among them: see `place_in_line`. A task that the next tick
    will claim has no reasons: the list is empty.
    """
    running = moment.fleet.running.get(task.task_id)
    if running is not None and not running.waits:
        return None
    if running is not None:
        runner = moment.fleet.runners.get(running.runner_id)
        takers = () if runner is None else (runner,)
        demand = _demand_of(running.task_type, takers, running.task_id)
        return [_of_demand(demand) if demand else _of_need(RUNNER_STARTING, Need({}), 1)]
    if not task.task_type:
        return None
    found = [reason for rule in _RULES for reason in rule(task, moment)]
    return sorted(found, key=lambda reason: STRONGEST.index(reason["code"]))


def rivals(task: WaitingFor, moment: Moment, reasons: Sequence[Reason]) -> tuple[str, ...]:
    """Return the types whose waiting tasks may be before a task; empty if that matters to nobody.

    It does not matter while something else holds back all tasks of its type, or while it runs.
    """
    if task.task_id in moment.fleet.running:
        return ()
    if any(reason["code"] in _HOLDS_ALL for reason in reasons):
        return ()
    pool = moment.pool_of(task.task_type)
    return (task.task_type,) if pool is None else tuple(pool.task_types)


def place_in_line(task: WaitingFor, moment: Moment, place: TaskPlace) -> Iterator[Reason]:
    """Yield the reason that other tasks are before a task, or that no runner has room for it.

    Those before it are counted up to one more than `MAX_BEFORE`.
    """
    takers, before = moment.takers(task.task_type), place.before
    company = place.company
    if not before and (
        not takers or any(_is_free(runner, task, moment, company) for runner in takers)
    ):
        return
    pool = moment.pool_of(task.task_type)
    name = takers[0].pool if takers else "" if pool is None else pool.name
    apart = company is not None and not any(runner.is_remote for runner in takers)
    more = before > MAX_BEFORE
    if before:
        number = f"more than {MAX_BEFORE:,}" if more else f"{before:,}"
        message = f"{number} due {_tasks(before)} of the pool {name} come before it"
    elif apart:
        message = (
            f"its runner died while it ran, so it does not run beside others now; "
            f"no runner of the pool {name} is empty"
        )
    else:
        message = f"all runners of the pool {name} are busy, and it is next"
    yield _reason(
        BEHIND_OTHERS,
        message,
        "it begins when they have ended; a higher priority or more runners let it begin sooner",
        pool=name,
        before=min(before, MAX_BEFORE),
        more=more,
        runners=len(takers),
        busy=sum(bool(runner.held) for runner in takers),
        **({"apart": True} if apart else {}),
    )


def _is_free(runner: RunnerState, task: WaitingFor, moment: Moment, company: int | None) -> bool:
    """Return whether a runner would take the task: by the same terms as a claim."""
    request = runner.capacity_request(moment.fleet.averages, rated=moment.rated)
    if request is None:
        return False
    return request.take(task.task_type, moment.fleet.averages.get(task.task_type), company)


# The rules


def _database(_task: WaitingFor, moment: Moment) -> Iterator[Reason]:
    if moment.database_error is not None:
        yield _reason(
            DATABASE_AWAY,
            "the database cannot be used, so no task is handed out",
            "mend the database; /health has its error",
        )
    elif moment.is_barred:
        yield _reason(
            DATABASE_AWAY,
            "the database refuses to hand out tasks of this type",
            "/health names the error in tracker.set_aside; it is tried again by itself",
        )


def _handler(task: WaitingFor, moment: Moment) -> Iterator[Reason]:
    types = moment.outlook.task_types()
    if types is None:
        yield _reason(
            NO_HANDLER,
            "no version of the handlers is in force yet",
            "deploy one; /versions tells whether one is on trial or was refused",
        )
    elif task.task_type not in types:
        yield _reason(
            NO_HANDLER,
            f"the version of the handlers in force has no handler for {task.task_type}",
            "deploy a version that has one, or cancel the task",
            task_type=task.task_type,
        )


def _paused(_task: WaitingFor, moment: Moment) -> Iterator[Reason]:
    pause = moment.pause
    if pause is not None:
        yield _reason(
            PAUSED,
            f"{paused_text(pause)}: no such task is handed out",
            resume_text(pause),
            until=pause.until,
            since=rfc3339(pause.since),
            by=pause.by,
            namespace=pause.namespace or None,
            task_type=pause.task_type or None,
        )


def _stopping(_task: WaitingFor, moment: Moment) -> Iterator[Reason]:
    if moment.stopping:
        yield _reason(
            DRAINING, "the service stops", "start it again; the task goes on by itself then"
        )


def _due(task: WaitingFor, moment: Moment) -> Iterator[Reason]:
    if task.run_at > moment.now:
        yield _reason(
            NOT_DUE,
            f"it is due in {task.run_at - moment.now:.0f} s",
            None,
            until=task.run_at,
        )


def _limits(_task: WaitingFor, moment: Moment) -> Iterator[Reason]:
    for block in moment.blocks:
        yield _reason(
            RATE if block.is_rate else LIMIT_FULL,
            block.message(),
            block.fix(),
            until=moment.now + block.seconds if block.is_rate else None,
            **block.details(),
        )


def _runners(task: WaitingFor, moment: Moment) -> Iterator[Reason]:
    """Yield why the pool has nobody to run the task."""
    types = moment.outlook.task_types()
    if task.run_at > moment.now or types is None or task.task_type not in types:
        return  # the pool has no reason to have a runner
    takers = moment.takers(task.task_type)
    if takers:
        demand = _demand_of(task.task_type, takers)
        if demand is not None:
            yield _of_demand(demand)
        return
    pool = moment.pool_of(task.task_type)
    if pool is None:
        yield _reason(NO_RUNNER, "no runner takes tasks of this type", "see /pools and /runners")
    else:
        yield from _of_pool(pool, moment)


def _of_pool(pool: PoolView, moment: Moment) -> Iterator[Reason]:
    present = [runner for runner in pool.runners if runner.stage is not Stage.LEAVING]
    if pool.failing is not None:
        yield _reason(
            NO_RUNNER,
            f"the runners of the pool {pool.name} end when they start: {pool.failing.error}",
            "mend the handlers or the cluster, and deploy; /health has the end of the log",
            pool=pool.name,
            tries=pool.failing.count,
        )
    elif not present and pool.runners:
        yield _reason(
            DRAINING,
            f"the runners of the pool {pool.name} that are there finish their tasks and leave",
            "runners of the present version follow by themselves",
            pool=pool.name,
            leaving=len(pool.runners),
        )
    elif not present:
        yield _reason(
            NO_RUNNER,
            f"the pool {pool.name} has no runner",
            "one is made within a second, unless the cluster lacks what it needs",
            pool=pool.name,
        )
    for runner in present[:1]:
        yield _of_start(pool, runner, moment)


def _of_start(pool: PoolView, runner: RunnerPlace, moment: Moment) -> Reason:
    alive = [node.as_place() for node in moment.outlook.nodes() if node.takes_work]
    if not runner.placed and runner.seconds >= WAITS_SECONDS and alive:
        coming, resources = moment.outlook.coming(), runner.resources
        code = code_of(resources, alive, runner.selectors, coming=coming, seconds=runner.seconds)
        if code != RUNNER_STARTING:
            added = coming if code == NODES_COMING else {}
            return _of_need(code, Need(resources, runner.selectors, coming=added), 1)
    said = "has not called yet" if runner.stage is Stage.UP else "is starting"
    return _reason(
        RUNNER_STARTING,
        f"a runner of the pool {pool.name} {said}",
        None,
        pool=pool.name,
        seconds=round(runner.seconds, 1),
    )


_RULES: tuple[Callable[[WaitingFor, Moment], Iterator[Reason]], ...] = (
    _database,
    _handler,
    _paused,
    _stopping,
    _due,
    _limits,
    _runners,
)


# Words


def _demand_of(
    task_type: str, runners: Sequence[RunnerState], task_id: str | None = None
) -> Demand | None:
    """Return the demand that names a task, or else that of its type."""
    demands = [item for runner in runners for item in runner.demands if item.task_type == task_type]
    named = (item for item in demands if task_id in item.tasks)
    return next(named, next((item for item in demands if not item.tasks), None))


def _of_demand(demand: Demand) -> Reason:
    return _of_need(demand.code, Need.of(demand), demand.count)


def _of_need(code: str, need: Need, count: int) -> Reason:
    message, fix = waiting_words(code, need)
    return _reason(code, message, fix, **need.details(), tasks=count)


def _reason(
    code: str, message: str, fix: str | None, *, until: float | None = None, **details: Any
) -> Reason:
    return {
        "code": code,
        "message": message,
        "fix": fix,
        "details": details,
        "until": rfc3339(until),
    }


def _tasks(count: int) -> str:
    return "task" if count == 1 else "tasks"
