"""Results as Ray object references: each driver has an actor that waits for its tasks' ends.

The actor is neither the tracker's nor shared by drivers, since its calls last as long as a task. It
belongs to the process that made it, and ends with that process.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from raytasks import __version__
from raytasks.artifacts.large_values import LargeValues
from raytasks.driver.ends import ResultWatch
from raytasks.handling.terms import DriverTerms
from raytasks.model.tasks import Duplicate, NewTask, RaytasksError, StoreUnavailable
from raytasks.protocol import codec as wire
from raytasks.protocol.local_socket import ConnectionLost
from raytasks.protocol.messages import Feed, FeedPart, FeedQuery
from raytasks.protocol.queries import Answer, GetTerms, KnownTasks, Query, RepeatedSubmissions
from raytasks.runner.on_ray.tracker_client import TrackerClient

MAX_CALLS = 1_000_000
"""Maximum number of references that one process can wait for at a time."""

_AGAIN_SECONDS = (0.05, 0.2, 0.5, 1.0, 2.0, 2.0, 2.0, 2.0)
"""The pauses between retries while the tracker restarts, in seconds."""


class TrackerCalls:
    """The tracker's actor as drivers call it. Its errors come as they were raised there.

    If a tracker has died, it is looked up again. A submission that is sent twice does no harm.
    """

    def __init__(self) -> None:
        self._link = TrackerClient()

    async def submit(self, tasks: Sequence[NewTask]) -> dict[str, Duplicate]:
        """See `Tracker.submit`."""
        return wire.duplicates_of(await self._send_again("submit", wire.encode(list(tasks))))

    async def repeated(self, tasks: Sequence[NewTask]) -> dict[str, Duplicate]:
        """See `RepeatedSubmissions`."""
        query = RepeatedSubmissions(tasks)
        return wire.answer_of(query, await self._send_again("read", wire.encode(query)))

    async def stored(self, task_ids: Sequence[str]) -> set[str]:
        """Return which of these tasks exist."""
        return await self.read(KnownTasks(task_ids))

    async def read(self, query: Query[Answer]) -> Answer:
        """See `Tracker.read`."""
        return wire.answer_of(query, await self._send("read", wire.encode(query)))

    async def changes(self, epoch: int, after: int, seconds: float, part: FeedPart) -> Feed:
        """See `Tracker.changes`."""
        query = wire.encode(FeedQuery(epoch, after, seconds, part))
        return wire.feed_of(await self._send("changes", query))

    async def large_values(self) -> LargeValues:
        """Return the store of large payloads and results."""
        return (await self.terms()).values

    async def terms(self) -> DriverTerms:
        """Return what a submission must keep to. Raises `RaytasksError` where 0.1 runs."""
        try:
            return DriverTerms.of(await self.read(GetTerms()))
        except AttributeError:
            raise RaytasksError(
                f"the service is raytasks 0.1, and this driver has {__version__}: install the same "
                "version in both"
            ) from None

    async def close(self) -> None:
        """Close the connection, if there is one."""
        self._link.close()

    async def _send_again(self, method: str, message: bytes) -> bytes:
        """Send what may be sent twice. Raises `StoreUnavailable` if the tracker stays away."""
        for pause in (*_AGAIN_SECONDS, None):
            try:
                return await self._send(method, message)
            except (ConnectionLost, RayActorError, ValueError) as error:
                if pause is None:
                    raise StoreUnavailable(
                        f"the tracker is away, and the tasks may be stored or not: {error}"
                    ) from None
                await asyncio.sleep(pause)
        raise AssertionError

    async def _send(self, method: str, message: bytes) -> bytes:
        try:
            return await self._link.send(method, message)
        except RayTaskError as error:
            raise error.cause from None


class ResultsActor:
    """The results actor. Ray may repeat its calls after a restart."""

    def __init__(self) -> None:
        self._watch = ResultWatch(TrackerCalls())

    async def result(self, task_id: str) -> Any:
        """See `ResultWatch.result`."""
        return await self._watch.result(task_id)

    async def live(self) -> None:
        """Never return. The call fails when the actor is gone for good."""
        await asyncio.Event().wait()


def make_results() -> Any:
    """Make the results actor of this process, and return its handle.

    The actor ends with the handle.
    """
    options = {
        "num_cpus": 0,
        "max_restarts": -1,
        "max_task_retries": -1,
        "max_concurrency": MAX_CALLS,
        "max_pending_calls": -1,
    }
    return ray.remote(ResultsActor).options(**options).remote()
