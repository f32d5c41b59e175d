"""The outpost: a tracker that another cluster has superseded, and whose runners still finish.

It claims nothing and writes no task. What its runners, clients and replicas say, it passes on to
the tracker that reigns, by rows of the database. So that one writes every task, and knows what this
cluster still runs. The answers come back the same way.
"""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from raytasks.model import tasks as models
from raytasks.model.tasks import OtherProtocol, RaytasksError, StoreUnavailable
from raytasks.observe.log_record import with_fields
from raytasks.protocol import codec as wire
from raytasks.protocol.protocol_version import FIX, NEEDS, PROTOCOL
from raytasks.store import outpost_rows
from raytasks.store.outpost_rows import OutpostAnswer, OutpostCall, OutpostView, Reign
from raytasks.store.store_calls import patiently
from raytasks.tracker.access import AWAY, TakenOver
from raytasks.tracker.signs_of_life import SignsOfLife
from raytasks.tracker.work_health import HealthReason, health_reason

if TYPE_CHECKING:
    from raytasks.tracker.ticker import Ticker

log = logging.getLogger(__name__)

CALL_SECONDS = 8.0
"""How long a request may wait for the successor's answer, in seconds; see `api.on_ray`."""

BUSY_SECONDS = 0.05
"""Seconds between two looks for answers, while something came lately."""

QUIET_SECONDS = 0.2
"""Seconds between two looks for answers otherwise."""

RELEASE = "release"
"""The call that gives back what runners hold, by their ids; they end after it."""

_BUSY_FOR = 1.0
_MAX_BEAT_SECONDS = 1.0


class _Reigning(Exception):
    """This tracker reigns: a call that was to be passed on is done here."""


Serve = Callable[[bytes], Awaitable[bytes]]


def beat_seconds(lease_seconds: float) -> float:
    """Return how often a sign of life is given and looked for, in seconds."""
    return min(_MAX_BEAT_SECONDS, lease_seconds / 10)


class Outpost:
    """The calls of one tracker to the one that has superseded it; `active` while there is one.

    - `runner_ids`: the runners whose exchanges it has passed on.
    - `is_ending`: this cluster ends, and does not take the database back.

    All methods belong to one event loop.
    """

    def __init__(self, ticker: "Ticker") -> None:
        self._ticker = ticker
        self._access = ticker.access
        self._cluster = ticker.cluster
        self._lease_seconds = ticker.lease_seconds
        self._clock = ticker.clock
        self._monotonic = ticker.monotonic
        self._seat = str(uuid.uuid4())
        self._number = 0
        self._open: dict[int, asyncio.Future[bytes]] = {}
        self._unsent: list[OutpostCall] = []
        self._over: list[int] = []
        self._stir = asyncio.Event()
        self._busy_until = 0.0
        self._beat_at = 0.0
        self._successor: Reign | None = None
        self._since = 0.0
        self._is_told = False
        self._refusal: str | None = None
        self.active = False
        self.is_ending = False
        self.runner_ids: set[str] = set()

    # Calls

    async def either(
        self, method: str, document: bytes, here: Serve, seconds: float | None = CALL_SECONDS
    ) -> bytes:
        """Have a call done `here`, or by the successor if there is one; return the answer.

        Raises the call's errors, and `StoreUnavailable` after `seconds` without an answer.
        """
        while True:
            if not self.active:
                with contextlib.suppress(TakenOver):
                    return await here(document)
            with contextlib.suppress(_Reigning):
                return await self.call(method, document, seconds)

    async def call(
        self, method: str, document: bytes, seconds: float | None = CALL_SECONDS
    ) -> bytes:
        """Have the successor do a call; see `either`. It may be done twice, or late."""
        self._number += 1
        number = self._number
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._open[number] = answer
        self._unsent.append(OutpostCall(self._seat, number, method, document, PROTOCOL, NEEDS))
        self._stir.set()
        try:
            async with asyncio.timeout(seconds):
                return await answer
        except TimeoutError:
            raise StoreUnavailable(f"{self.words}; it does not answer; try again soon") from None
        finally:
            self._open.pop(number, None)
            left = len(self._unsent)
            self._unsent = [item for item in self._unsent if item.number != number]
            if left == len(self._unsent):
                self._over.append(number)

    async def exchange(self, runner_id: str, message: bytes) -> bytes:
        """Pass on a runner's exchange. Raises `StoreUnavailable` after a lease without an answer.

        The successor drops the calls of a cluster that it has not heard of for a lease. So the
        runner has to call again.
        """
        self.runner_ids.add(runner_id)
        return await self.call("exchange", message, self._lease_seconds)

    # What people see

    @property
    def words(self) -> str:
        """The sentence that says who has taken over, for people."""
        if self._successor is None:
            return "another tracker has taken over the database"
        return (
            f"another cluster has taken over the database: on {self._successor.host or 'a machine'}"
            f", epoch {self._successor.epoch}"
        )

    def reason(self) -> HealthReason:
        """Return the reason that `/health` of this cluster gives."""
        if self._refusal is not None:
            text = f"{self.words}, which does not understand this one: {self._refusal}"
            return health_reason("superseded", text, FIX, since=self._since)
        return health_reason(
            "superseded",
            f"{self.words}; this one starts no tasks, and passes requests on",
            "send clients to the new cluster; stop this one when its tasks have ended, or at once",
            since=self._since,
        )

    # Its life

    def begin(self) -> None:
        """Pass on all calls from now on: another tracker has taken over."""
        if not self.active:
            self.active, self._since = True, self._clock()

    async def stand_by(self) -> None:
        """Pass calls on until the successor has ended, or was silent for a lease.

        Returns at once if this cluster reigns. A cluster that `is_ending` stands by for good. Calls
        wait from the return on, until `resume`, or until the process ends.
        """
        signs = SignsOfLife(self._lease_seconds)
        while True:
            view = await self._look()
            if view.owner == self._cluster.owner:
                break
            now = self._monotonic()
            signs.look(now, {str(view.owner): view.renewed_at})
            if self._has_ended(view):
                break
            if signs.silent(now) and not self.is_ending:
                log.warning("the tracker that had taken over is gone; this one takes its place")
                break
            self._begin()
            self._take(view.answers)
            if not await self._send():
                signs.missed()
            await self._pause()

    async def live(self) -> None:
        """Be an outpost until this cluster is to go on; see `Tracker.superseded`."""
        self.begin()
        self._ticker.dismiss()
        self.runner_ids.update(runner.runner_id for runner in self._ticker.ledger.fleet)
        await self.stand_by()
        owner, *_ = await self._access.insist(self._ticker.store.epoch_owner)
        if owner != self._cluster.owner:
            await self._access.insist(self._ticker.begin_epoch)

    def resume(self) -> None:
        """Do calls here again: this tracker has taken over the database."""
        self.active = self._is_told = False
        for answer in self._open.values():
            if not answer.done():
                answer.set_exception(_Reigning())

    async def wait_until_idle(self, seconds: float) -> None:
        """Wait until no runner of this cluster holds an attempt, or until `seconds` are over."""
        deadline = self._monotonic() + seconds
        while (left := deadline - self._monotonic()) > 0:
            with contextlib.suppress(StoreUnavailable):
                if not await self._access.read(self._count_held):
                    return
            await asyncio.sleep(min(left, QUIET_SECONDS))

    async def release(self) -> int:
        """Give back all that the runners of this cluster hold, uncharged; return how many.

        Raises `StoreUnavailable`. The runners must end after that.
        """
        held = await self._access.read(self._count_held)
        if held:
            await self.call(RELEASE, wire.encode(sorted(self.runner_ids)))
        return held

    async def end(self) -> None:
        """Write that nothing of this cluster runs any more. Raises `StoreUnavailable`."""

        def write() -> None:
            with self._access.store.writing_own() as connection:
                outpost_rows.forget_reigns(connection, [self._cluster.owner])

        await self._access.write(write)

    def _count_held(self) -> int:
        with self._access.store.reading() as connection:
            return outpost_rows.count_held(connection, sorted(self.runner_ids))

    def _begin(self) -> None:
        self.begin()
        if not self._is_told:
            self._is_told = True
            log.warning(
                "%s; this one starts no tasks, and passes on what it hears",
                self.words,
                extra=with_fields(epoch=self._ticker.epoch or None),
            )
        self._access.stand_by(TakenOver(self.words))

    async def _look(self) -> OutpostView:
        def read() -> OutpostView:
            with self._access.store.reading() as connection:
                return outpost_rows.read_view(connection, self._seat)

        return await self._access.insist(patiently(read))

    def _has_ended(self, view: OutpostView) -> bool:
        """Return whether the successor has stopped in order: its reign is gone."""
        known, self._successor = self._successor, None
        for reign in view.reigns:
            if reign.owner == view.owner:
                self._successor = reign
        if self._successor is None and known is not None and known.owner == view.owner:
            self._successor = known
            if not self.is_ending:
                log.warning("the cluster that had taken over has stopped; this one goes on")
                return True
        return False

    def _take(self, answers: Sequence[OutpostAnswer]) -> None:
        for item in answers:
            waiting = self._open.pop(item.number, None)
            self._over.append(item.number)
            if waiting is None or waiting.done():
                continue
            self._busy_until = self._monotonic() + _BUSY_FOR
            if item.document is not None:
                waiting.set_result(item.document)
                self._refusal = None
            else:
                waiting.set_exception(error := _error(item))
                self._refusal = str(error) if isinstance(error, OtherProtocol) else None

    async def _send(self) -> bool:
        """Write a sign of life if one is due, and what is to be said; return whether it could."""
        now = self._monotonic()
        due = now - self._beat_at >= beat_seconds(self._lease_seconds)
        if not (due or self._unsent or self._over):
            return True
        calls, self._unsent = self._unsent, []
        over, self._over = self._over, []
        mine = self._cluster
        reign = Reign(mine.owner, self._ticker.epoch, mine.host, self._seat, 0)

        def write() -> None:
            with self._access.store.writing_own() as connection:
                outpost_rows.beat(connection, reign, self._clock())
                outpost_rows.call(connection, self._seat, calls, over)

        if calls:
            self._busy_until = now + _BUSY_FOR
        try:
            await self._access.write(write)
        except StoreUnavailable as error:
            self._over = [*over, *self._over]
            for item in calls:
                answer = self._open.get(item.number)
                if answer is not None and not answer.done():
                    answer.set_exception(StoreUnavailable(AWAY))
            await self._access.sit_out(error)
            return False
        self._beat_at = now
        return True

    async def _pause(self) -> None:
        busy = self._monotonic() < self._busy_until
        quiet = min(QUIET_SECONDS, self._lease_seconds / 6)  # a longer rest proves no silence
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BUSY_SECONDS if busy else quiet):
                await self._stir.wait()
        self._stir.clear()


def _error(answer: OutpostAnswer) -> Exception:
    kind = getattr(models, answer.error or "", None)
    if isinstance(kind, type) and issubclass(kind, RaytasksError):
        return kind(answer.message or "")
    return ConnectionError(f"{answer.error}: {answer.message}")
