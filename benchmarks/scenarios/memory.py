"""Memory of the tracker's process: without tasks, with a million queued, and after a drain."""

import time
from dataclasses import dataclass

from benchmarks.measures import Result
from benchmarks.scenarios.growth import STAY_PAUSED, drained_first
from benchmarks.scenarios.place import Place
from benchmarks.seeds import copied
from benchmarks.servers.service import Service, running_service


@dataclass(frozen=True)
class _Memory:
    rss: float
    uss: float


def measure(place: Place) -> Result:
    """Return the memory in MiB; `memory.grown_mib` is the highest, less that of the empty one."""
    sizes = place.sizes
    with running_service(place.folder / "memory-empty") as service:
        empty = _memory(service, sizes.settle_seconds)
    folder = place.folder / "memory-full"
    url = copied(place.seeds.queued(sizes.remembered), folder)
    with running_service(folder, url, environment=STAY_PAUSED) as service:
        full = _memory(service, sizes.settle_seconds)
        drained_first(service, min(sizes.remembered, sizes.growth_drained))
        drained = _memory(service, 0)
    (folder / "tasks.db").unlink()
    numbers = {
        "memory.empty.rss_mib": empty.rss,
        "memory.empty.uss_mib": empty.uss,
        "memory.queued.rss_mib": full.rss,
        "memory.queued.uss_mib": full.uss,
        "memory.drained.rss_mib": drained.rss,
        "memory.drained.uss_mib": drained.uss,
        "memory.grown_mib": max(full.uss, drained.uss) - empty.uss,
    }
    return Result(numbers)


def _memory(service: Service, settle_seconds: float) -> _Memory:
    time.sleep(settle_seconds)
    found = service.tracker().memory_full_info()
    return _Memory(found.rss / 2**20, found.uss / 2**20)
