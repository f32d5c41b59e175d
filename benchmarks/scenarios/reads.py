"""GET of one task at 16 connections; and before and after it the no-op beside it."""

from benchmarks.load import Plan, generate
from benchmarks.measures import Result
from benchmarks.servers.service import Service
from benchmarks.sizes import Sizes

_CONNECTIONS = 16


def measure(service: Service, sizes: Sizes) -> Result:
    """Return rate and latencies of GETs of tasks that have ended."""
    before = service.completed()
    ids = service.submit(sizes.reads)
    service.wait_completed(before + len(ids))
    paths = tuple(f"/tasks/{task_id}" for task_id in ids)
    plan = Plan(service.url, paths, _CONNECTIONS, method="GET", seconds=sizes.load_seconds, warm=10)
    name = f"reads.{_CONNECTIONS}"
    with service.noop() as noop:
        return service.beside_noop(
            noop,
            _CONNECTIONS,
            sizes.load_seconds,
            f"{name}.noop_per_second",
            lambda: generate(plan).result(name),
        )
