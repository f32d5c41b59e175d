"""Results for driver scripts: an actor whose calls wait for the ends of tasks.

It is not the tracker's actor, since such a call lasts as long as its task: a driver that submits
many would leave no room there for the calls of the runners, on which those ends depend.
"""

import asyncio
from typing import Any

import ray
from pydantic_core import from_json
from ray.exceptions import RayError, RayTaskError

from raytasks import wire
from raytasks.messages import Feed, FeedPart, FeedQuery
from raytasks.models import Attempt, StoreUnavailable, Task, TaskFailed, TaskNotFound
from raytasks.offload import ArtifactLost, LargeValues
from raytasks.runner.link import TrackerLink, lasting
from raytasks.states import State
from raytasks.tracker.watch import TaskWatch

RESULTS_NAME = "raytasks.results"

_RETRY_SECONDS = 0.5


class ResultsActor:
    """The actor. Its call may be repeated by Ray after a restart."""

    def __init__(self) -> None:
        self._tracker = _NamedTracker()
        self._watch = TaskWatch(self._tracker)

    async def result(self, task_id: str) -> Any:
        """Wait until a task has ended, and return its result.

        Waits also while tracker, database or artifact store are away. Raises `TaskNotFound`, and
        `TaskFailed` with the error that the task ended with, or if its result is lost.
        """
        while True:
            try:
                found = await self._watch.final(task_id, None)
                result = "null" if found is None else await self._result(found[0])
            except ArtifactLost as error:
                raise TaskFailed(str(error)) from None
            except (StoreUnavailable, RayError, ValueError):
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            if found is None:
                raise TaskNotFound(f"there is no task {task_id}")
            task, _ = found
            if task.state is State.COMPLETED:
                return from_json(result)
            raise TaskFailed(failure_text(task))

    async def _result(self, task: Task) -> str:
        if task.result_ref is None:
            return task.result or "null"
        values = await self._tracker.large_values()
        return await asyncio.to_thread(values.result_of, task) or "null"


class _NamedTracker:
    """The tracker's actor as `TaskWatch` sees it. What it raises comes as it was raised there."""

    def __init__(self) -> None:
        self._link = TrackerLink()

    async def task(self, task_id: str) -> tuple[Task, list[Attempt]] | None:
        found: tuple[Task, list[Attempt]] | None = await self._call("task", task_id)
        return found

    async def changes(self, epoch: int, after: int, seconds: float, part: FeedPart) -> Feed:
        query = wire.encode(FeedQuery(epoch, after, seconds, part))
        return wire.feed_of(await self._link.send("changes", query))

    async def large_values(self) -> LargeValues:
        values: LargeValues = await self._call("large_values")
        return values

    async def _call(self, method: str, *arguments: Any) -> Any:
        try:
            return await self._link.call(method, *arguments)
        except RayTaskError as error:
            raise error.cause from None


def get_or_create_results() -> Any:
    """Return the handle of the cluster's results actor; make it if there is none."""
    return ray.remote(ResultsActor).options(**lasting(RESULTS_NAME)).remote()


def failure_text(task: Task) -> str:
    """Return how a task ended that did not complete, with the error of its last attempt."""
    if task.error is None:
        return f"task {task.task_id} ({task.task_type}) is {task.state}"
    error = from_json(task.error)
    text = f"task {task.task_id} ({task.task_type}) is {task.state} after attempt {task.attempt}"
    trace = f"\n\n{error['traceback']}" if error.get("traceback") else ""
    return f"{text}: {error['type']}: {error['message']}{trace}"
