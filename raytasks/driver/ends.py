"""The ends of tasks, for callers that wait for many: they need only ids, and no open calls.

One long poll follows the feed, and the tasks that have ended are read in batches. Without Ray.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Protocol

from pydantic_core import from_json

from raytasks.artifacts.large_values import ArtifactLost, LargeValues
from raytasks.model.states import State
from raytasks.model.tasks import StoreUnavailable, TaskFailed, TaskNotFound
from raytasks.protocol.feed_follower import FeedFollower
from raytasks.protocol.messages import Ends, Feed, FeedPart, TaskEnd
from raytasks.protocol.queries import Reader, TaskEnds

log = logging.getLogger(__name__)

MAX_ASKED = 500
"""Maximum number of tasks in one query."""

RETRY_SECONDS = 0.5
"""How long after a failed call the next one is made, in seconds."""


class EndSource(Reader, Protocol):
    """The tracker, as `EndWatch` calls it."""

    async def changes(self, epoch: int, after: int, seconds: float, part: FeedPart) -> Feed:
        """Return the entries of a part of the feed after a number."""


class EndWatch:
    """Waits for the ends of tasks. All methods belong to one event loop.

    A wait costs a future here, and a place in a batch. The tracker keeps nothing for it.
    """

    def __init__(self, source: EndSource) -> None:
        self._source = source
        self._waiting: dict[str, asyncio.Future[TaskEnd | None]] = {}
        self._waits: dict[str, int] = {}
        self._unasked: dict[str, None] = {}
        self._asking: asyncio.Task[None] | None = None
        self._follower = FeedFollower(
            source, FeedPart.ENDS, self._tell, lambda: bool(self._waiting)
        )

    def __len__(self) -> int:
        """Return how many tasks are waited for."""
        return len(self._waiting)

    async def end(self, task_id: str) -> TaskEnd | None:
        """Return the end of a task, as soon as it has ended; None if there is no such task.

        It also waits through an outage of the tracker or its database.
        """
        self._follower.begin()
        ended = self._waiting.get(task_id)
        if ended is None:
            ended = self._waiting[task_id] = asyncio.get_running_loop().create_future()
            self._ask_about([task_id])
        self._waits[task_id] = self._waits.get(task_id, 0) + 1
        try:
            return await asyncio.shield(ended)  # others may wait for it too
        finally:
            self._waits[task_id] -= 1
            if not self._waits[task_id]:
                del self._waits[task_id]
                if self._waiting.get(task_id) is ended:
                    del self._waiting[task_id]

    def close(self) -> None:
        """Stop following and polling. All waits are cancelled."""
        self._follower.close()
        if self._asking is not None:
            self._asking.cancel()
        for ended in self._waiting.values():
            ended.cancel()

    def _tell(self, feed: Feed) -> bool:
        ended = self._waiting if feed.gap else [name for name in feed.ends if name in self._waiting]
        self._ask_about(ended)
        return bool(ended) and not feed.gap

    def _ask_about(self, task_ids: "Sequence[str] | dict[str, Any]") -> None:
        self._unasked.update(dict.fromkeys(task_ids))
        if self._unasked and self._asking is None:
            self._asking = asyncio.ensure_future(self._ask())

    async def _ask(self) -> None:
        try:
            await asyncio.sleep(0)  # tasks that others ask for in this turn join the batch
            while self._unasked:
                batch = list(self._unasked)[:MAX_ASKED]
                for task_id in batch:
                    del self._unasked[task_id]
                asked = [task_id for task_id in batch if task_id in self._waiting]
                try:
                    found = await self._source.read(TaskEnds(asked)) if asked else Ends()
                except Exception as error:
                    log.warning("the ends of %d tasks cannot be had yet: %r", len(asked), error)
                    self._unasked.update(dict.fromkeys(asked))
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                for end in found.ended:
                    self._settle(end.task_id, end)
                for task_id in found.unknown:
                    self._settle(task_id, None)
        finally:
            self._asking = None

    def _settle(self, task_id: str, end: TaskEnd | None) -> None:
        ended = self._waiting.pop(task_id, None)
        if ended is not None and not ended.done():
            ended.set_result(end)


class ValueSource(EndSource, Protocol):
    """The tracker, which also knows where large results are stored."""

    async def large_values(self) -> LargeValues:
        """Return the store of large payloads and results."""


class ResultWatch:
    """Waits for the results of tasks. All methods belong to one event loop."""

    def __init__(self, source: ValueSource) -> None:
        self._source = source
        self.ends = EndWatch(source)

    async def result(self, task_id: str) -> Any:
        """Wait until a task has ended, and return its result.

        It also waits through an outage of tracker, database or artifact store. Raises
        `TaskNotFound`, and `TaskFailed` with the task's last error, or if its result is lost.
        """
        end = await self.ends.end(task_id)
        if end is None:
            raise TaskNotFound(f"there is no task {task_id}")
        if end.state is not State.COMPLETED:
            raise TaskFailed(failure_text(end))
        return from_json(end.result or "null" if end.result_ref is None else await self._large(end))

    async def _large(self, end: TaskEnd) -> str:
        while True:
            try:
                values = await self._source.large_values()
                return await asyncio.to_thread(values.load_result, end) or "null"
            except ArtifactLost as error:
                raise TaskFailed(str(error)) from None
            except StoreUnavailable as error:
                log.info("the result of task %s cannot be had yet: %s", end.task_id, error)
            except Exception as error:  # the tracker, or its actor, is down
                log.info("the result of task %s cannot be had yet: %r", end.task_id, error)
            await asyncio.sleep(RETRY_SECONDS)


def failure_text(task: TaskEnd) -> str:
    """Return the state of a task that did not complete, with the error of its last attempt."""
    if task.error is None:
        return f"task {task.task_id} ({task.task_type}) is {task.state}"
    error = from_json(task.error)
    text = f"task {task.task_id} ({task.task_type}) is {task.state} after attempt {task.attempt}"
    trace = f"\n\n{error['traceback']}" if error.get("traceback") else ""
    return f"{text}: {error['type']}: {error['message']}{trace}"
