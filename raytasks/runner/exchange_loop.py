"""The exchange loop: the runner's side of its exchanges with the tracker. Plain asyncio, no Ray."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence

from raytasks.model.states import OutcomeKind
from raytasks.model.task_events import LogLine
from raytasks.model.tasks import NotUnderstood
from raytasks.model.times import steady_time
from raytasks.protocol.local_socket import CallFailed
from raytasks.protocol.messages import Claim, Demand, Exchange, Orders, Outcome, Report
from raytasks.protocol.protocol_version import NEEDS, PROTOCOL
from raytasks.runner.identity import Identity
from raytasks.runner.outbox import Outbox, defect_of, how_many_fit, key_of, sound
from raytasks.runner.work import Work

log = logging.getLogger(__name__)

PROGRESS_SECONDS = 0.25
"""The shortest time between exchanges that carry nothing but progress and log lines."""

_RETRY_SECONDS = 0.2
_MAX_RETRY_SECONDS = 2.0
_WHOLE = 128


class OldTracker(Exception):
    """Orders came from a tracker that another one has superseded."""


class RunnerBroken(Exception):
    """The part of a runner that runs attempts does not work any more."""


class ExchangeLoop:
    """Keeps a runner in touch with the tracker: news goes out, claims and orders come in.

    `call` makes one exchange. If an exchange brought attempts and no more tasks are queued, the
    next one waits up to `linger_seconds`, so that outcomes can go with it. All methods belong to
    one event loop.

    - `clock` gives all times of the runner.
    - `demands` returns what waits for resources.
    - `waits_for` returns the id of a task that the present attempt waits for, or None.
    - With `slots`, the work begins all attempts at once; see `Exchange`.

    An outcome is kept, and sent again if needed, until the tracker has acknowledged it. A part that
    cannot be sent or understood is found and reported as a failure: it never holds up the rest.

    Each exchange proves that the runner works: `run` raises `RunnerBroken` if `is_alive` returns
    False.
    """

    def __init__(
        self,
        identity: Identity,
        work: Work,
        call: Callable[[Exchange], Awaitable[Orders]],
        *,
        linger_seconds: float = 0.0,
        demands: Callable[[], Sequence[Demand]] = tuple,
        waits_for: Callable[[], str | None] = lambda: None,
        clock: Callable[[], float] = steady_time,
        is_alive: Callable[[], bool] = lambda: True,
        slots: bool = False,
    ) -> None:
        self._identity = identity
        self._clock = clock
        self._demands = demands
        self._waits_for = waits_for
        self._work = work
        self._call = call
        self._held: dict[str, int] = {}
        self._is_alive = is_alive
        self._slots = slots
        self._last: tuple[Outcome, ...] = ()
        self._last_told: frozenset[str] = frozenset()
        self._given_up: frozenset[str] | None = None  # set by `end_with`: held, and not in `_last`
        self.queued = False
        """Whether more tasks waited for this runner when it got its newest attempts."""
        self._outbox = Outbox()
        self._portion: int | None = None  # how many outcomes an exchange carries, if limited
        self._failures = 0
        self._news = False
        self._stir = asyncio.Event()  # set by news, and by an answer of the tracker
        self._last_batch = 0
        self._batch_epoch = 0  # of the tracker that sent it: each numbers its own batches
        self._number = 0
        self._exchanges = 0
        self._epoch = 0
        self._resync = True
        self._leaving = False
        self._may_get_more = False  # the tracker was told of room, and not that this one leaves
        self._replaced = False
        self._lingers = False
        self._linger_seconds = linger_seconds
        self._timer: asyncio.TimerHandle | None = None
        self._calls: set[asyncio.Task[Orders]] = set()
        self._answered: list[asyncio.Task[Orders]] = []

    @property
    def held(self) -> int:
        """How many claimed attempts have not ended."""
        return len(self._held)

    def finished(self, outcomes: Sequence[Outcome]) -> None:
        """Take the outcomes of attempts that have ended."""
        for outcome in outcomes:
            if self._held.get(outcome.task_id) == outcome.attempt:
                del self._held[outcome.task_id]
                self._outbox.unsent.append(sound(outcome, self._clock()))
        self._note_news()

    def not_begun(self, claims: Sequence[Claim], kind: OutcomeKind) -> None:
        """Take claims that end here before they have begun: released or cancelled."""
        now = self._clock()
        self.finished(
            [Outcome(c.task_id, c.attempt, kind, started_at=now, finished_at=now) for c in claims]
        )

    def progress(self, task_id: str, fraction: float | None, message: str | None) -> None:
        """Take the progress of an attempt, and pass it on soon, unless newer progress comes."""
        attempt = self._held.get(task_id)
        if attempt is None:
            return
        known = self._outbox.progress.get(task_id)
        if known is not None:
            fraction = known.fraction if fraction is None else fraction
            message = known.message if message is None else message
        self._outbox.progress[task_id] = Report(task_id, attempt, 0, fraction, message)
        self._send_soon()

    def log(self, task_id: str, attempt: int, lines: Sequence[LogLine]) -> None:
        """Take lines that an attempt has logged, and pass them on soon."""
        if self._held.get(task_id) == attempt:
            self._outbox.logs.add((task_id, attempt), lines)
            self._send_soon()

    def begun(self, task_id: str, attempt: int, began_at: float) -> None:
        """Report that an attempt has begun, some time after its claim.

        `began_at` is by the runner's clock, in seconds since the epoch.
        """
        if self._held.get(task_id) == attempt:
            self._number += 1
            report = Report(task_id, attempt, self._number, began_at=began_at)
            self._outbox.beginnings[report.number] = report
            self._outbox.unsent_beginnings.append(report)
            self._note_news()

    async def checkpoint(
        self, task_id: str, attempt: int, data: str, ref: str | None = None
    ) -> None:
        """Pass on a checkpoint, and return when the tracker has it on disk.

        Raises `asyncio.CancelledError` if the attempt is another's, `ValueError` if it is unsound.
        """
        self._number += 1
        report = Report(task_id, attempt, self._number, checkpoint=data, checkpoint_ref=ref)
        if (why := defect_of(report)) is not None:
            raise ValueError(f"the checkpoint cannot be kept: {why}")
        acknowledged: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._outbox.checkpoints[report.number] = (report, acknowledged)
        self._outbox.unsent_checkpoints.append(report)
        self._note_news()
        try:
            await acknowledged
        finally:
            del self._outbox.checkpoints[report.number]

    def changed(self) -> None:
        """Make an exchange at once, as the capacity or the demands of the work have changed."""
        self._note_news()

    def leave(self) -> None:
        """Take no more attempts.

        `run` returns when the tracker knows that, and has acknowledged the last outcome.
        """
        self._leaving = True
        self._note_news()

    def end_with(self, outcomes: Sequence[Outcome]) -> None:
        """Leave, though attempts still run: the end of the process will stop them.

        The outcomes say how they end. `run` returns when the tracker knows them; they count once
        the process is gone. Attempts without one are lost with the process: nobody waits for them.
        """
        self._last = tuple(item for item in outcomes if item.task_id in self._held)
        self._given_up = frozenset(self._held.keys() - {item.task_id for item in self._last})
        self.leave()
        # The next call makes the tracker answer the one that carries them.
        asyncio.get_running_loop().call_later(PROGRESS_SECONDS, self.changed)

    async def run(self) -> None:
        """Make exchanges until it has left, or another has its place. Raises `RunnerBroken`."""
        try:
            while not self._done():
                self._news = self._lingers = False
                self._begin_call()
                # This call makes the tracker answer an earlier one; that answer needs no new call.
                while self._calls and not self._must_call():
                    await self._next_event()
                if self._lingers and not self._must_call():
                    await self._linger()
        finally:
            for call in self._calls:
                call.cancel()

    def _done(self) -> bool:
        waits = (
            self._held.keys() - self._last_told - (self._given_up or frozenset())
            or self._outbox.unsent
            or self._outbox.unacknowledged
            or self._may_get_more
        )
        return self._replaced or (self._leaving and not waits)

    def _must_call(self) -> bool:
        return self._news or self._resync or self._done()

    async def _linger(self) -> None:
        """Wait for news, for up to `linger_seconds`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._linger_seconds):
                await self._stir.wait()

    async def _next_event(self) -> None:
        """Wait for news or for an answer of the tracker, and apply the answers."""
        await self._stir.wait()
        self._stir.clear()
        answered, self._answered = self._answered, []
        for call in answered:
            self._calls.discard(call)
            self._apply(call.result())

    def _begin_call(self) -> None:
        if not self._is_alive():
            raise RunnerBroken("the thread of the attempts does not work any more")
        call = asyncio.ensure_future(self._one_exchange(self._build()))
        self._calls.add(call)
        call.add_done_callback(self._call_ended)

    def _call_ended(self, call: "asyncio.Task[Orders]") -> None:
        self._answered.append(call)
        self._stir.set()

    def _note_news(self) -> None:
        self._news = True
        self._stir.set()

    async def _one_exchange(self, exchange: Exchange) -> Orders:
        try:
            orders = await self._call(exchange)
            self._last_told = frozenset(item.task_id for item in exchange.last_outcomes)
            self._may_get_more = self._may_get_more and not exchange.leaving
            if 0 < orders.epoch < self._epoch:
                raise OldTracker("a tracker that was superseded has answered")
            self._epoch = max(self._epoch, orders.epoch)
        except Exception as error:
            self._failures += 1
            pause = self._after_failure(exchange, error)
            await asyncio.sleep(pause)
            return Orders(batch=self._last_batch, resync=True, epoch=self._batch_epoch)
        self._failures = 0
        if self._portion is not None and exchange.outcomes:
            self._portion = None if self._portion >= _WHOLE else 2 * self._portion
        return orders

    def _after_failure(self, exchange: Exchange, error: Exception) -> float:
        """Prepare to send everything again, to any tracker; return the pause before, in seconds.

        If the exchange holds a part that cannot be sent, that part is replaced. If the tracker does
        not understand a part, it is found by sending fewer outcomes at a time. Otherwise what was
        sent may be lost.
        """
        log.warning("exchange with the tracker failed: %s: %s", type(error).__name__, error)
        mended = self._outbox.mend()
        if mended:
            log.error("this could not be told to the tracker: %s", "; ".join(mended)[:10_000])
            return 0.0
        refused = isinstance(error, NotUnderstood)
        if not refused and not isinstance(error, CallFailed):
            return _RETRY_SECONDS
        sent = len(exchange.outcomes) + len(exchange.reports) + len(exchange.logs)
        if refused and sent and len(exchange.outcomes) <= 1:
            log.error("the tracker does not understand an exchange; its parts are given up")
            self._outbox.give_up(exchange, f"the tracker refuses it: {error}"[:500])
            return 0.0
        self._portion = max(1, len(exchange.outcomes) // 2)
        self._outbox.say_last(exchange)
        return min(_MAX_RETRY_SECONDS, _RETRY_SECONDS * self._failures)

    def _build(self) -> Exchange:
        box = self._outbox
        if self._resync:
            box.say_again()
        most = how_many_fit(box.unsent)
        sendable = box.unsent[: most if self._portion is None else min(most, self._portion)]
        logs, count = box.logs.take(sendable) if box.logs else ((), len(sendable))
        outcomes, later = box.unsent[:count], box.unsent[count:]
        box.unacknowledged |= {key_of(item): item for item in outcomes}
        self._exchanges += 1
        self._may_get_more = self._may_get_more or not self._leaving
        exchange = Exchange(
            runner_id=self._identity.runner_id,
            name=self._identity.name,
            pool=self._identity.pool,
            generation=self._identity.generation,
            node_id=self._identity.node_id,
            worker_id=self._identity.worker_id,
            host=self._identity.host,
            pid=self._identity.pid,
            capacity_by_type={} if self._leaving else dict(self._work.capacity_by_type()),
            capacity=0 if self._leaving else self._work.capacity(),
            last_batch=self._last_batch,
            batch_epoch=self._batch_epoch,
            outcomes=tuple(outcomes),
            reports=(
                *box.unsent_beginnings,
                *box.progress.values(),
                *box.unsent_checkpoints,
            ),
            logs=tuple(logs),
            held=(*self._held.items(), *map(key_of, later)) if self._resync else None,
            leaving=self._leaving,
            sent_at=self._clock(),
            demands=tuple(self._demands()),
            number=self._exchanges,
            waits_for=self._waits_for(),
            slots=self._slots,
            last_outcomes=self._last,
            protocol=PROTOCOL,
            needs=NEEDS,
        )
        box.unsent, box.unsent_checkpoints, box.progress = later, [], {}
        box.unsent_beginnings = []
        if later or box.logs.has_fresh:
            self._note_news()
        self._resync = False
        return exchange

    def _apply(self, orders: Orders) -> None:
        for key in orders.acknowledged:
            self._outbox.unacknowledged.pop(key, None)
            self._outbox.logs.drop(key)
        for number in orders.acknowledged_reports:
            self._outbox.beginnings.pop(number, None)
            self._outbox.acknowledge_checkpoint(number)
        for number in orders.acknowledged_logs:
            self._outbox.logs.acknowledge(number)
        if orders.resync:
            self._resync = True
        if orders.end:
            why = orders.reason or "another process has taken the place of this runner"
            log.warning("this runner ends: %s", why)
            self._replaced = True
        if (orders.epoch, orders.batch) > (self._batch_epoch, self._last_batch):
            self._batch_epoch, self._last_batch = orders.epoch, orders.batch
            claims = self._new(orders.claims)
            for claim in claims:
                self._held[claim.task_id] = claim.attempt
            self.queued = orders.queued
            self._lingers = bool(claims and self._linger_seconds) and not orders.queued
            if self._given_up is None:
                self._work.start(claims)
            else:  # they were on their way
                self.not_begun(claims, OutcomeKind.RELEASED)
        for task_id, attempt in orders.cancels:
            if self._held.get(task_id) == attempt:
                self._work.stop(task_id, attempt)
        for task_id, attempt in orders.stale:
            self._abandon(task_id, attempt)

    def _new(self, claims: Sequence[Claim]) -> Sequence[Claim]:
        """Return the claims without those that are held here already, so that none runs twice."""
        held = [claim for claim in claims if self._held.get(claim.task_id, 0) >= claim.attempt]
        if not held:
            return claims
        log.error("handed out twice, a fault of raytasks: %s", held)
        return [claim for claim in claims if claim not in held]

    def _abandon(self, task_id: str, attempt: int) -> None:
        self._outbox.forget((task_id, attempt))
        if self._held.get(task_id) == attempt:
            del self._held[task_id]
            self._work.stop(task_id, attempt)

    def _send_soon(self) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(PROGRESS_SECONDS, self._send_gathered)

    def _send_gathered(self) -> None:
        self._timer = None
        if self._outbox.progress or self._outbox.logs.has_fresh:
            self._note_news()
