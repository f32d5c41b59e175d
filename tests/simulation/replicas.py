"""API replicas: the real submitter, watchdog and task watch, and their way to the tracker."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from raytasks.api.submitter import Submitter
from raytasks.api.watchdog import Watchdog
from raytasks.model.tasks import Accepted, NewTask, StoreUnavailable, Task
from raytasks.protocol import codec as wire
from raytasks.protocol.commands import Command
from raytasks.protocol.feed_follower import TaskWatch
from raytasks.protocol.messages import Feed, FeedPart, FeedQuery
from raytasks.protocol.queries import Answer, Query
from tests.simulation.loop import Process
from tests.simulation.network import CallFailed
from tests.simulation.trackers import LEASE_SECONDS, TrackerLife

if TYPE_CHECKING:
    from tests.simulation.world import World


_CALL_SECONDS = 9.0


class ReplicaLife:
    """One life of a replica's process. Its methods are what clients call."""

    def __init__(self, world: "World", name: str, owner: str = "me") -> None:
        self.world = world
        self.owner = owner
        self.name = name
        self.process = Process(world.loop, name)
        self.process.skew = world.elsewhere_skew
        self.submitter = Submitter(self._send_tasks)
        self.watch = TaskWatch(self)
        self._watched: TrackerLife | None = None
        watchdog = Watchdog(
            self._ping,
            self._replace,
            self._epoch,
            self._life,
            lease_seconds=LEASE_SECONDS,
            clock=world.loop.time,
            chance=world.draw.random,
        )
        self.process.start(watchdog.run())

    # What clients call, in this process

    async def submit(self, tasks: Sequence[NewTask]) -> Accepted:
        """Submit tasks, with what others submit at the same time."""
        return await self.submitter.submit(tasks)

    async def wait(self, task_id: str, seconds: float | None) -> Task | None:
        """Wait until a task has ended, as `?wait=` does."""
        found = await self.watch.final(task_id, seconds)
        return None if found is None else found[0]

    async def act(self, asked: Any, *arguments: Any) -> Any:
        """Have the tracker answer a query, carry out a command, or call a method of its core."""
        tracker = self.world.tracker_of(self.process, self.owner)
        match asked:
            case Query():
                return await self.read(asked)
            case Command():
                message = wire.encode(asked)
                answer = await self._carry(tracker, lambda: tracker.execute(message))
                return wire.answer_of(asked, answer)
            case _:
                return await self._carry(tracker, lambda: tracker.call(asked, *arguments))

    # What the task watch needs

    async def read(self, query: Query[Answer]) -> Answer:
        """Have the tracker answer a query."""
        message = wire.encode(query)
        tracker = self.world.tracker_of(self.process, self.owner)
        answer = await self._carry(tracker, lambda: tracker.read(message))
        return wire.answer_of(query, answer)

    async def changes(self, epoch: int, after: int, seconds: float, part: FeedPart) -> Feed:
        """Return a piece of the tracker's feed."""
        query = wire.encode(FeedQuery(epoch, after, seconds, part))
        tracker = self.world.tracker_of(self.process, self.owner)
        answer = await self._carry(tracker, lambda: tracker.changes(query))
        return wire.feed_of(answer)

    async def _send_tasks(self, tasks: Sequence[NewTask]) -> Accepted:
        message = wire.encode(tasks)
        tracker = self.world.tracker_of(self.process, self.owner)
        return wire.duplicates_of(await self._carry(tracker, lambda: tracker.submit(message)))

    async def _carry(self, tracker: TrackerLife, serve: Any) -> Any:
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                return await self.world.network.call(tracker.process, serve)
        except CallFailed as error:
            raise StoreUnavailable(f"the tracker is away: {error}") from None
        except TimeoutError:
            raise StoreUnavailable("the tracker does not answer") from None

    # What the watchdog needs

    async def _ping(self) -> None:
        self._watched = tracker = self.world.tracker_of(self.process, self.owner)
        await self.world.network.call(tracker.process, tracker.ping)

    async def _epoch(self) -> object:
        """Return the epoch as it is in SQL, if it is that of the tracker."""
        if self.world.trouble.hangs:
            raise StoreUnavailable("the database does not answer")
        self.world.trouble.before_read()
        checker = self.world.checker
        if self._watched is None or checker.owner != self._watched.owner:
            return None
        return checker.owner, checker.renewed_at

    async def _life(self) -> object:
        present = self.world.tracker_named(self.owner)
        return None if present is None else present.process.name

    async def _replace(self) -> None:
        await asyncio.sleep(0)
        if self._watched is not None:
            self.world.watchdog_replaces(self._watched)
