"""The backend of a replica: it calls the tracker over a socket or Ray, and reads from SQL."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import ray
from ray.exceptions import RayActorError, RayTaskError

from raytasks.api.direct_reads import DirectReads, open_reads
from raytasks.api.on_ray.tracker_sight import epoch_of, life_of
from raytasks.model.tasks import Accepted, NewTask, StoreUnavailable
from raytasks.pools.handlers_version import HandlersVersion
from raytasks.pools.versions import Announced
from raytasks.protocol import codec as wire
from raytasks.protocol.commands import Command
from raytasks.protocol.local_socket import ConnectionLost, SocketChannel
from raytasks.protocol.messages import Feed, FeedPart, FeedQuery
from raytasks.protocol.places import DatabasePlace
from raytasks.protocol.queries import GetDatabase, Health, Query, is_stored
from raytasks.runner.on_ray.killing import kill
from raytasks.runner.on_ray.tracker_client import BY_RAY, SOCKET, open_channel
from raytasks.settings import Settings
from raytasks.tracker.on_ray.creation import get_or_create_tracker
from raytasks.tracker.work_health import BY_RAY_SECONDS, HealthReason, calls_by_ray

Answer = TypeVar("Answer")

log = logging.getLogger(__name__)

CALL_SECONDS = 9.0
"""How long a call of the tracker may take, in seconds.

So an HTTP request is answered within ten seconds. The tracker itself refuses slow calls a little
earlier.
"""

MUTE = "the tracker does not answer; try again soon"

_TAKE_OVER_SECONDS = 30.0


class TrackerBackend:
    """The API's backend: the tracker's actor and, once it is found, its database for reads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._tracker = get_or_create_tracker(settings)
        self._reads: DirectReads | None = None
        self._place: DatabasePlace | None = None
        self._known: DatabasePlace | None = None  # where it is, readable or not
        self._channel: SocketChannel | None = None
        self._by_ray_since: float | None = None
        self.reasons_here: Callable[[], list[HealthReason]] = list
        """Returns what `/health` tells about this replica, beside what the tracker tells."""

    async def submit(self, tasks: Sequence[NewTask]) -> Accepted:
        """See `Backend.submit`."""
        return wire.duplicates_of(await self._send("submit", wire.encode(tasks)))

    async def execute(self, command: Command[Answer]) -> Answer:
        """See `Backend.execute`."""
        return wire.answer_of(command, await self._send("execute", wire.encode(command)))

    async def read(self, query: Query[Answer]) -> Answer:
        """See `Backend.read`. Stored data is read from the database, not through the tracker."""
        if self._reads is not None and is_stored(query):
            return await self._reads.read(query)
        answer: Any = await self._ask(query)
        if isinstance(query, Health):
            self._note_way(answer)
            answer["reasons"] += self.reasons_here()
        return cast("Answer", answer)

    def _note_way(self, report: dict[str, Any]) -> None:
        """Add to a health report by which way this replica calls the tracker, and since when."""
        by_ray = self._channel is None or self._channel.lost
        report["tracker"]["way"] = BY_RAY if by_ray else SOCKET
        here = ray.get_runtime_context().get_node_id()
        if not by_ray or report["tracker"].get("socket_node") != here:
            self._by_ray_since = None
            return
        now = time.monotonic()
        self._by_ray_since = self._by_ray_since or now
        if now - self._by_ray_since >= BY_RAY_SECONDS:
            report["reasons"].append(calls_by_ray("an API replica on its node"))

    async def changes(
        self, epoch: int, after: int, seconds: float, part: FeedPart = FeedPart.CHANGES
    ) -> Feed:
        """See `Backend.changes`."""
        query = wire.encode(FeedQuery(epoch, after, seconds, part))
        return wire.feed_of(await self._send("changes", query, CALL_SECONDS + seconds))

    async def ping(self) -> None:
        """Return when the tracker has answered."""
        await self._tracker.ping.remote()

    async def epoch(self) -> object:
        """Return the tracker's epoch as it is in SQL; see `raytasks.api.on_ray.tracker_sight`."""
        return None if self._known is None else await epoch_of(self._tracker, self._known)

    async def life(self) -> object:
        """Return a value that tells one process of the tracker from the next."""
        return await life_of(self._tracker)

    async def replace(self) -> None:
        """End the tracker's process. Ray starts it again, and sends it the open calls again."""
        await kill(self._tracker, no_restart=False)

    async def announce(self, version: HandlersVersion) -> Announced:
        """Tell the tracker of this replica's build. Raises `StoreUnavailable`."""
        told: Announced = await self._call("announce", version)
        return told

    async def is_first(self, name: str) -> bool:
        """Return whether this is the first call with this name, of all replicas."""
        first: bool = await self._call("is_first", name)
        return first

    async def find_database(self) -> None:
        """Read from the tracker's database from now on, if this node can read it.

        Until then, and if it cannot, the tracker reads. Does nothing once that is decided.
        """
        if self._reads is not None:
            return
        tracker, here = self._tracker, ray.get_runtime_context().get_node_id()
        if self._place is not None and self._place.is_bound_elsewhere(here):
            return
        place = await self._ask(GetDatabase(), _TAKE_OVER_SECONDS)
        if tracker is self._tracker:
            self._known = place
        reads = await open_reads(place, here)
        if tracker is not self._tracker:
            return  # the tracker was replaced meanwhile: the next look will tell
        self._place, self._reads = place, reads

    async def find_channel(self) -> None:
        """Call the tracker over our own socket from now on, if it is on this node.

        Call this again and again: the tracker may be another process by now.
        """
        tracker = self._tracker
        channel = await open_channel(tracker, self._channel)
        if tracker is self._tracker:
            self._channel = channel
        elif channel is not None:
            channel.close()

    async def _ask(self, query: Query[Answer], seconds: float = CALL_SECONDS) -> Answer:
        return wire.answer_of(query, await self._send("read", wire.encode(query), seconds))

    async def _send(self, method: str, message: bytes, seconds: float = CALL_SECONDS) -> bytes:
        """Send a message of `raytasks.protocol.codec` in the fastest way there is."""
        channel = self._channel
        if channel is not None and not channel.lost:
            try:
                async with asyncio.timeout(seconds):
                    return await channel.call(method, message)
            except ConnectionLost:
                pass  # it may have arrived; a second send does no harm, as with Ray's own retries
            except TimeoutError:
                raise StoreUnavailable(MUTE) from None
        answer: bytes = await self._call(method, message, seconds=seconds)
        return answer

    async def _call(self, method: str, *arguments: Any, seconds: float = CALL_SECONDS) -> Any:
        """Call the tracker. Its errors come as they were raised there.

        Raises `StoreUnavailable` when it has not answered after so many seconds.
        """
        tracker = self._tracker
        try:
            async with asyncio.timeout(seconds):
                return await getattr(tracker, method).remote(*arguments)
        except TimeoutError:
            raise StoreUnavailable(MUTE) from None
        except RayTaskError as error:
            raise error.cause from None
        except RayActorError as error:
            # The tracker is dead for good, e.g. ended by hand: the next call finds, or makes,
            # another one.
            log.warning("the tracker is gone: %s", error)
            await self._find_another(tracker)
            raise StoreUnavailable("the tracker is away; try again soon") from None

    async def _find_another(self, former: Any) -> None:
        tracker = await asyncio.to_thread(get_or_create_tracker, self._settings)
        if self._tracker is not former:  # another call was faster
            return
        self._tracker = tracker
        if self._channel is not None:
            self._channel.close()
        # The new tracker may be elsewhere, and use another database.
        reads, self._reads = self._reads, None
        self._place = self._known = None
        if reads is not None:
            reads.close()
