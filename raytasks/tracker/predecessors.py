"""The earlier clusters on this database: their calls are answered, their runners' leases watched.

An earlier cluster passes on what its runners and clients say; see `raytasks.tracker.outpost`. Its
runners are runners like others here, which get nothing to do.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from msgspec import msgpack
from msgspec.structs import replace

from raytasks.model.handler_info import EARLIER_POOL, EARLIER_REMOTE_POOL, REMOTE_POOL
from raytasks.model.states import LossCause
from raytasks.model.tasks import NotUnderstood, RaytasksError, StoreUnavailable
from raytasks.observe.log_record import with_fields
from raytasks.protocol import codec as wire
from raytasks.protocol import protocol_version
from raytasks.store import outpost_rows
from raytasks.store.outpost_rows import OutpostAnswer, OutpostCall, Reign
from raytasks.store.transaction import Superseded
from raytasks.tracker.fleet import RunnerState
from raytasks.tracker.outpost import BUSY_SECONDS, RELEASE, Serve, beat_seconds
from raytasks.tracker.signs_of_life import SignsOfLife

if TYPE_CHECKING:
    from raytasks.tracker.ticker import Ticker

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
"""Seconds between two looks for other clusters while none is known. A later one may have taken
over, or an earlier one may have been frozen."""

_SHORT = 8  # characters of an owner's name in the names of its runners
_ids_of = msgpack.Decoder(list[str]).decode


@dataclass
class _Predecessor:
    """An earlier cluster as it was last seen."""

    reign: Reign
    after: int = 0  # the number of the last call that was taken
    calls: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def mark(self) -> str:
        """The end of the names of its runners."""
        return f"@{self.reign.owner[:_SHORT]}"


class Predecessors:
    """The earlier clusters on the database of a tracker that reigns.

    The `doors` are this tracker's own methods, by name: bytes in, bytes out, as in
    `raytasks.protocol.codec`. Calls wait until they are there. All methods belong to one event
    loop.
    """

    def __init__(
        self, ticker: "Ticker", release: Callable[[str], int], mark_lost: Callable[..., None]
    ) -> None:
        self._ticker = ticker
        self._release = release
        self._mark_lost = mark_lost
        self._known: dict[str, _Predecessor] = {}
        self._had_any = False
        self._signs = SignsOfLife(ticker.lease_seconds)
        self._answers: list[OutpostAnswer] = []
        self._ready = asyncio.Event()
        self.doors: Mapping[str, Serve] = {}
        ticker.silence.is_cut_off = self.is_cut_off

    @property
    def any(self) -> bool:
        """Whether an earlier cluster may still run something."""
        return bool(self._known)

    def is_cut_off(self, runner: RunnerState) -> bool:
        """Return whether a runner is silent because its whole cluster is, as far as is known."""
        if not runner.name:  # it has never called here
            return self._had_any
        if not runner.is_earlier:
            return False
        # Both have been silent since about the same time. A runner's last call is up to a third of
        # a lease older than its death, so its lease ends two thirds after it.
        silent_since = self._ticker.monotonic() - self._ticker.lease_seconds / 3
        for known in self._known.values():
            if runner.name.endswith(known.mark):
                return self._signs.seen_at(known.reign.owner) < silent_since
        return True

    def documents(self) -> list[dict[str, Any]]:
        """Return the earlier clusters as `/health` shows them."""
        now, fleet = self._ticker.monotonic(), self._ticker.ledger.fleet
        return [
            {
                "host": known.reign.host,
                "epoch": known.reign.epoch,
                "running": sum(
                    len(runner.held) for runner in fleet if runner.name.endswith(known.mark)
                ),
                "seen_seconds_ago": round(
                    max(0.0, now - self._signs.seen_at(known.reign.owner)), 3
                ),
            }
            for known in self._known.values()
        ]

    async def begin(self) -> None:
        """Look for earlier clusters when this tracker has just taken over."""
        while not self._ticker.cluster.is_alone:
            try:
                await self.look()
            except StoreUnavailable as error:
                await self._ticker.access.sit_out(error)
            else:
                return

    async def look(self) -> None:
        """Look for earlier clusters and their signs of life. Raises `StoreUnavailable`."""
        found = await self._ticker.access.read(self._read)
        now = self._ticker.monotonic()
        if any(reign.epoch > self._ticker.epoch for reign in found):
            self._ticker.renew_soon()  # which finds out whether this tracker is superseded
        present = {reign.owner: reign for reign in found if reign.epoch < self._ticker.epoch}
        self._signs.look(now, present)
        for owner, reign in present.items():
            earlier = self._known.get(owner)
            if earlier is None:
                self._known[owner] = _Predecessor(reign)
                self._had_any = True
                _say("an earlier cluster may still run tasks: on %s, epoch %d", reign)
            else:
                if earlier.reign.seat != reign.seat:
                    earlier.after = 0
                earlier.reign = reign
        for owner in self._known.keys() - present.keys():
            self._ended(self._known.pop(owner))
        if silent := self._signs.silent(now):
            await self._forget(silent)

    async def run(self) -> None:
        """Answer the calls of earlier clusters, for ever or until superseded."""
        looked_at = self._ticker.monotonic()
        try:
            while True:
                try:
                    now, beat = self._ticker.monotonic(), beat_seconds(self._ticker.lease_seconds)
                    if now - looked_at >= (beat if self._known else LOOK_SECONDS):
                        looked_at = now
                        await self.look()
                    await self._take_calls()
                    await self._tell()
                except StoreUnavailable:
                    self._signs.missed()
                    await asyncio.sleep(beat)
                except Superseded:
                    raise
                except Exception:
                    log.exception("earlier clusters cannot be heard; trying again")
                    await asyncio.sleep(beat)
                await self._pause()
        except Superseded:
            self._ticker.wake.set()
        finally:
            for known in self._known.values():
                for call in known.calls:
                    call.cancel()

    def _read(self) -> list[Reign]:
        with self._ticker.store.reading() as connection:
            return outpost_rows.read_reigns(connection)

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BUSY_SECONDS if self._known else LOOK_SECONDS):
                await self._ready.wait()
        self._ready.clear()

    async def _take_calls(self) -> None:
        seats = [
            (known, known.reign.seat, known.after)
            for known in self._known.values()
            if known.reign.seat is not None
        ]
        if not (seats and self.doors):
            return

        def read() -> list[list[OutpostCall]]:
            with self._ticker.store.reading() as connection:
                return [outpost_rows.read_calls(connection, seat, no) for _, seat, no in seats]

        found = await self._ticker.access.read(read)
        for (known, _, _), calls in zip(seats, found, strict=True):
            for item in calls:
                known.after = item.number
                task = asyncio.ensure_future(self._serve(known, item))
                known.calls.add(task)
                task.add_done_callback(known.calls.discard)

    async def _serve(self, known: _Predecessor, item: OutpostCall) -> None:
        try:
            document = await self._do(known, item)
        except Exception as error:
            if not isinstance(error, RaytasksError):
                log.exception("a call of an earlier cluster failed: %s", item.method)
            name, text = type(error).__name__, str(error)
            text = text.replace("\0", "\ufffd").encode(errors="backslashreplace").decode()
            answer = OutpostAnswer(item.seat, item.number, None, name, text)
        else:
            answer = OutpostAnswer(item.seat, item.number, document)
        self._answers.append(answer)
        self._ready.set()

    async def _do(self, known: _Predecessor, item: OutpostCall) -> bytes:
        if item.method == RELEASE:
            for runner_id in _ids_of(item.document):
                self._release(runner_id)
                self._mark_lost(runner_id, "its cluster stops", cause=LossCause.OUTSIDE)
            await self._ticker.wait_for_tick()
            return b""
        serve = self.doors.get(item.method)
        if serve is None:
            raise NotUnderstood(f"there is no call {item.method!r}")
        document = item.document
        if item.method != "exchange":  # that has the version of its runner
            protocol_version.check(item.protocol, item.needs)
        else:
            document = _as_earlier(document, known.mark)
        return await serve(document)

    async def _tell(self) -> None:
        """Write the answers, if this tracker still reigns. Raises `Superseded`."""
        answers, self._answers = self._answers, []
        if not answers:
            return
        ticker = self._ticker

        def write() -> None:
            with ticker.store.transaction(now=ticker.clock()) as transaction:
                transaction.renew(ticker.epoch)
                outpost_rows.answer(transaction.connection, answers)

        try:
            await ticker.access.write(write)
        except StoreUnavailable:
            self._answers = [*answers, *self._answers]
            raise

    async def _forget(self, owners: list[str]) -> None:
        """Delete the reigns of clusters that gave no sign for a lease. Raises `Superseded`."""
        ticker = self._ticker

        def write() -> None:
            with ticker.store.transaction(now=ticker.clock()) as transaction:
                transaction.renew(ticker.epoch)
                outpost_rows.forget_reigns(transaction.connection, owners)

        await ticker.access.write(write)
        for owner in owners:
            reign = self._known.pop(owner).reign
            _say("an earlier cluster was not heard of for a lease: on %s, epoch %d", reign)

    def _ended(self, known: _Predecessor) -> None:
        _say("an earlier cluster has ended: on %s, epoch %d", known.reign)


def _as_earlier(message: bytes, mark: str) -> bytes:
    """Return a runner's exchange as one of a runner that takes nothing more, with its own name."""
    exchange = wire.exchange_of(message)
    remote = exchange.pool == REMOTE_POOL
    return wire.encode(
        replace(
            exchange,
            name=f"{exchange.name}{mark}",
            pool=EARLIER_REMOTE_POOL if remote else EARLIER_POOL,
            capacity=0,
            capacity_by_type={},
            demands=(),
            node_id=None,  # a node of another Ray cluster means nothing here
            worker_id=None,
        )
    )


def _say(text: str, reign: Reign) -> None:
    log.warning(text, reign.host or "a machine", reign.epoch, extra=with_fields(epoch=reign.epoch))
