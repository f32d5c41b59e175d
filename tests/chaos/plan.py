"""The plan of a run: which tasks are submitted and which faults strike, fixed by the seed."""

import itertools
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from tests.chaos.kinds import FLOW, GROUPS, Kind, Place

Choice = TypeVar("Choice")


class FaultKind(StrEnum):
    """The kind of a fault."""

    KILL_TRACKER = "kill_tracker"
    KILL_WARM_RUNNER = "kill_warm_runner"
    KILL_CLASS_RUNNER = "kill_class_runner"
    KILL_TASK_RUNNER = "kill_task_runner"
    KILL_REMOTE_WORKER = "kill_remote_worker"
    KILL_API_REPLICA = "kill_api_replica"
    KILL_HAPROXY = "kill_haproxy"
    FREEZE_WARM_RUNNER = "freeze_warm_runner"
    FREEZE_TRACKER = "freeze_tracker"
    STOP_POSTGRESQL = "stop_postgresql"
    KILL_SERVICE = "kill_service"


WEIGHTS = {
    FaultKind.KILL_TRACKER: 3,
    FaultKind.KILL_WARM_RUNNER: 3,
    FaultKind.KILL_CLASS_RUNNER: 2,
    FaultKind.KILL_TASK_RUNNER: 2,
    FaultKind.KILL_REMOTE_WORKER: 3,
    FaultKind.KILL_API_REPLICA: 1,
    FaultKind.KILL_HAPROXY: 1,
    FaultKind.FREEZE_WARM_RUNNER: 2,
    FaultKind.FREEZE_TRACKER: 1,
    FaultKind.STOP_POSTGRESQL: 2,
}
"""How often the faults come, of which one of each comes first. The others are planned by time."""


class Way(StrEnum):
    """How a task is submitted."""

    HTTP = "http"
    DRIVER = "driver"
    KEY_AGAIN = "key_again"  # with a key, and after the answer once more
    KEY_TOGETHER = "key_together"  # with a key, several times at once

    @property
    def keyed(self) -> bool:
        """Whether it has an idempotency key."""
        return self in (Way.KEY_AGAIN, Way.KEY_TOGETHER)


@dataclass(frozen=True)
class PlannedTask:
    """A task to submit `at` seconds after the load has begun."""

    token: str
    at: float
    kind: Kind
    place: Place
    way: Way = Way.HTTP
    script: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    cancel_after: float = 0.0

    @property
    def payload(self) -> dict[str, Any]:
        """The payload, as `tests.chaos_handlers.Chaos` takes it."""
        return {"token": self.token, "kind": self.kind, **self.script}


@dataclass(frozen=True)
class PlannedFault:
    """A fault, and the pause in seconds before it. One that `must` be is, whatever time it is."""

    kind: FaultKind
    pause: float
    must: bool = False


_SHARES = {
    Kind.SLOW: 2.0,
    Kind.FLAKY: 5.0,
    Kind.PERMANENT: 1.5,
    Kind.EXHAUSTED: 1.5,
    Kind.CHECKPOINT: 1.5,
    Kind.SNOOZE: 2.0,
    Kind.CANCELLED: 2.0,
    Kind.REVIVED: 1.0,
}
"""How many of a hundred tasks are of a kind, the others are instant."""

_CRASHING = (Kind.POISON, Kind.CRASH_ONCE, Kind.RAY_RETRIES, Kind.CRASH_ONCE)
"""Those that kill a process each time come by turns."""

CRASH_SECONDS = 5.0
"""How far apart they are."""

_PLACES = {Place.FUNCTION: 82, Place.CLASS: 15, Place.REMOTE: 3}
_LONG_PLACES = {Place.FUNCTION: 40, Place.CLASS: 30, Place.REMOTE: 30}
_FLOW_PLACES = {Place.LIMITED: 8, Place.ORDERED: 6, Place.RATED: 3}
_WAYS = {Way.HTTP: 75, Way.DRIVER: 10, Way.KEY_AGAIN: 8, Way.KEY_TOGETHER: 7}


def planned_tasks(
    seed: int, rate: float, crash_seconds: float = CRASH_SECONDS
) -> Iterator[PlannedTask]:
    """Plan tasks without an end, `rate` of them a second on average.

    One in `crash_seconds` kills a process.
    """
    source = random.Random(f"{seed} tasks")
    crashing = itertools.cycle(_CRASHING)
    now, next_crash = 0.0, crash_seconds / 2
    for number in itertools.count():
        now += source.expovariate(rate)
        if now >= next_crash:
            next_crash += crash_seconds
            kind = next(crashing)
        else:
            kind = _kind(source)
        yield _task(f"{seed}-{number}", now, kind, source)


def planned_faults(seed: int, *, postgresql: bool, freeze_tracker: bool) -> Iterator[PlannedFault]:
    """Plan faults without an end; one of each kind comes first, in any order."""
    source = random.Random(f"{seed} faults")
    weights = dict(WEIGHTS)
    if not postgresql:
        del weights[FaultKind.STOP_POSTGRESQL]
    if not freeze_tracker:
        del weights[FaultKind.FREEZE_TRACKER]
    first = source.sample(list(weights), len(weights))
    for kind in first:
        yield PlannedFault(kind, source.uniform(0.2, 2.0), must=True)
    while True:
        yield PlannedFault(_pick(weights, source), source.uniform(0.2, 2.0))


def planned_restarts(seconds: float) -> list[float]:
    """Return when the whole service is killed: not in a short run, twice in a long one."""
    times = 0 if seconds < 120 else 1 if seconds < 600 else 2
    return [seconds * (index + 1) / (times + 1) for index in range(times)]


def _kind(source: random.Random) -> Kind:
    return _pick({**_SHARES, Kind.INSTANT: 100 - sum(_SHARES.values())}, source)


def _task(token: str, at: float, kind: Kind, source: random.Random) -> PlannedTask:
    place = _place(kind, source)
    way = _pick(_WAYS, source)
    if way is Way.DRIVER and kind in (Kind.CANCELLED, Kind.REVIVED):
        way = Way.HTTP  # what is cancelled and retried is so over HTTP
    script: dict[str, Any] = {}
    options: dict[str, Any] = {"priority": source.randint(-1, 1)}
    cancel_after = 0.0
    match kind:
        case Kind.SLOW:
            script = {"seconds": 0.2}
        case Kind.FLAKY:
            script = {"failures": source.randint(1, 2)}
        case Kind.EXHAUSTED:
            options["max_attempts"] = source.randint(1, 2)
        case Kind.CHECKPOINT:
            script = {"shards": source.randint(3, 8)}
            if source.random() < 0.6:
                fails_at = source.randrange(1, script["shards"])
                script |= {"fails_at": fails_at, "dies": source.random() < 0.15}
        case Kind.CANCELLED:
            script = {"seconds": 2.0}
            cancel_after = source.uniform(0.0, 1.0)
            if source.random() < 0.5:
                options["delay_seconds"] = 60.0
    if place in FLOW:
        script["group"] = source.randrange(GROUPS)
        options["priority"] = 0  # so that the order of one key is that in which they come
    return PlannedTask(token, at, kind, place, way, script, options, cancel_after)


def _place(kind: Kind, source: random.Random) -> Place:
    if kind is Kind.RAY_RETRIES:
        return Place.RAY
    if kind in (Kind.INSTANT, Kind.FLAKY):
        return _pick(_PLACES | _FLOW_PLACES, source)
    if kind in (Kind.PERMANENT, Kind.EXHAUSTED):
        return _pick(_PLACES, source)
    if kind in (Kind.SLOW, Kind.SNOOZE, Kind.CRASH_ONCE):
        return _pick(_LONG_PLACES | _FLOW_PLACES, source)
    return _pick(_LONG_PLACES, source)


def _pick(weights: Mapping[Choice, float], source: random.Random) -> Choice:
    return source.choices(list(weights), list(weights.values()))[0]
