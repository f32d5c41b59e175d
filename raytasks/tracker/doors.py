"""The doors of a tracker: its methods as other processes call them, with bytes in and bytes out.

Each call is done here while this tracker reigns. Once another cluster has superseded it, the calls
are passed on; see `raytasks.tracker.outpost`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from raytasks.model.tasks import StoreUnavailable
from raytasks.protocol import codec as wire
from raytasks.protocol.commands import Command
from raytasks.protocol.messages import Exchange, Feed, Orders
from raytasks.protocol.queries import (
    AnyQuery,
    Health,
    LiveQuery,
    LogLines,
    Query,
    Readiness,
    TaskStack,
)
from raytasks.tracker.core import Tracker

LOOK_SECONDS = 1.0
"""How often who follows the feed of a superseded tracker has to look at its tasks, in seconds."""

_HEALTH_SECONDS = 2.0


class Doors:
    """The methods of one tracker for clients, replicas and runners.

    The `read` answers queries here; `exchange` takes in a runner's news here.
    """

    def __init__(
        self,
        tracker: Tracker,
        read: Callable[[Any], Awaitable[Any]] | None = None,
        exchange: Callable[[Exchange, str], Awaitable[Orders]] | None = None,
    ) -> None:
        self._tracker = tracker
        self._outpost = tracker.outpost
        self._read_here = read or tracker.read
        self._exchange_here = exchange or tracker.exchange
        tracker.predecessors.doors = {
            "submit": self.submit,
            "execute": self.execute,
            "read": self.read,
            "exchange": self.exchange,
        }

    async def submit(self, tasks: bytes) -> bytes:
        """Store new tasks: see `Tracker.submit`."""
        return await self._outpost.either("submit", tasks, self._submit)

    async def execute(self, command: bytes) -> bytes:
        """Execute a command: see `Tracker.execute`."""
        return await self._outpost.either("execute", command, self._execute)

    async def read(self, query: bytes) -> bytes:
        """Answer a query. Raises `StoreUnavailable`."""
        asked = wire.query_of(query)
        if not self._outpost.active or not isinstance(asked, LiveQuery):
            return wire.encode(await self._read_here(asked))
        match asked:
            case LogLines() | TaskStack():  # about processes of this cluster
                return wire.encode(await self._read_here(asked))
            case Health():
                return wire.encode(await self._health(query))
            case Readiness():
                return await self._readiness(query)
            case _:
                return await self._outpost.either("read", query, self._read)

    async def changes(self, query: bytes) -> bytes:
        """Return events of the feed: see `Tracker.changes`. A superseded tracker has none."""
        asked = wire.feed_query_of(query)
        if self._outpost.active:
            await asyncio.sleep(min(asked.seconds, LOOK_SECONDS))
            return wire.encode(Feed(0, 0, gap=True))
        found = await self._tracker.changes(asked.epoch, asked.after, asked.seconds, asked.part)
        return wire.encode(found)

    async def exchange(self, message: bytes, way: str = "") -> bytes:
        """Take in a runner's exchange, and return its orders: see `Tracker.exchange`."""
        exchange = wire.exchange_of(message)
        if self._outpost.active:
            return await self._outpost.exchange(exchange.runner_id, message)
        answer = self._exchange_here(exchange, way)
        del exchange, message  # they may be large, and the answer may take long
        return wire.encode(await answer)

    async def _submit(self, tasks: bytes) -> bytes:
        return wire.encode_accepted(await self._tracker.submit(wire.new_tasks_of(tasks)))

    async def _execute(self, command: bytes) -> bytes:
        asked: Command[Any] = wire.command_of(command)
        return wire.encode(await self._tracker.execute(asked))

    async def _read(self, query: bytes) -> bytes:
        asked: AnyQuery = wire.query_of(query)
        return wire.encode(await self._read_here(asked))

    async def _health(self, query: bytes) -> dict[str, Any]:
        """Return the report of the successor, or of this process, with the reason that it adds.

        Of its own reasons only that of the database counts: it starts no tasks, and commits none.
        """
        asked: Query[dict[str, Any]] = Health()
        try:
            report = wire.answer_of(asked, await self._outpost.call("read", query, _HEALTH_SECONDS))
        except StoreUnavailable:
            report = await self._read_here(asked)
            own = [item for item in report["reasons"] if item["code"] == "database_away"]
            report["reasons"] = own
        report["reasons"].append(self._outpost.reason())
        return report

    async def _readiness(self, query: bytes) -> bytes:
        try:
            return await self._outpost.call("read", query, _HEALTH_SECONDS)
        except StoreUnavailable:
            return wire.encode([self._outpost.reason()])
