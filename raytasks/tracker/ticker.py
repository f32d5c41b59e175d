"""The tracker's ticks: when one is due, what goes into it, and what follows from it."""

import asyncio
import contextlib
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence

from raytasks.models import (
    REMOTE_POOL,
    Claim,
    Outcome,
    Running,
    StoreUnavailable,
    TaskNotFound,
)
from raytasks.operations import BulkOperation, NewBulk
from raytasks.states import WAITING, OutcomeKind, State
from raytasks.store.store import Counts, Store
from raytasks.store.transaction import FenceBroken, Superseded
from raytasks.tracker.access import AWAY, StoreAccess
from raytasks.tracker.bulk import BulkTurns, StepResult, make, run_step
from raytasks.tracker.feed import FeedRing
from raytasks.tracker.fleet import Fleet
from raytasks.tracker.inbox import Action, Inbox, lost_outcome, released_outcome
from raytasks.tracker.stats import Stats
from raytasks.tracker.tick import TickInput, TickResult, run_tick

log = logging.getLogger(__name__)

PACE_SECONDS = 0.005
"""How far apart the beginnings of ticks are under load: what comes in meanwhile shares a commit,
and the messages after it. A tick that finds little to do is followed by the next at once."""

LOAD = 4
"""From how many new tasks and outcomes in a tick on that is so."""

_TURN_SECONDS = 10.0
_RESTORE_SECONDS = 1.0
_MEASURED = (OutcomeKind.SUCCEEDED, OutcomeKind.FAILED)


class Ticker:
    """What the tracker knows, and the loop that keeps it and the database in step.

    Everything here belongs to one event loop; only `run_tick` runs in the store's thread.
    """

    def __init__(
        self,
        store: Store,
        *,
        lease_seconds: float,
        max_crashes: int,
        clock: Callable[[], float],
        owner: str = "",
    ) -> None:
        self.store = store
        self.inbox = Inbox()
        self.access = StoreAccess(store, self.inbox.refuse)
        self.clock = clock
        self.lease_seconds = lease_seconds
        self.epoch = 0
        self.fleet = Fleet()
        self.feed = FeedRing(0)
        self.bulk = BulkTurns()
        self.stats = Stats()
        self.wake = asyncio.Event()
        self.counts: Counter[tuple[str, State]] = Counter()
        self.claiming = True
        self.paused_at: float | None = None
        self.loaded = asyncio.Event()
        self._turn = asyncio.Lock()
        self.on_expiry: Callable[[str], None] = lambda _: None
        self.asked = False  # whether a runner has asked for work since the last tick was planned
        self._owner = owner
        self._max_crashes = max_crashes
        self.looked_at = clock()
        self._renewed_at = 0.0
        self._next_due: float | None = None
        self._paced_until = 0.0

    async def start(self, *, again: bool = False) -> None:
        """Take over the database, and read what runs. See `StoreAccess.take_over`."""
        self.epoch = await self.access.take_over(
            self.clock, self._owner, again=again, lease_seconds=self.lease_seconds
        )
        self.feed = FeedRing(self.epoch)
        await self._load()
        self.loaded.set()

    async def is_loaded(self, seconds: float) -> bool:
        """Return whether the database was taken over, waiting up to `seconds` for it."""
        if not self.loaded.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self.loaded.wait()
        return self.loaded.is_set()

    async def run(self) -> None:
        """Do ticks for ever, each as soon as there is work. Raises `Superseded`."""
        while True:
            await self._wait_for_work()
            await self._keep_pace()
            self.wake.clear()
            self._end_leases()
            async with self._turn:
                await self.tick()
                if self.bulk.is_due(idle=self.inbox.empty):
                    await self._do_bulk_step()

    async def _keep_pace(self) -> None:
        ahead = self._paced_until - time.monotonic()
        if 0 < ahead <= PACE_SECONDS:
            await asyncio.sleep(ahead)

    async def close(self) -> None:
        """Answer those who wait with an error, and close the store."""
        while not self.inbox.empty:
            self.inbox.take().fail(StoreUnavailable("the tracker is stopping"))
        await self.access.close()

    async def set_paused(self, paused_at: float | None) -> None:
        """Hand out tasks no more since a time, or again. Raises `StoreUnavailable`.

        It waits for the tick that is on its way, which may be handing out something.
        """
        if not await self.is_loaded(_TURN_SECONDS):
            raise StoreUnavailable(AWAY)
        await self.turn_over()
        epoch = self.epoch
        await self.access.write(lambda: self.store.set_paused(epoch, paused_at))
        self.paused_at = paused_at
        await self.turn_over()
        self.wake.set()

    async def make_bulk(self, new: NewBulk) -> tuple[BulkOperation, bool]:
        """Store a new bulk operation, and begin with it. See `raytasks.tracker.bulk.make`."""
        if not await self.is_loaded(_TURN_SECONDS):
            raise StoreUnavailable(AWAY)
        epoch = self.epoch
        try:
            return await self.access.write(lambda: make(self.store, epoch, self.clock(), new))
        except Superseded:
            raise StoreUnavailable("another tracker has taken over") from None
        finally:  # without an answer of the database it may be there all the same
            self.bulk.look()
            self.wake.set()

    async def restore_stats(self) -> None:
        """Read the statistics that earlier trackers have written, as soon as that is possible."""
        first = self.stats.first_minute(self.clock())
        while True:
            try:
                rows = await self.access.read(lambda: self.store.stats_since(first))
            except StoreUnavailable:
                await asyncio.sleep(_RESTORE_SECONDS)
            else:
                self.stats.restore(rows, self.clock())
                if self.stats.write_due < math.inf:  # something happened meanwhile
                    self.wake.set()
                return

    async def turn_over(self) -> None:
        """Wait for the end of the tick that is on its way. Raises `StoreUnavailable`."""
        try:
            async with asyncio.timeout(_TURN_SECONDS), self._turn:
                return
        except TimeoutError:
            raise StoreUnavailable(AWAY) from None

    def lose(self, runner_id: str, reason: str, *, out_of_memory: bool = False) -> None:
        """Note that a runner is dead: what it held is lost.

        If that was one attempt, it is charged. Of several nobody knows which one did it, so that
        each of them runs again alone; it may as well have been none of them when the task runner
        died, or a process that Ray chose for want of memory. Who is lost so again is charged, lest
        it go on for ever. What never went out is given back.
        """
        runner = self.fleet.remove(runner_id)
        if runner is None:
            return
        unsent = runner.unsent()
        begun = [
            item for item in runner.held.values() if (item.task_id, item.attempt) not in unsent
        ]
        # A runner that has not said itself what it is may be a task runner.
        is_warm = runner.confirmed and runner.pool != REMOTE_POOL
        known = len(begun) == 1 and is_warm and not out_of_memory
        for running in begun:
            lost = lost_outcome(
                running,
                reason,
                self.clock(),
                charged=known or running.alone,
                out_of_memory=out_of_memory,
            )
            self.inbox.outcomes.append((running, lost))
        for running in runner.held.values():
            if (running.task_id, running.attempt) in unsent:
                self.release(running)
        runner.answer()
        self.wake.set()

    def release(self, running: Running) -> None:
        """Note that an attempt is given back by its runner, or never reached it: it waits again."""
        self.inbox.outcomes.append((running, released_outcome(running, self.clock())))
        self.wake.set()

    def waiting(self, task_type: str) -> int:
        """Return how many tasks of a type wait, those that are not due yet included."""
        return sum(self.counts[task_type, state] for state in WAITING)

    async def tick(self) -> None:
        """Take in everything that has gathered, in one transaction, and answer everybody."""
        taken = self.inbox.take()
        work = self._plan(taken)
        if len(work.submissions) + len(work.outcomes) >= LOAD:
            self._paced_until = time.monotonic() + PACE_SECONDS
        renew = not 0 <= work.now - self._renewed_at <= self.lease_seconds / 3
        if taken.empty and not (work.wants or work.promote or renew or work.stats):
            return
        try:
            done = await self.access.write(lambda: run_tick(self.store, work))
        except Exception as error:
            if await self._is_dealt_with(error, taken):
                return
            if taken.empty:
                log.exception("tasks cannot be claimed; trying again")
                await self.access.pause()
            self.inbox.isolate(taken, error)
            self.wake.set()
        else:
            self.access.recovered()
            self._renewed_at = work.now
            self._apply(taken, work, done)

    def _plan(self, taken: Inbox) -> TickInput:
        now = self.clock()
        self.asked = False
        work = TickInput(
            now=now,
            epoch=self.epoch,
            max_crashes=self._max_crashes,
            submissions=[task for item in taken.submissions for task in item.tasks],
            reports=[report for _, report in taken.reports],
            logs=[log for _, log in taken.logs],
            outcomes=self._current(taken.outcomes),
            late=taken.late,
            cancels=[item.target for item in taken.actions if item.verb == "cancel"],
            retries=[item.target for item in taken.actions if item.verb == "retry"],
            prunings=[(item.task_ids, item.before) for item in taken.prunings],
            promote=self._next_due is not None and self._next_due <= now and not taken.alone,
            skip_known=taken.alone,
            stats=None if taken.alone else self.stats.to_write(now),
        )
        if self.claiming and self.paused_at is None and not taken.alone:
            self._add_wants(work)
        return work

    def _current(
        self, outcomes: Sequence[tuple[Running, Outcome]]
    ) -> list[tuple[Running, Outcome]]:
        """Keep the outcomes of attempts that still run, each once."""
        current: dict[str, tuple[Running, Outcome]] = {}
        for running, outcome in outcomes:
            known = self.fleet.find(running.runner_id, running.task_id, running.attempt)
            if known is not None:
                current.setdefault(running.task_id, (known, outcome))
        return list(current.values())

    def _add_wants(self, work: TickInput) -> None:
        due = Counter(task.task_type for task in work.submissions)
        due.update(
            running.task_type
            for running, outcome in work.outcomes
            if outcome.kind is not OutcomeKind.SUCCEEDED  # any other may be due again at once
        )
        for (task_type, state), count in self.counts.items():
            if state in WAITING:
                due[task_type] += count
        due = +due
        averages = self.fleet.averages
        ending = {running.task_id for running, _ in work.outcomes}
        wants = [want for runner in self.fleet if (want := runner.want(averages, ending))]
        for want in wants:
            want.limits = {
                name: min(most, due[name]) for name, most in want.limits.items() if due[name]
            }
        work.wants = [want for want in wants if want.limits]
        work.durations = {name: averages.get(name) for want in work.wants for name in want.limits}

    async def _do_bulk_step(self) -> None:
        """Go on with a bulk operation: one step, in a transaction of its own."""
        epoch, now, last = self.epoch, self.clock(), self.bulk.last
        try:
            done = await self.access.write(lambda: run_step(self.store, epoch, now, last))
        except Exception as error:
            if not await self._is_dealt_with(error, Inbox()):
                log.exception("a bulk operation cannot go on; trying again")
                self.bulk.failed()
        else:
            self.access.recovered()
            self.bulk.done(done)
            if done is not None:
                self._apply_step(done)

    def _apply_step(self, done: StepResult) -> None:
        self._count(done.counts)
        for task_id in done.marked:
            self.fleet.mark_cancelled(task_id)
        self.feed.publish(done.changes)
        self._answer_urgently()
        self.wake.set()  # what became due by it was not looked for yet

    def _count(self, changes: Counts) -> None:
        for (_, task_type, state), change in changes.items():
            self.counts[task_type, state] += change

    def _answer_urgently(self) -> None:
        for runner in self.fleet:
            if runner.has_urgent_orders:
                runner.answer()

    def _apply(self, taken: Inbox, work: TickInput, done: TickResult) -> None:
        self._count(done.counts)
        self._note_due(work, done)
        self._note_stats(work, done)
        for running, outcome in work.outcomes:
            self.fleet.end(running)
            if outcome.kind in _MEASURED:
                seconds = outcome.finished_at - outcome.started_at
                self.fleet.averages.add(running.task_type, seconds)
        self._acknowledge(taken)
        taken.succeed(done.duplicates)
        for action in taken.actions:
            self._answer_action(action, done)
        if (
            taken.alone or taken.actions or taken.prunings
        ):  # what became due by it was not looked for yet
            self.wake.set()
        self._hand_out(done)
        self.feed.publish(done.changes)
        if work.reports or work.logs:
            reported = [report.task_id for report in work.reports]
            self.feed.tell([*reported, *(log.task_id for log in work.logs)])
        self._answer_urgently()
        if self.asked:  # while this tick was on its way, which may just have brought work
            self.wake.set()

    def _note_due(self, work: TickInput, done: TickResult) -> None:
        known = done.next_due if work.promote else self._next_due
        later = [task.run_at for task in work.submissions if task.run_at > work.now]
        later += [item.run_at for item in done.settled if item.run_at > work.now]
        if known is not None:
            later.append(known)
        self._next_due = min(later, default=None)

    def _note_stats(self, work: TickInput, done: TickResult) -> None:
        if work.stats is not None:
            self.stats.written()
        ended = (
            (running, outcome, item.state)
            for (running, outcome), item in zip(work.outcomes, done.settled, strict=True)
        )
        self.stats.note(ended, done.waits, work.now)

    def _acknowledge(self, taken: Inbox) -> None:
        for running, _ in taken.outcomes:
            runner = self.fleet.runners.get(running.runner_id)
            if runner is not None:
                runner.acknowledged.append((running.task_id, running.attempt))
        for runner_id, report in taken.reports:
            runner = self.fleet.runners.get(runner_id)
            if runner is not None and report.checkpoint is not None:
                runner.acknowledged_reports.append(report.number)
        for runner_id, log in taken.logs:
            runner = self.fleet.runners.get(runner_id)
            if runner is not None:
                runner.acknowledged_logs.append(log.number)

    def _answer_action(self, action: Action, done: TickResult) -> None:
        task_id, answer = action.task_id, action.answer
        before = done.before.get(task_id)
        if before is not None and done.after[task_id].cancel_requested:
            self.fleet.mark_cancelled(task_id)
        if answer.done():
            return
        if before is None or action.namespace not in (None, before.namespace):
            answer.set_exception(TaskNotFound(f"there is no task {task_id}"))
        else:
            answer.set_result((before, done.after[task_id]))

    def _hand_out(self, done: TickResult) -> None:
        given: dict[str, list[Claim]] = {}
        for running, claim in done.claimed:
            if running.runner_id in self.fleet.runners:
                self.fleet.begin(running, self.clock())
                given.setdefault(running.runner_id, []).append(claim)
            else:  # it died while the tick was on its way
                self.fleet.running[running.task_id] = running
                self.release(running)
        for runner_id, claims in given.items():
            runner = self.fleet.runners[runner_id]
            runner.give(claims, queued=any(map(self.waiting, runner.limits)))

    async def _wait_for_work(self) -> None:
        if not self.inbox.empty or self.bulk.any:
            return
        seconds = self.lease_seconds / 4  # at least so often: leases end, the epoch is renewed
        due = min(math.inf if self._next_due is None else self._next_due, self.stats.write_due)
        seconds = min(seconds, max(0.0, due - self.clock()))
        # Not `wait_for`: in Python 3.11 it can swallow the cancellation that ends the tracker.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.wake.wait()

    async def _load(self) -> None:
        running = await self.access.insist(self.store.running)
        counts = await self.access.insist(self.store.counts)
        self.counts = Counter()
        self._count(counts)
        self._next_due = await self.access.insist(self.store.next_due)
        self.paused_at = await self.access.insist(self.store.paused_at)
        self.fleet.restart(running, self.clock())
        if await self.access.insist(self.store.open_bulks):
            self.bulk.look()
        if self.loaded.is_set():
            # What was committed before this and not told yet is told to nobody any more.
            self.feed.break_off()
        self.wake.set()

    async def _is_dealt_with(self, error: Exception, taken: Inbox) -> bool:
        """Deal with a write that failed, if it is known what that means. Raises `Superseded`."""
        match error:
            case StoreUnavailable():
                await self._sit_out(taken, error)
            case Superseded():
                taken.fail(StoreUnavailable("another tracker has taken over"))
                raise error
            case FenceBroken():
                log.error("memory and database differ; reading them again", exc_info=error)
                self.inbox.put_back(taken)
                await self.access.pause()
                await self._load()
            case _:
                return False
        return True

    async def _sit_out(self, taken: Inbox, error: StoreUnavailable) -> None:
        """The database is away: keep what runners said, refuse the rest, try again soon.

        Whether the tick's transaction was committed is not known, so that afterwards everything
        is read again.
        """
        self.inbox.put_back(taken)
        await self.access.sit_out(error)
        await self._load()

    def _end_leases(self) -> None:
        now = self.clock()
        if not 0 <= now - self.looked_at <= self.lease_seconds / 2:
            # This process did not run, or the clock was set: no runner could be heard meanwhile.
            for runner in self.fleet:
                runner.seen_at = now
        self.looked_at = now
        for runner in self.fleet.expired(now, self.lease_seconds):
            log.warning("runner %s was not heard of; its lease has ended", runner.runner_id)
            self.lose(runner.runner_id, "its runner was not heard of until its lease ended")
            self.on_expiry(runner.name)
