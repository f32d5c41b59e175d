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
        half = sizes.load_seconds / 2
        without = service.noop_rate(noop, _CONNECTIONS, half)
        result = generate(plan).result(name)
        without += service.noop_rate(noop, _CONNECTIONS, half)
    result.numbers[f"{name}.noop_per_second"] = without / 2
    return result
