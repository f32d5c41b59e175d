"""The tracker's ticks: when one is due, what goes into it, and what follows from it."""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TypeVar

from raytasks.models import Claim, Outcome, Running, StoreUnavailable, TaskNotFound
from raytasks.states import WAITING, OutcomeKind, State
from raytasks.store.store import Store
from raytasks.store.transaction import FenceBroken, Superseded
from raytasks.tracker.feed import FeedRing, Waiters
from raytasks.tracker.fleet import Fleet
from raytasks.tracker.inbox import Inbox, lost_outcome, released_outcome
from raytasks.tracker.tick import TickInput, TickResult, run_tick

log = logging.getLogger(__name__)

Result = TypeVar("Result")

_MEASURED = (OutcomeKind.SUCCEEDED, OutcomeKind.FAILED)
_OUTAGE_DELAYS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)


class Ticker:
    """What the tracker knows, and the loop that keeps it and the database in step.

    Everything here belongs to one event loop; only `run_tick` runs in the store's thread.
    """

    def __init__(
        self, store: Store, *, lease_seconds: float, max_crashes: int, clock: Callable[[], float]
    ) -> None:
        self.store = store
        self.clock = clock
        self.lease_seconds = lease_seconds
        self.epoch = 0
        self.fleet = Fleet()
        self.feed = FeedRing(0)
        self.finals: Waiters[State] = Waiters()
        self.inbox = Inbox()
        self.wake = asyncio.Event()
        self.counts: Counter[tuple[str, State]] = Counter()
        self.database_error: str | None = None
        self.claiming = True
        self.asked = False  # whether a runner has asked for work since the last tick was planned
        self._max_crashes = max_crashes
        self._next_due: float | None = None
        self._outages = 0
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="store-writer")
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="store-reader")

    async def start(self) -> None:
        """Take over the database: migrate it, end earlier epochs, read what runs.

        Waits for a database that is away, for as long as it takes.
        """
        await self._insist(self.store.upgrade)
        self.epoch = await self._insist(lambda: self.store.begin_epoch(self.clock()))
        self.feed = FeedRing(self.epoch)
        await self._load()

    async def run(self) -> None:
        """Do ticks for ever, each as soon as there is work. Raises `Superseded`."""
        while True:
            await self._wait_for_work()
            self.wake.clear()
            for runner in self.fleet.expired(self.clock(), self.lease_seconds):
                log.warning("runner %s was not heard of; its lease has ended", runner.runner_id)
                self.lose(runner.runner_id, "its runner was not heard of until its lease ended")
            await self.tick()

    async def close(self) -> None:
        """Answer those who wait with an error, and close the store."""
        while not self.inbox.empty:
            self.inbox.take().fail(StoreUnavailable("the tracker is stopping"))
        await self.read(lambda: None)
        for pool in (self._writer, self._readers):
            pool.shutdown(wait=True)
        self.store.close()

    async def read(self, call: Callable[[], Result]) -> Result:
        """Make a reading call to the store, in a thread of its own."""
        return await self._in(self._readers, call)

    def lose(self, runner_id: str, reason: str) -> None:
        """Note that a runner is dead: what it held is lost."""
        now = self.clock()
        for running in self.fleet.remove(runner_id):
            self.inbox.outcomes.append((running, lost_outcome(running, reason, now)))
        self.wake.set()

    def release(self, running: Running) -> None:
        """Note that an attempt never reached its runner: its task waits again."""
        self.inbox.outcomes.append((running, released_outcome(running, self.clock())))
        self.wake.set()

    def waiting(self, task_type: str) -> int:
        """Return how many tasks of a type wait, those that are not due yet included."""
        return sum(self.counts[task_type, state] for state in WAITING)

    async def tick(self) -> None:
        """Take in everything that has gathered, in one transaction, and answer everybody."""
        taken = self.inbox.take()
        work = self._plan(taken)
        if taken.empty and not work.wants and not work.promote:
            return
        try:
            done = await self._in(self._writer, lambda: run_tick(self.store, work))
        except StoreUnavailable as error:
            await self._sit_out(taken, error)
        except Superseded:
            taken.fail(StoreUnavailable("another tracker has taken over"))
            raise
        except FenceBroken:
            log.exception("memory and database differ; reading the database again")
            self.inbox.put_back(taken)
            await self._load()
        except Exception as error:
            self.inbox.isolate(taken, error)
            self.wake.set()
        else:
            self.database_error, self._outages = None, 0
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
            outcomes=self._current(taken.outcomes),
            cancels=[action.task_id for action in taken.actions if action.verb == "cancel"],
            retries=[action.task_id for action in taken.actions if action.verb == "retry"],
            promote=self._next_due is not None and self._next_due <= now,
            skip_known=taken.alone,
        )
        if self.claiming and not taken.alone:
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
        due.update(running.task_type for running, _ in work.outcomes)
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

    def _apply(self, taken: Inbox, work: TickInput, done: TickResult) -> None:
        self.counts.update(done.counts)
        self._note_due(work, done)
        for running, outcome in work.outcomes:
            self.fleet.end(running)
            if outcome.kind in _MEASURED:
                seconds = outcome.finished_at - outcome.started_at
                self.fleet.averages.add(running.task_type, seconds)
        self._acknowledge(taken)
        for submission in taken.submissions:
            if not submission.answer.done():
                submission.answer.set_result(None)
        for action in taken.actions:
            self._answer_action(action.task_id, action.answer, done)
        if taken.alone or taken.actions:  # what became due by it was not looked for yet
            self.wake.set()
        self._hand_out(done)
        self.feed.publish(done.changes)
        for task_id, _, state, _ in done.changes:
            if state.final:
                self.finals.answer(task_id, state)
        for runner in self.fleet:
            if runner.has_urgent_orders:
                runner.answer()
        if self.asked:  # while this tick was on its way, which may just have brought work
            self.wake.set()

    def _note_due(self, work: TickInput, done: TickResult) -> None:
        known = done.next_due if work.promote else self._next_due
        later = [task.run_at for task in work.submissions if task.run_at > work.now]
        later += [item.run_at for item in done.settled if item.run_at > work.now]
        if known is not None:
            later.append(known)
        self._next_due = min(later, default=None)

    def _acknowledge(self, taken: Inbox) -> None:
        for running, _ in taken.outcomes:
            runner = self.fleet.runners.get(running.runner_id)
            if runner is not None:
                runner.acknowledged.append((running.task_id, running.attempt))
        for runner_id, report in taken.reports:
            runner = self.fleet.runners.get(runner_id)
            if runner is not None and report.checkpoint is not None:
                runner.acknowledged_reports.append(report.number)

    def _answer_action(
        self, task_id: str, answer: "asyncio.Future[object]", done: TickResult
    ) -> None:
        before = done.before.get(task_id)
        if before is not None and done.after[task_id].cancel_requested:
            self.fleet.mark_cancelled(task_id)
        if answer.done():
            return
        if before is None:
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
            self.fleet.runners[runner_id].give(claims)

    async def _wait_for_work(self) -> None:
        if not self.inbox.empty:
            return
        seconds = self.lease_seconds / 4
        if self._next_due is not None:
            seconds = min(seconds, max(0.0, self._next_due - self.clock()))
        # Not `wait_for`: in Python 3.11 it can swallow the cancellation that ends the tracker.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.wake.wait()

    async def _load(self) -> None:
        running = await self._insist(self.store.running)
        self.counts = Counter(await self._insist(self.store.counts))
        self._next_due = await self._insist(self.store.next_due)
        self.fleet.restart(running, self.clock())
        self.wake.set()

    async def _sit_out(self, taken: Inbox, error: StoreUnavailable) -> None:
        """The database is away: keep what runners said, refuse the rest, try again soon.

        Whether the tick's transaction was committed is not known, so that afterwards everything
        is read again.
        """
        self.database_error = str(error)
        log.warning("the database is away: %s", error)
        taken.fail(StoreUnavailable("the database is away; try again soon"))
        self.inbox.put_back(Inbox(outcomes=taken.outcomes, reports=taken.reports))
        await self._pause()
        await self._load()

    async def _insist(self, call: Callable[[], Result]) -> Result:
        """Make a call to the store again and again until the database is there."""
        while True:
            try:
                result = await self._in(self._writer, call)
            except StoreUnavailable as error:
                self.database_error = str(error)
                waiting, self.inbox.submissions = self.inbox.submissions, []
                actions, self.inbox.actions = self.inbox.actions, []
                Inbox(waiting, actions).fail(
                    StoreUnavailable("the database is away; try again soon")
                )
                log.warning("the database is away: %s", error)
                await self._pause()
            else:
                self.database_error, self._outages = None, 0
                return result

    async def _pause(self) -> None:
        delay = _OUTAGE_DELAYS[min(self._outages, len(_OUTAGE_DELAYS) - 1)]
        self._outages += 1
        await asyncio.sleep(delay)

    async def _in(self, executor: Executor, call: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(executor, call)
