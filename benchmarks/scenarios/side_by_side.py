"""Side by side: batches against one by one, and a thousand waits in one runner."""

import time

from benchmarks.measures import Result
from benchmarks.scenarios.place import Place
from benchmarks.servers.service import Service, running_service
from benchmarks.side_by_side_handlers import BATCH, BATCHED, ONE_BY_ONE, WAITING, WAITS
from raytasks.protocol.queries import TasksById

_MODULES = "benchmarks.handlers,benchmarks.side_by_side_handlers"


def measure(place: Place) -> Result:
    """Return the drain rates of a model, the mean fill of its batches, and the time of waits.

    The model takes 2 ms for a call and 0.1 ms for each payload.
    """
    tasks = place.sizes.drained
    with running_service(place.folder / "side_by_side", modules=_MODULES) as service:
        alone, _ = _drained(service, ONE_BY_ONE, tasks // 4)
        together, ids = _drained(service, BATCHED, tasks)
        found = service.store.read(TasksById(ids)).values()
        calls = sum(1 / int(task.result or 1) for task in found)
        _drained(service, WAITING, 1)
        began = time.monotonic()
        before = service.completed()
        service.submit(WAITS, WAITING)
        waits = service.wait_completed(before + WAITS) - began
    return Result(
        {
            "one_by_one.per_second": alone,
            "batched.per_second": together,
            "batched.fill": tasks / calls / BATCH,
            "waits.seconds": waits,
        }
    )


def _drained(service: Service, task_type: str, tasks: int) -> tuple[float, list[str]]:
    """Return how many tasks a second are drained once a runner is up, and their ids."""
    before = service.completed()
    service.submit(1, task_type)
    service.wait_completed(before + 1)
    with service.control() as control:
        ids = service.submit(tasks, task_type)
        began = control.resume()
        seconds = service.wait_completed(before + 1 + tasks) - began
    return tasks / seconds, ids
