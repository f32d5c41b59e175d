"""The tracker's memory of what is on disk, updated with the result of each tick."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from raytasks.model.acts import canceller
from raytasks.model.states import WAITING, OutcomeKind, State
from raytasks.model.tasks import RaytasksError, Running, Task, TaskNotFound, UniqueConflict
from raytasks.protocol.messages import Claim, Outcome
from raytasks.store.count_changes import Counted, Total
from raytasks.store.lane_rows import LaneRow, PutOffRow
from raytasks.store.store import Counts
from raytasks.tracker.acting import Acted
from raytasks.tracker.awaited_commands import Action, answer_with
from raytasks.tracker.bulk_turns import StepResult
from raytasks.tracker.claim_book import ClaimBook
from raytasks.tracker.deleted_tasks import DeletedTasks
from raytasks.tracker.feed import FeedRing
from raytasks.tracker.fleet import Fleet
from raytasks.tracker.inbox import Inbox
from raytasks.tracker.logged_acts import log_acts
from raytasks.tracker.statistics import Stats
from raytasks.tracker.tick import TickInput, TickResult

_MEASURED = (OutcomeKind.SUCCEEDED, OutcomeKind.FAILED)


class Ledger:
    """The running attempts, the counts of tasks, totals, the next due time, and the event feed.

    `clock` returns seconds since the epoch, `monotonic` seconds since any time; a priority is worth
    `priority_step` seconds. All methods belong to the tracker's event loop.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        priority_step: float = 60.0,
    ) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self.fleet = Fleet()
        self.claims = ClaimBook(self.fleet, clock, monotonic, priority_step)
        self.lanes = self.claims.lanes
        self.feed = FeedRing(0)
        self.deleted = DeletedTasks(monotonic)
        self.stats = Stats(self._backlog_of)
        self.counts: Counter[tuple[str, State]] = Counter()
        self.tasks: Counter[Counted] = Counter()
        self.totals: Counter[Total] = Counter()
        self.next_due: float | None = None
        self.next_expiry: float | None = None  # at or before the next one
        self.backlog = 0  # how many tasks wait
        self.backlogs: Counter[str] = Counter()  # by namespace

    def load(
        self,
        running: Sequence[Running],
        counts: Counts,
        next_due: float | None,
        totals: Mapping[Total, int],
        lanes: Iterable[LaneRow] = (),
        put_off: Iterable[PutOffRow] = (),
        next_expiry: float | None = None,
    ) -> None:
        """Load the state that is on disk."""
        self.counts, self.tasks, self.totals = Counter(), Counter(), Counter()
        self.backlog, self.backlogs = 0, Counter()
        self._count(counts, totals)
        self.next_due, self.next_expiry = next_due, next_expiry
        self.fleet.restart(running, self._monotonic())
        self.claims.load(lanes, put_off)

    def waiting(self, task_type: str) -> int:
        """Return the number of waiting tasks of a type, including those that are not due yet."""
        return sum(self.counts[task_type, state] for state in WAITING)

    def waiting_types(self) -> dict[str, int]:
        """Return the number of waiting tasks by type, without types that have none."""
        counts: Counter[str] = Counter()
        for (task_type, state), count in self.counts.items():
            if state in WAITING and count:
                counts[task_type] += count
        return dict(counts)

    def waiting_in(self, namespace: str, task_type: str = "") -> int:
        """Return the number of waiting tasks of a namespace and type; an empty text means all."""
        return sum(
            count
            for (space, name, state), count in self.tasks.items()
            if state in WAITING and namespace in ("", space) and task_type in ("", name)
        )

    def _backlog_of(self, pair: tuple[str, str]) -> int:
        """Return the number of waiting tasks of a namespace and type, like `waiting`."""
        return sum(self.tasks[(*pair, state)] for state in WAITING)

    def has_work_for_callers(self) -> bool:
        """Return whether a runner that waits for an answer takes a type that has open work."""
        has_open = self.lanes.has_open
        return any(
            has_open(runner.capacity_by_type) for runner in self.fleet if runner.call is not None
        )

    def drop_over(self, group: Inbox) -> None:
        """Remove from a group the news of attempts that are over: nobody needs them."""
        find = self.fleet.find
        group.reports.keep(lambda item: find(item[0], item[1].task_id, item[1].attempt) is not None)
        group.logs.keep(lambda item: find(item[0], item[1].task_id, item[1].attempt) is not None)

    def current(self, outcomes: Iterable[tuple[Running, Outcome]]) -> list[tuple[Running, Outcome]]:
        """Return the outcomes of attempts that still run, one for each."""
        current: dict[str, tuple[Running, Outcome]] = {}
        for running, outcome in outcomes:
            known = self.fleet.find(running.runner_id, running.task_id, running.attempt)
            if known is not None:
                current.setdefault(running.task_id, (known, outcome))
        return list(current.values())

    def record(self, taken: Inbox, work: TickInput, done: TickResult) -> None:
        """Apply the result of a tick, and answer the callers that wait for it."""
        self._count(done.counts, done.totals)
        self._note_due(work, done)
        self.claims.apply(work, done)
        self.claims.limits.put_offs.promoted(self.next_due)
        self._note_begun(taken, work, done)
        self._note_stats(work, done)
        self._acknowledge(taken)  # while runners still hold what they reported
        for running, outcome in work.outcomes:
            self.fleet.end(running)
            if outcome.kind in _MEASURED:
                seconds = outcome.finished_at - outcome.started_at
                self.fleet.averages.add(running.task_type, seconds)
        taken.succeed(done.duplicates, done.pruning_seconds, done.locked)
        if taken.actions:
            gone = (item.task_id for item in done.acted.deleted if isinstance(item, Task))
            self.deleted.note(gone)
            self._answer_actions(taken.actions, done.acted)
        if done.acted.audit:
            log_acts(done.acted.audit)

    def note_step(self, done: StepResult) -> None:
        """Apply the result of a step of a bulk operation."""
        self._count(done.counts, done.totals)
        self.stats.count(done.counts, done.totals, self._clock())
        for task_id in done.marked:
            self.fleet.mark_cancelled(task_id, done.operation.by)
        self.deleted.note(done.deleted)
        self.claims.note_step(done.ready_changes, done.changes)
        self.feed.publish(done.changes)
        self._answer_urgently()

    def hand_out(self, claimed: Iterable[tuple[Running, Claim]]) -> list[Running]:
        """Hand claimed attempts to their runners; return those whose runner died meanwhile."""
        lost: list[Running] = []
        given: dict[str, list[Claim]] = {}
        for running, claim in claimed:
            if running.runner_id in self.fleet.runners:
                self.fleet.begin(running, self._monotonic())
                given.setdefault(running.runner_id, []).append(claim)
            else:
                self.fleet.running[running.task_id] = running
                lost.append(running)
        for runner_id, claims in given.items():
            runner = self.fleet.runners[runner_id]
            runner.deliver(claims, queued=self.lanes.has_open(runner.capacity_by_type))
        return lost

    def notify(self, work: TickInput, done: TickResult) -> None:
        """Publish the changes of a tick, and answer runners that have urgent orders."""
        self.feed.publish(done.changes)
        if work.reports or work.logs:
            reported = [report.task_id for report in work.reports]
            reported += [log.task_id for log in work.logs]
            self.feed.notify(reported)
            self.fleet.note_signs(reported, self._monotonic())
        self._answer_urgently()

    def check(self) -> None:
        """Compare the database's counts with the running attempts in memory.

        Raises `AssertionError` where they differ.
        """
        counted = sum(n for (_, state), n in self.counts.items() if state is State.RUNNING)
        running = self.fleet.running
        assert counted == len(running), f"{counted} attempts run on disk, {len(running)} in memory"
        negative = {key: count for key, count in self.counts.items() if count < 0}
        assert not negative, f"fewer than no tasks: {negative}"
        held = sum(len(runner.held) for runner in self.fleet)
        assert held <= len(running), f"runners hold {held} attempts, and {len(running)} run"
        assert self.claims.mismatch is None, self.claims.mismatch

    def _count(self, changes: Counts, totals: Mapping[Total, int]) -> None:
        for key, change in changes.items():
            namespace, task_type, state = key
            self.counts[task_type, state] += change
            self.tasks[key] += change
            if state in WAITING:
                self.backlog += change
                self.backlogs[namespace] += change
        for total, number in totals.items():
            self.totals[total] += number
        self.stats.histograms.admit((space, task_type) for space, task_type, _ in totals)

    def _answer_urgently(self) -> None:
        for runner in self.fleet:
            if runner.has_urgent_orders:
                runner.answer()

    def _note_due(self, work: TickInput, done: TickResult) -> None:
        known = done.next_due if work.promote else self.next_due
        fresh = work.submissions
        if done.handed or done.fired:
            fired = (task for item in done.fired for task in item.tasks)
            fresh = [*fresh, *done.handed, *fired]
        later = [task.due_at for task in fresh if task.due_at > work.now]
        later += [item.run_at for item in done.settled if item.run_at > work.now]
        later += done.acted.due
        if known is not None:
            later.append(known)
        self.next_due = min(later, default=None)
        ends = [task.expires_at for task in fresh if task.expires_at is not None]
        ends += done.acted.expiries
        known = done.next_expiry if work.expire else self.next_expiry
        if known is not None:
            ends.append(known)
        self.next_expiry = min(ends, default=None)

    def _note_begun(self, taken: Inbox, work: TickInput, done: TickResult) -> None:
        begun = [
            (running, report.began_at)
            for runner_id, report in taken.reports
            if report.began_at is not None
            and (running := self.fleet.note_begun(runner_id, report)) is not None
        ]
        reported = {running.task_id for running, _ in begun}
        begun += [
            (running, outcome.started_at)
            for running, outcome in work.outcomes
            if running.waits and outcome.begun and running.task_id not in reported
        ]
        done.waits += [
            (running, max(0.0, began_at - running.due_at))
            for running, began_at in begun
            if running.due_at is not None
        ]

    def _note_stats(self, work: TickInput, done: TickResult) -> None:
        if work.stats is not None:
            self.stats.written()
        ended = (
            (running, outcome, item.state)
            for (running, outcome), item in zip(work.outcomes, done.settled, strict=True)
        )
        self.stats.count(done.counts, done.totals, work.now)
        self.stats.record(ended, done.waits, work.now)

    def _acknowledge(self, taken: Inbox) -> None:
        for running, _ in taken.outcomes:
            key = (running.task_id, running.attempt)
            runner = self.fleet.runners.get(running.runner_id)
            # A runner that came back after its loss holds nothing; its own outcome counts as late.
            if runner is not None and runner.holds(*key):
                runner.acknowledged.append(key)
        for runner_id, outcome in taken.late:
            runner = self.fleet.runners.get(runner_id)
            if runner is not None:
                runner.acknowledged.append((outcome.task_id, outcome.attempt))
        for runner_id, report in taken.reports:
            if report.checkpoint_ref is not None:
                self.fleet.mark_large_checkpoint(report.task_id)
            runner = self.fleet.runners.get(runner_id)
            if runner is not None and report.is_acknowledged:
                runner.acknowledged_reports.append(report.number)
        for runner_id, log in taken.logs:
            runner = self.fleet.runners.get(runner_id)
            if runner is not None:
                runner.acknowledged_logs.append(log.number)

    def _answer_actions(self, actions: Iterable[Action], done: Acted) -> None:
        changed, deleted, conflicts = iter(done.changed), iter(done.deleted), iter(done.conflicts)
        for action in actions:
            match action.verb:
                case "change":
                    answer_with(action, next(changed))
                case "delete":
                    answer_with(action, next(deleted))
                case "retry":
                    self._answer_action(action, done, next(conflicts))
                case _:
                    self._answer_action(action, done)

    def _answer_action(
        self, action: Action, done: Acted, conflict: RaytasksError | None = None
    ) -> None:
        task_id, answer = action.task_id, action.answer
        before = done.before.get(task_id)
        if before is not None and done.after[task_id].cancel_requested:
            self.fleet.mark_cancelled(task_id, canceller(done.after[task_id].cancel_reason))
        if answer.done():
            return
        if before is None or action.namespace not in (None, before.namespace):
            answer.set_exception(TaskNotFound(f"there is no task {task_id}"))
        elif action.verb == "retry" and (holder := done.refused.get(task_id)) is not None:
            answer.set_exception(
                UniqueConflict(
                    f"the task's unique key is held by the task {holder}; "
                    "retry it when that has ended"
                )
            )
        else:
            answer_with(action, conflict or (before, done.after[task_id]))
