"""The loop of ticks: when one is due, what goes into it, and what follows from it."""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Awaitable, Callable

from raytasks.model.steering import Steering
from raytasks.model.tasks import StoreUnavailable
from raytasks.observe.log_stream import LogStream
from raytasks.store.outpost_rows import Cluster
from raytasks.store.store import Store
from raytasks.store.store_calls import Executors, threads
from raytasks.tracker.access import AWAY, StoreAccess
from raytasks.tracker.background import Background
from raytasks.tracker.bulk_turns import BulkTurns
from raytasks.tracker.cadence import Cadence
from raytasks.tracker.feed import FeedRing
from raytasks.tracker.foreign_runners import ForeignRunners
from raytasks.tracker.histograms import COMMIT, SERVICE, TICK
from raytasks.tracker.inbox import Inbox
from raytasks.tracker.intake import Intake
from raytasks.tracker.journal import Journal
from raytasks.tracker.ledger import Ledger
from raytasks.tracker.losses import Losses
from raytasks.tracker.order import OrderClock
from raytasks.tracker.recovery import DUE_TASKS, EXPIRED_TASKS, SCHEDULES, STATISTICS, Recovery
from raytasks.tracker.schedule_book import ScheduleBook
from raytasks.tracker.silence import Silence
from raytasks.tracker.tick import TickInput, TickResult, run_tick

log = logging.getLogger(__name__)

SETTLE_SECONDS = 0.008
"""Seconds that outcomes wait under load for others, to share a commit. New tasks never wait."""

LOAD = 3
"""Minimum number of new tasks and outcomes in the last tick that counts as load."""

_TURN_SECONDS = 8.0


class Ticker:
    """The tracker's state, and the loop that keeps it and the database in step.

    Everything here belongs to one event loop, except `run_tick`, which runs in the store's thread.
    The `clock` is for stored times and for when tasks are due; `monotonic` measures all durations.
    """

    def __init__(
        self,
        store: Store,
        log_stream: LogStream,
        *,
        lease_seconds: float,
        max_crashes: int,
        clock: Callable[[], float],
        monotonic: Callable[[], float] | None = None,
        cluster: Cluster | None = None,
        executors: Executors = threads,
    ) -> None:
        self.store = store
        self.inbox = Inbox()
        self.wake = asyncio.Event()
        self.clock = clock
        self.monotonic = monotonic or (time.monotonic if clock is time.time else clock)
        self.access = StoreAccess(
            store, self.inbox.refuse, monotonic=self.monotonic, executors=executors
        )
        self.lease_seconds = lease_seconds
        self.epoch = 0
        self.ledger = Ledger(clock, self.monotonic, store.priority_step)
        self.claims = self.ledger.claims
        self.recovery = Recovery(self.inbox, self.access, self)
        self.intake = Intake(self.inbox, self.ledger.fleet, self.recovery.aside)
        self.journal = Journal(log_stream, self.ledger.fleet, self.monotonic)
        self.foreign = ForeignRunners(lease_seconds, self.monotonic)
        self.losses = Losses(
            self.ledger.fleet,
            self.inbox,
            self.recovery.aside,
            self.wake,
            clock,
            self.journal.runner_gone,
        )
        self.bulk = BulkTurns(self.monotonic)
        self.schedules = ScheduleBook(self.claims.limits.keyed.declared_of)
        self.background = Background(self)
        self._order = OrderClock(self.monotonic)
        self.claiming = True
        self._steering = Steering()
        self.loaded = asyncio.Event()
        self._turn = asyncio.Lock()
        self.on_expiry: Callable[[str], None] = lambda _: None
        self.silence = Silence(self.losses.mark_lost, lambda name: self.on_expiry(name))  # noqa: PLW0108 - it is set later
        self.asked = False  # whether a runner has asked for work since the last plan
        self._settling: asyncio.TimerHandle | None = None
        self._under_load = False
        self.cluster = cluster or Cluster()
        self.max_crashes = max_crashes
        self.looked_at = self.monotonic()
        self._cadence = Cadence(lease_seconds)
        self._doubt: StoreUnavailable | None = None
        self._certain = asyncio.Event()  # memory is as the disk, as far as is known
        self._certain.set()

    @property
    def steering(self) -> Steering:
        """The settings that people have made. It is replaced whenever a person has changed it."""
        return self._steering

    @steering.setter
    def steering(self, steering: Steering) -> None:
        self._steering = steering
        self.ledger.lanes.steer(steering)

    async def start(self, stand_by: Callable[[], Awaitable[None]] | None = None) -> None:
        """Take over the database, and load its state. See `StoreAccess.take_over`."""
        self.epoch = await self.access.take_over(self.begin_epoch, stand_by)
        self.ledger.feed = FeedRing(self.epoch)
        self.claims.limits.empty()
        await self._load()
        self.access.recovered()
        running, counts = len(self.ledger.fleet.running), self.ledger.waiting_types()
        self.journal.took_over(self.epoch, running, sum(counts.values()))
        self.loaded.set()

    def begin_epoch(self) -> int:
        """Take over the database for this cluster, in the store's thread; return the new epoch."""
        mine = self.cluster
        return self.store.begin_epoch(self.clock(), mine.owner, host=mine.host, alone=mine.is_alone)

    async def is_loaded(self, seconds: float) -> bool:
        """Return whether the database was taken over; waits at most `seconds` for it."""
        if not self.loaded.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self.loaded.wait()
        return self.loaded.is_set()

    async def run(self) -> None:
        """Do ticks without end, each as soon as there is work. Raises `Superseded`."""
        while True:
            await self._wait_for_work()
            self.wake.clear()
            self._end_leases()
            async with self._turn:
                await self.tick()
                await self.background.turn(idle=self.inbox.empty and not self.recovery.busy)

    async def close(self) -> None:
        """Answer waiting callers with an error, and close the store."""
        while not self.inbox.empty:
            self.inbox.take().fail(StoreUnavailable("the tracker is stopping"))
        self.journal.close()
        await self.access.close()

    def doubt(self, error: StoreUnavailable) -> None:
        """Read everything again before the next tick: nobody knows whether a write is on disk."""
        self._doubt = error
        self._certain.clear()
        self.wake.set()

    async def wait_for_tick(self) -> None:
        """Wait for the end of the tick that is on its way. Raises `StoreUnavailable`.

        After a write in doubt, it waits until memory was read again.
        """
        try:
            async with asyncio.timeout(_TURN_SECONDS):
                while True:
                    await self._certain.wait()
                    async with self._turn:
                        if self._doubt is None:
                            return
        except TimeoutError:
            raise StoreUnavailable(AWAY) from None

    def note_outcomes(self) -> None:
        """Record that outcomes have come: a tick takes them in at once; under load, soon."""
        if not self._under_load:
            self.wake.set()
        elif self._settling is None:
            loop = asyncio.get_running_loop()
            self._settling = loop.call_later(SETTLE_SECONDS, self.wake.set)

    async def tick(self) -> None:
        """Take in everything that has gathered, in one transaction, and answer the callers."""
        await self._make_ready()
        taken = self.recovery.take()
        work = self._plan(taken)
        if not (taken.empty or taken.alone):
            self._under_load = len(work.submissions) + len(work.outcomes) >= LOAD
        began_at = self.monotonic()
        renew = self._cadence.must_renew(began_at)
        if taken.empty and not (
            work.requests or work.promote or work.expire or renew or work.stats or work.firings
        ):
            self._had_nothing_to_do(work)
            return
        work.renew, work.fold = self._cadence.renews(began_at), self._cadence.folds(began_at)
        work.prove = self.access.error is not None
        self.intake.in_flight = taken.bytes
        try:
            done = await self.access.write(lambda: run_tick(self.store, work))
        except asyncio.CancelledError:
            taken.fail(StoreUnavailable("the tracker is stopping"))
            raise
        except Exception as error:
            self.intake.in_flight = 0
            self.claims.abandon(work, in_doubt=getattr(error, "in_doubt", False))
            if work.stats is not None:
                self.ledger.stats.not_written()
            await self.recovery.failed(taken, work, error)
        else:
            committed_at = self.monotonic()
            self.intake.in_flight = 0
            # A transaction that changes nothing but the epoch proves little: it needs no space.
            # One that only adds statistics proves enough if tasks could have been written, too.
            proven = taken.count or done.claimed or work.firings or (work.stats and work.prove)
            self._cadence.note(began_at, work, done)
            if self.access.error is not None:
                self.intake.hurry()
            await self._apply(taken, work, done)
            self.journal.note_tick(self.monotonic() - began_at, work)
            if taken.count or done.claimed:  # others come even to an idle tracker
                observe = self.ledger.stats.histograms.observe
                observe(SERVICE, COMMIT, committed_at - began_at)
                observe(SERVICE, TICK, self.monotonic() - began_at)
            if self.recovery.succeeded(taken, work, done):
                self.access.recovered(proven=bool(proven))
            else:
                self.access.note_commit()
            self.intake.note_stored(taken)
            self.intake.invite()

    async def _make_ready(self) -> None:
        """Wait no longer for more outcomes, and make sure that memory is as the disk."""
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None
        if self._doubt is not None:
            doubt, self._doubt = self._doubt, None
            await self.recovery.settle_doubt(doubt)
            if self._doubt is None:
                self._certain.set()
        await self.ledger.claims.read_put_off(self.access, self.store)

    def _had_nothing_to_do(self, work: TickInput) -> None:
        self.recovery.had_nothing_to_do()
        self.claims.abandon(work, in_doubt=False)
        if work.plan is not None and work.plan.more:
            self.wake.set()

    def _plan(self, taken: Inbox) -> TickInput:
        now, next_due = self.clock(), self.ledger.next_due
        self.asked = False
        takes_part = self.recovery.takes_part
        more = not taken.alone
        arrived = self.claims.arrived(taken.submissions, now)
        fires = more and takes_part(SCHEDULES)
        work = TickInput(
            now=now,
            epoch=self.epoch,
            max_crashes=self.max_crashes,
            submissions=self.ledger.deleted.without(arrived),
            # A runner may have sent an earlier checkpoint again, after a later one.
            reports=sorted((report for _, report in taken.reports), key=lambda item: item.number),
            logs=[log for _, log in taken.logs],
            outcomes=self.ledger.current(taken.outcomes),
            late=list(taken.late),
            cancels=taken.targets("cancel"),
            retries=taken.targets("retry"),
            changes=taken.targets("change"),
            deletes=taken.targets("delete"),
            prunings=[(item.task_ids, item.before) for item in taken.prunings],
            promote=more and next_due is not None and next_due <= now and takes_part(DUE_TASKS),
            expire=self._is_expiry_due(now) and more and takes_part(EXPIRED_TASKS),
            skip_known=taken.alone,
            ordered_types=self.claims.limits.ordered_types,
            memory_types=self.claims.memory_types,
            renewals=self.claims.moves.renewals,
            stats=self.ledger.stats.to_write(now) if more and takes_part(STATISTICS) else None,
            firings=self.schedules.due(now) if fires else (),
            monotonic=self.monotonic,
            outbox=[item.entry.stamped(now) for item in taken.handings],
            careful=self.recovery.is_careful(taken),
        )
        work.ahead = self._order.ahead(now, len(work.fresh))
        if self.claiming and more:
            self.claims.plan(work, self.recovery.takes_claims)
        return work

    async def _apply(self, taken: Inbox, work: TickInput, done: TickResult) -> None:
        self.journal.record(taken, work, done)
        self.ledger.record(taken, work, done)
        if done.fired:
            self.schedules.apply(done.fired, work.now)
        # Tasks that became due by it are not claimed yet.
        if taken.alone or taken.actions or taken.prunings or done.fired:
            self.wake.set()
        for running in self.ledger.hand_out(done.claimed):
            self.losses.release(running)
        self.ledger.notify(work, done)
        if done.cut:
            self.wake.set()
        self._look_for_news()
        try:
            self.ledger.check()
        except AssertionError as error:  # our own fault; the disk is right
            log.error("memory and database differ after a tick; reading it again", exc_info=error)
            await self._load()

    def _is_expiry_due(self, now: float) -> bool:
        return self.ledger.next_expiry is not None and self.ledger.next_expiry <= now

    def _look_for_news(self) -> None:
        """Have another tick if a runner has asked meanwhile, or work came that it may have."""
        if (self.asked or self.ledger.lanes.has_news) and self.ledger.has_work_for_callers():
            self.wake.set()

    async def _wait_for_work(self) -> None:
        if self.background.any or self.recovery.busy or not (self.inbox.empty or self._settling):
            return
        seconds = self.lease_seconds / 4  # at least so often: leases end, the epoch is renewed
        due = math.inf
        is_barred = self.recovery.aside.is_barred
        if self.ledger.next_due is not None and not is_barred(DUE_TASKS):
            due = self.ledger.next_due
        if self.ledger.next_expiry is not None and not is_barred(EXPIRED_TASKS):
            due = min(due, self.ledger.next_expiry)
        if not is_barred(STATISTICS):
            due = min(due, self.ledger.stats.write_due)
        if not is_barred(SCHEDULES):
            due = min(due, self.schedules.next_time)
        due = min(due, self.ledger.lanes.pauses_end_at)
        tried_again = min(
            self.recovery.seconds_until_due(),
            self.background.seconds_until_due(),
            self.ledger.claims.limits.next_time - self.monotonic(),
        )
        seconds = max(0.0, min(seconds, due - self.clock(), tried_again))
        # Not `wait_for`: in Python 3.11 it can swallow the cancellation that ends the tracker.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.wake.wait()

    async def _load(self) -> None:
        running = await self.access.insist(self.store.running)
        counts = await self.access.insist(self.store.counts)
        totals = await self.access.insist(self.store.totals)
        next_due = await self.access.insist(self.store.next_due)
        next_expiry = await self.access.insist(self.store.next_expiry)
        self.steering, schedules = await self.access.insist(self.store.settings)
        lanes, places = await self.access.insist(self.store.lanes_and_places)
        self.claims.moves.load(places)
        self.schedules.load(schedules)
        self.ledger.load(running, counts, next_due, totals, lanes, next_expiry=next_expiry)
        self.claims.wants_put_off = True
        for claimed in self.ledger.fleet.remove_gone():
            self.losses.release(claimed)
        if await self.access.insist(self.store.open_bulks):
            self.bulk.look()
        if self.loaded.is_set():
            # Changes committed before this and not published yet will never be published.
            self.ledger.feed.break_off()
        self.wake.set()

    async def reload(self) -> None:
        """Read everything again, as the last commit is in doubt."""
        await self._load()

    def renew_soon(self) -> None:
        """Renew the epoch with the next tick, which comes at once."""
        self._cadence.hurry()
        self.wake.set()

    def dismiss(self) -> None:
        """Answer runners and followers that wait: another tracker has taken over."""
        self.ledger.feed.break_off()
        for runner in self.ledger.fleet:
            runner.unconfirm()

    async def renew(self) -> None:
        """Make the cheapest possible write. Raises `StoreUnavailable`, `Superseded`."""
        began_at = self.monotonic()
        await self.access.renew(self.epoch, self.clock())
        self._cadence.renewed(began_at)

    def _end_leases(self) -> None:
        now = self.monotonic()
        if now - self.looked_at > self.lease_seconds / 2:
            # This process was frozen: no heartbeat could arrive meanwhile.
            for runner in self.ledger.fleet:
                runner.seen_at = now
        self.looked_at = now
        for runner in self.ledger.fleet.expired(now, self.lease_seconds):
            self.silence.record(runner)
