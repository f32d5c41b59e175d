"""Fair shares: a namespace's few tasks behind another one's flood, and shares by weight.

The attempts take `_SECONDS` each.
"""

import time
from collections.abc import Sequence

from benchmarks.handlers import SLEEP
from benchmarks.measures import Result, percentile
from benchmarks.scenarios.place import Place
from benchmarks.servers.service import Service, running_service
from raytasks.model.states import State
from raytasks.protocol.queries import TasksById

_SECONDS = 0.05
_FEW = 100
_WEIGHTS = {"heavy": 3.0, "light": 1.0}


def measure(place: Place) -> Result:
    """Return the p95 of the waits of few tasks, alone and behind a flood, and shares by weight.

    `behind_ratio` leaves out the time of one attempt, which may be running. `share_error_percent`
    is how far the larger share is from that of its weight.
    """
    with running_service(place.folder / "fair_shares") as service:
        service.warm_up()
        alone = _p95_of_few(service)
        service.submit(place.sizes.flood, SLEEP, payload={"seconds": _SECONDS}, namespace="flood")
        _wait_for_running(service)
        behind = _p95_of_few(service)
        _cancel(service, "flood")
        share = _share_of_heavy(service, place.sizes.share_seconds)
    wanted = _WEIGHTS["heavy"] / sum(_WEIGHTS.values())
    return Result(
        {
            "alone.p95_ms": 1000 * alone,
            "behind.p95_ms": 1000 * behind,
            "behind_ratio": (behind - _SECONDS) / alone,
            "share_error_percent": 100 * abs(share / wanted - 1),
        }
    )


def _p95_of_few(service: Service) -> float:
    """Return the p95 of the seconds from submission to start of few tasks."""
    ids = service.submit(_FEW, SLEEP, payload={"seconds": _SECONDS}, namespace="few")
    deadline = time.monotonic() + 120.0
    while True:
        found = service.store.read(TasksById(ids)).values()
        if all(task.state is State.COMPLETED for task in found):
            waits = [(task.started_at or 0.0) - task.created_at for task in found]
            return percentile(waits, 0.95)
        if time.monotonic() > deadline:
            raise TimeoutError("the few tasks have not ended")
        time.sleep(0.2)


def _cancel(service: Service, namespace: str) -> None:
    asked = {"action": "cancel", "all": True}
    service.http.post("/bulk", params={"namespace": namespace}, json=asked).raise_for_status()
    while _number(service, namespace, State.PENDING):
        time.sleep(0.2)


def _wait_for_running(service: Service) -> None:
    while not _number(service, "flood", State.RUNNING):
        time.sleep(0.02)


def _share_of_heavy(service: Service, seconds: float) -> float:
    """Return the share of the heavier namespace in what two floods complete meanwhile."""
    for name, weight in _WEIGHTS.items():
        service.http.put(f"/namespaces/{name}", json={"weight": weight}).raise_for_status()
        flood = int(seconds / _SECONDS) * 4
        service.submit(flood, SLEEP, payload={"seconds": _SECONDS}, namespace=name)
    before = _completed(service, tuple(_WEIGHTS))
    time.sleep(seconds)
    after = _completed(service, tuple(_WEIGHTS))
    done = {name: after[name] - before[name] for name in _WEIGHTS}
    return done["heavy"] / sum(done.values())


def _completed(service: Service, names: Sequence[str]) -> dict[str, int]:
    return {name: _number(service, name, State.COMPLETED) for name in names}


def _number(service: Service, namespace: str, state: State) -> int:
    counts = service.store.counts()
    return sum(n for (space, _, of), n in counts.items() if (space, of) == (namespace, state))
