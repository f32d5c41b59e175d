"""How the cost grows with what is queued: drain rate, and the time of a claim's statement.

Each size has a database of its own, made beforehand; the first ten thousand tasks are drained.
"""

import math
import os
import time
from pathlib import Path

from benchmarks.handlers import NOOP
from benchmarks.measures import Result, percentile
from benchmarks.scenarios.place import Place
from benchmarks.seeds import copied
from benchmarks.servers.service import Service, running_service
from raytasks.model.lane_names import PLAIN_LANE
from raytasks.store.lane_rows import LaneAsk
from raytasks.store.store import Store

STAY_PAUSED = {
    "RAYTASKS_HEAD_ENDS": "",
    "MAX_BACKLOG": "5000000",
    "WARM_RUNNERS_MIN": str(os.cpu_count() or 1),
}
"""Variables for `raytasks up`, so that it does not end the pause of the database that it is given.
It takes this start for one that no person asked for, as after the end of its Ray. Its pool has its
full size from the start, since nothing can be run beforehand to make it grow."""

_CLAIMS = 50
_CLAIMED = 128


def measure(place: Place) -> Result:
    """Return the numbers for each size."""
    result = Result({})
    for size in place.sizes.growth:
        folder = place.folder / f"growth-{size}"
        url = copied(place.seeds.queued(size), folder)
        result.numbers[f"growth.{size}.claim_ms"] = _claim_ms(url)
        with running_service(folder, url, environment=STAY_PAUSED) as service:
            rate = drained_first(service, min(size, place.sizes.growth_drained))
        result.numbers[f"growth.{size}.per_second"] = rate
        Path(folder / "tasks.db").unlink()
    return result


def drained_first(service: Service, tasks: int) -> float:
    """Drain the first tasks of a service that is paused; return how many a second."""
    with service.control() as control:
        before = service.completed()
        began = control.resume()
        return tasks / (service.wait_completed(before + tasks) - began)


def _claim_ms(url: str) -> float:
    """Return how long it takes to select what is to be claimed, in milliseconds."""
    store = Store(url)
    taken = []
    for _ in range(_CLAIMS):
        with store.transaction(now=time.time()) as transaction:
            began = time.perf_counter()
            transaction.candidates([LaneAsk(NOOP, PLAIN_LANE, -math.inf, _CLAIMED)])
            taken.append(1000 * (time.perf_counter() - began))
    store.close()
    return percentile(taken, 0.5)
