"""The write transaction: one method for each verb, each fenced by the expected rows."""

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace
from sqlalchemy import Connection, Executable, Row, Update

from raytasks.model.bulk_operations import TaskHead
from raytasks.model.changes import TaskChanges
from raytasks.model.lane_names import lane_of
from raytasks.model.states import TRANSITIONS, Event, State
from raytasks.model.tasks import NewTask, Task
from raytasks.protocol.messages import AttemptLog, Outcome, Report
from raytasks.store import (
    batch_statements,
    candidates,
    count_steps,
    lane_statements,
    large_checkpoints,
    pruning,
    rewriting,
    statements,
    task_changes,
    unique_rows,
)
from raytasks.store.candidates import Candidate
from raytasks.store.compiled import RowStatement
from raytasks.store.count_changes import CountChanges, Counted, Total
from raytasks.store.cursors import Direct, Fence
from raytasks.store.finals import Finals, insert_callbacks
from raytasks.store.fresh_tasks import FreshTasks
from raytasks.store.idempotency import TakenKeys, find_taken
from raytasks.store.lane_rows import LaneAsk, ReadyChange
from raytasks.store.place_rows import NewPlaces
from raytasks.store.ready_changes import InLane, ReadyChanges
from raytasks.store.report_rows import log_rows, report_rows
from raytasks.store.settlement import Settlement, late_rows
from raytasks.store.trimming import trim

BETWEEN_SECONDS = 1e-6
"""Seconds of rank between two tasks that are taken in together, so that they keep their order."""

PROMOTE_LIMIT = 5000
"""Maximum number of tasks that one transaction makes ready because they are due."""


class Superseded(Exception):
    """Another tracker has taken over this database.

    Nothing was written, and this tracker may write nothing more.
    """


class FenceBroken(Exception):
    """Rows differ from the tracker's memory."""


def _fence(rows: int) -> Fence:
    return Fence(rows, lambda found: FenceBroken(f"{found} of {rows} rows were as expected"))


def task_from(row: Row[Any]) -> Task:
    """Return the `Task` of a row of `statements.TASK_COLUMNS`."""
    task_id, task_type, state, *rest = tuple(row)
    return Task(task_id, task_type, State(state), *rest)


class Transaction:
    """The verbs of one write transaction. Call `finish` last.

    The whole transaction has the time `now`. The rank of a task is its due time minus
    `step` seconds for each priority. It is moved by `ahead`, the seconds by which the
    order of tasks is ahead of the clock.
    """

    def __init__(
        self, connection: Connection, direct: Direct, places: NewPlaces, *, now: float, step: float
    ) -> None:
        self._alchemy = connection
        self._direct = direct
        self._is_postgres = connection.dialect.name == "postgresql"
        self._now = now
        self._priority_step = step
        self.ahead = 0.0
        self._changes = CountChanges()
        self._ready = ReadyChanges()
        self.fresh = FreshTasks(direct, self._changes, self._ready, now)
        self.finals = Finals()
        self._places = places

    @property
    def connection(self) -> Connection:
        """The connection, for other writes of this transaction than tasks."""
        return self._connection

    @property
    def _connection(self) -> Connection:
        self._direct.flush()
        return self._alchemy

    def renew(self, epoch: int, *, only_lock: bool = False, briefly: bool = False) -> None:
        """Check that `epoch` is still the tracker's, lock it, and renew it unless `only_lock`.

        After that it waits only `briefly` for locks of others, if so asked. Raises `Superseded`.
        """

        fence = Fence(1, lambda _found: Superseded(f"epoch {epoch} has ended"))
        if only_lock:
            query = statements.epoch_query(postgres=self._is_postgres)
            self._direct.lock("tracker_epoch", query, {"p_epoch": epoch}, fence)
        else:
            self._direct.write(batch_statements.RENEW, [(epoch, self._now)], fence)
        if briefly:
            self._direct.wait_briefly()

    def submit(self, new: Sequence[NewTask]) -> None:
        """Insert stamped tasks as PENDING."""
        if new:
            self.fresh.store()
            self.hold_back(new)
            self.fresh.store()

    def hold_back(self, new: Sequence[NewTask]) -> None:
        """Take stamped tasks in, to be stored by the claim, or before anything else is ready."""
        self.fresh.hold_back(
            (task, self._rank(task.due_at, task.priority) + place * BETWEEN_SECONDS)
            for place, task in enumerate(new)
        )

    def taken_keys(self, new: Sequence[NewTask]) -> TakenKeys:
        """Return those of the idempotency keys of submissions that were answered before."""
        return find_taken(self._direct.read, new, postgres=self._is_postgres)

    def candidates(self, asks: Sequence[LaneAsk]) -> list[Candidate]:
        """Return the first ready tasks of some lanes. See `candidates.read_candidates`.

        If nothing else has become ready, they are among the tasks that are held back.
        """
        if self.fresh.are_all:
            return self.fresh.candidates(asks)
        self.fresh.store()
        return candidates.read_candidates(self._direct, asks, postgres=self._is_postgres)

    def filled(self, chosen: list[tuple[Candidate, str]]) -> list[tuple[Candidate, str]]:
        """Return candidates with all payloads and checkpoints, also the long ones."""
        if all(row.is_filled for row, _ in chosen):
            return chosen
        return candidates.filled(self._connection, chosen)

    def due_at(self, row: Candidate) -> float:
        """Return the time since which a candidate has been due."""
        due: float = row.rank + row.priority * self._priority_step
        return due

    def claim(self, chosen: Sequence[tuple[Candidate, str]], *, later: Container[str] = ()) -> None:
        """Claim candidates, each for the runner whose id is beside it: they become RUNNING.

        Attempts of the runners in `later` begin only when these report it. Raises `FenceBroken` if
        one of the tasks no longer waits.
        """
        now = self._now
        rows = [
            (row.task_id, row.attempt, runner_id, now, None if runner_id in later else now)
            for row, runner_id in chosen
        ]
        if self.fresh:
            self.fresh.store({row[0]: row[2:] for row in rows})
        else:
            self._fenced(batch_statements.CLAIM, rows)
        claimed = Counter((row.namespace, row.task_type, row.state) for row, _ in chosen)
        for (namespace, task_type, state), number in claimed.items():
            self._changes.count(namespace, task_type, State(state), Event.CLAIM, number)
        for row, _ in chosen:
            self._ready.remove(row, row.rank)
        if keyed := [row for row, _ in chosen if row.unique_spec is not None]:
            unique_rows.begin(self._connection, keyed)

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """End attempts: write their history, and change their tasks' state.

        Raises `FenceBroken` if one of them is not the running attempt of its task.
        """
        if not settlements:
            return
        if done := [item.attempt.task_id for item in settlements if item.drops_checkpoint]:
            large_checkpoints.give_up_all(self._connection, done, self._now)
        rows = []
        for item in settlements:
            ready = item.is_ready(self._now)
            rank = self._rank(item.run_at, item.priority) if item.moves else None
            rows.append(item.row(self._now, rank, ready=ready))
            if ready:
                self._ready.add(item, item.rank if rank is None else rank)
        self._fenced(batch_statements.SETTLE, rows)
        history = self._places.rows([item.attempt for item in settlements], self, self._now)
        self._direct.write(batch_statements.RECORD, history)
        self._give_keys_free(item.attempt.task_id for item in settlements if item.ends_keyed)
        trim(self._many, settlements)
        self._changes.settle(settlements)
        self.finals.note(item.attempt.task_id for item in settlements if item.calls_back)

    def note_late(self, outcomes: Sequence[tuple[str, Outcome]]) -> None:
        """Record in the history late outcomes, by runner id, of attempts that count as lost.

        Nothing else changes. A late outcome of any other attempt is dropped.
        """
        noted: list[str] = []
        for bound in late_rows(outcomes, self._now):
            noted += [bound["p_task_id"]] * self._many(statements.NOTE_LATE, [bound])
        known = self.tasks(sorted(set(noted)))
        self._changes.note_late(known[task_id] for task_id in noted)

    def prune(self, task_ids: Sequence[str], before: float) -> list[str]:
        """Delete the tasks that ended before `before`, and their attempts; return their ids.

        A task that was retried meanwhile stays. The files of deleted tasks are scheduled for
        removal.
        """
        insert_callbacks(self)
        connection = self._connection
        return pruning.prune(connection, self._direct, self._changes, task_ids, before, self._now)

    def change(
        self, task: Task, changes: TaskChanges, *, steps: int = 1, keeps_rank: bool = False
    ) -> None:
        """Change a waiting task read in this transaction; its revision grows by `steps`.

        With `keeps_rank`, a new due time leaves its rank. Raises `FenceBroken`.
        """
        changing = task_changes.Changing(self._now, self._rank, self._priority_step, self._ready)
        changed = changing.change(self._connection, task, changes, steps, keeps_rank=keeps_rank)
        self._check(changed, 1)

    def report(self, reports: Sequence[Report]) -> None:
        """Store progress and checkpoints. Those of attempts that have ended are dropped.

        The file of a large checkpoint that is replaced is scheduled for removal.
        """
        if any(report.checkpoint is not None for report in reports):
            large_checkpoints.give_up_replaced(self._connection, reports, self._now)
        self._many(statements.REPORT, report_rows(reports, self._now))

    def log(self, logs: Sequence[AttemptLog]) -> None:
        """Store log lines, each once. Those of attempts that have ended are dropped."""
        statement = statements.log(self._alchemy.dialect.name)
        self._many(statement, log_rows(logs))

    def cancel(self, rows: Sequence[Task | TaskHead], reason: str | None = None) -> None:
        """Cancel tasks read in this transaction: waiting ones end, running ones are marked.

        The reason is JSON text. A mark that is there already stays as it is.
        """
        waiting = [row for row in rows if row.state in TRANSITIONS[Event.CANCEL].sources]
        running = [row for row in rows if row.state is State.RUNNING and not row.cancel_requested]
        if waiting:
            bound = {"p_task_ids": [row.task_id for row in waiting]}
            self._ready.remove_rows(self._connection.execute(lane_statements.READY_ONES, bound))
        self._change(statements.CANCEL, waiting, p_reason=reason)
        self._give_keys_free(row.task_id for row in waiting if row.unique_spec is not None)
        self._change(statements.MARK_CANCELLED, running, p_reason=reason)
        for row in waiting:
            self._changes.move(row, row.state, Event.CANCEL)
        self.finals.note(row.task_id for row in waiting if row.callback_url is not None)

    def end(self, rows: Sequence[Row[Any]], event: Event, by: Update, **bound: Any) -> None:
        """End tasks with a statement of `expiry` or `refusing`, which has read them before.

        Raises `FenceBroken` if one of them has begun.
        """
        if not rows:
            return
        self._ready.remove_rows(row for row in rows if row.ready)
        for row in rows:
            self._changes.move(row, State(row.state), event)
        self._change(by, rows, **bound)
        self._give_keys_free(row.task_id for row in rows if row.unique_spec is not None)
        self.finals.note(row.task_id for row in rows if row.callback_url is not None)

    def rewrite(self, before: Task, new: NewTask) -> None:
        """Give a waiting task that has never begun what a stamped submission asks for.

        Raises `FenceBroken` if it has begun.
        """
        new = replace(new, task_id=before.task_id)
        ready, rank = new.due_at <= self._now, self._rank(new.due_at, new.priority)
        bound = {"p_task_ids": [before.task_id]}
        self._ready.remove_rows(self._connection.execute(lane_statements.READY_ONES, bound))
        changed = rewriting.rewrite(self._connection, before, new, rank, self._now, ready=ready)
        self._check(changed, 1)
        if ready:
            self._ready.add(new, rank)

    def retry(self, rows: Sequence[Task | TaskHead]) -> dict[str, str]:
        """Make FAILED or CANCELLED tasks read in this transaction PENDING, with a fresh budget.

        A task takes its unique key again. One whose key is held stays as it is: the result has the
        id of its holder, by the id of the task.
        """
        insert_callbacks(self)  # of those that have ended in this transaction, too
        final = [row for row in rows if row.state in TRANSITIONS[Event.RETRY].sources]
        keyed = [row for row in final if row.unique_spec is not None]
        refused = unique_rows.retake(self._connection, keyed, self._now)
        by_namespace: dict[str, list[Task | TaskHead]] = {}
        for row in (row for row in final if row.task_id not in refused):
            by_namespace.setdefault(row.namespace, []).append(row)
            self._changes.move(row, row.state, Event.RETRY)
        for namespace, of_it in by_namespace.items():
            bound = {
                "p_priority_step": self._priority_step,
                "p_ahead": self.ahead,
                "p_lane": lane_of(namespace, None),
                "p_task_ids": [row.task_id for row in of_it],
                "p_now": self._now,
            }
            changed = self._connection.execute(statements.RETRY, bound)
            self._check(self._ready.add_rows(changed), len(of_it))
        return refused

    def move_to_lanes(self, moves: Sequence[tuple[Row[Any], InLane]]) -> None:
        """Move waiting tasks read in this transaction, each to the lane and values beside it."""
        rows = [(row.task_id, row.attempt, to.lane, to.limit_values) for row, to in moves]
        self._fenced(batch_statements.RELANE, rows)
        for row, to in moves:
            if row.ready:
                self._ready.add(to, row.rank)
                self._ready.remove(row, row.rank)

    def tasks(self, task_ids: Sequence[str]) -> dict[str, Task]:
        """Return the tasks that exist, as they are now in this transaction."""
        if not task_ids:
            return {}
        rows = self._connection.execute(statements.BY_IDS, {"p_task_ids": list(task_ids)})
        return {row.task_id: task_from(row) for row in rows}

    def promote(self) -> int:
        """Make due tasks ready, at most `PROMOTE_LIMIT`, and return how many."""
        bound = {"p_now": self._now, "p_limit": PROMOTE_LIMIT}
        return self._ready.add_rows(self._connection.execute(statements.PROMOTE, bound))

    def finish(self) -> Mapping[Counted, int]:
        """Write the changes of counts and totals; return those of the counts."""
        self.finals.check_done()
        self.fresh.store()
        return count_steps.write(self._direct, self._changes)

    def fold_counts(self) -> None:
        """Fold the steps of counts and totals; see `count_steps`. It needs the epoch's lock."""
        count_steps.fold(self._connection, self._direct)

    @property
    def totals(self) -> Mapping[Total, int]:
        """The numbers that this transaction adds to the totals."""
        return self._changes.totals

    @property
    def ready_changes(self) -> list[ReadyChange]:
        """The tasks that became ready, or left, by lane. See `ReadyChanges.listed`."""
        return self._ready.listed()

    def _give_keys_free(self, ended: Iterable[str]) -> None:
        """Give the unique keys of tasks free that have become final."""
        if task_ids := list(ended):
            unique_rows.give_free(self._connection, task_ids)

    def _rank(self, due_at: float, priority: int) -> float:
        """Return the rank of a task that is due at a time."""
        return due_at + self.ahead - priority * self._priority_step

    def _many(self, statement: Executable, bound: list[dict[str, Any]]) -> int:
        if not bound:
            return 0
        return self._connection.execute(statement, bound).rowcount

    def _fenced(self, batch: RowStatement, rows: list[tuple[Any, ...]]) -> None:
        if rows:
            self._direct.write(batch, rows, _fence(len(rows)))

    def _check(self, changed: int, expected: int) -> None:
        _fence(expected).check(changed)

    def _change(self, statement: Update, rows: Sequence[Any], **bound: Any) -> None:
        """Change tasks that were read in this transaction, all or none."""
        if not rows:
            return
        bound |= {"p_task_ids": [row.task_id for row in rows], "p_now": self._now}
        self._check(self._connection.execute(statement, bound).rowcount, len(rows))
