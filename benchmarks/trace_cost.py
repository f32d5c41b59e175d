"""The processor time of a trace context without an SDK: `python -m benchmarks.trace_cost`.

No-ops are drained in pairs: one half of a pair was submitted with a `traceparent`, the other
without. The halves change places from pair to pair. The numbers are the processor time of a task in
the tracker and the runners, and how much more of it the context costs. The target is 2 % at most.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from benchmarks.measures import Result
from benchmarks.servers.service import Service, running_service

TARGET_PERCENT = 2.0
TRACEPARENT = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}


def measure(service: Service, tasks: int, pairs: int) -> Result:
    """Return the medians of the pairs, and the spread of their ratios."""
    service.warm_up()
    drained(service, tasks, traced=False)  # the first one warms up
    plain: list[float] = []
    traced: list[float] = []
    for number in range(pairs):
        for is_traced in (False, True) if number % 2 else (True, False):
            (traced if is_traced else plain).append(drained(service, tasks, traced=is_traced))
    added = [100 * (more / less - 1) for more, less in zip(traced, plain, strict=True)]
    return Result(
        {
            "plain.us_per_task": 1e6 * statistics.median(plain),
            "traced.us_per_task": 1e6 * statistics.median(traced),
            "traced.added_percent": statistics.median(added),
            "traced.added_percent_min": min(added),
            "traced.added_percent_max": max(added),
        }
    )


def drained(service: Service, tasks: int, *, traced: bool) -> float:
    """Drain no-ops that were stored before; return the processor seconds of a task."""
    with service.control() as control:
        before = service.completed()
        service.submit(tasks, headers=TRACEPARENT if traced else None)
        used = _used(service)
        control.resume()
        service.wait_completed(before + tasks)
        return (_used(service) - used) / tasks


def _used(service: Service) -> float:
    times = [process.cpu_times() for process in service.workers()]
    return sum(item.user + item.system for item in times)


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=10_000, help="of each drain")
    parser.add_argument("--pairs", type=int, default=5)
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        running_service(Path(folder) / "service") as service,
    ):
        found = measure(service, asked.tasks, asked.pairs).numbers
    verdict = "met" if found["traced.added_percent"] <= TARGET_PERCENT else "missed"
    numbers = {name: round(value, 2) for name, value in found.items()}
    print(json.dumps({**numbers, f"at most {TARGET_PERCENT:g} %": verdict}, indent=1))


if __name__ == "__main__":
    main()
