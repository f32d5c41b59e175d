"""Drain: queued no-op tasks, from the moment that they may run until all are COMPLETED."""

from collections.abc import Callable
from typing import Any

from benchmarks.handlers import NOOP
from benchmarks.measures import Result
from benchmarks.servers.service import Service
from benchmarks.sizes import Sizes


def measure(service: Service, sizes: Sizes) -> Result:
    """Return how many tasks a second are drained."""
    seconds = drained(service, sizes.drained)
    return Result({"drain.per_second": sizes.drained / seconds})


def drained(
    service: Service,
    tasks: int,
    task_type: str = NOOP,
    payload_of: Callable[[int], Any] | None = None,
) -> float:
    """Queue tasks while nothing is handed out, let them go; return how many seconds they took.

    `payload_of` gives the payload of each by its number; by default all are empty.
    The end is seen in the database, not over HTTP: asking would cost what is measured.
    """
    service.warm_up()
    with service.control() as control:
        before = service.completed()
        service.submit(tasks, task_type, payload_of=payload_of)
        began = control.resume()
        return service.wait_completed(before + tasks) - began
