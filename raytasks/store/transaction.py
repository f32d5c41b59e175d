"""The write transaction: one method for each verb, each fenced by the expected rows."""

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

from msgspec.structs import astuple, replace
from pydantic_core import from_json
from sqlalchemy import Connection, Executable, Row, Update

from raytasks.model.bulk_operations import TaskHead
from raytasks.model.states import TRANSITIONS, Event, State
from raytasks.model.tasks import Duplicate, NewTask, Task
from raytasks.protocol.messages import AttemptLog, Outcome, Report
from raytasks.store import batch_statements, files, statements
from raytasks.store.batch_statements import Candidate
from raytasks.store.compiled import Batch
from raytasks.store.count_changes import CountChanges, Counted, Total
from raytasks.store.cursors import Direct
from raytasks.store.idempotency import find_duplicates
from raytasks.store.settlement import Settlement
from raytasks.store.tag_rows import tags_of

BETWEEN_SECONDS = 1e-6
"""Seconds of rank between two tasks that are taken in together, so that they keep their order."""

PROMOTE_LIMIT = 5000
"""Maximum number of tasks that one transaction makes ready because they are due."""

KEPT_SNOOZES = 20
"""Number of last attempts of which snoozed and released ones stay in a task's history. Earlier ones
are deleted, because a task may snooze without end."""

GIVEN_UP_SECONDS = 3600.0
"""Seconds that the file of a checkpoint stays after it was replaced, or its task has completed."""


class Superseded(Exception):
    """Another tracker has taken over this database.

    Nothing was written, and this tracker may write nothing more.
    """


class FenceBroken(Exception):
    """Rows differ from the tracker's memory."""


def task_from(row: Row[Any]) -> Task:
    """Return the `Task` of a row of `statements.TASK_COLUMNS`."""
    task_id, task_type, state, *rest = tuple(row)
    return Task(task_id, task_type, State(state), *rest)


class Transaction:
    """The verbs of one write transaction. Call `finish` last.

    The whole transaction has the time `now`. The rank of a task is its due time minus
    `priority_step` seconds for each priority. It is moved by `ahead`, the seconds by which the
    order of tasks is ahead of the clock.
    """

    def __init__(
        self, connection: Connection, direct: Direct, *, now: float, priority_step: float
    ) -> None:
        self._alchemy = connection
        self._direct = direct
        self._now = now
        self._priority_step = priority_step
        self.ahead = 0.0
        self._changes = CountChanges()

    @property
    def connection(self) -> Connection:
        """The connection, for other writes of this transaction than tasks."""
        return self._connection

    @property
    def _connection(self) -> Connection:
        self._direct.flush()
        return self._alchemy

    def renew(self, epoch: int) -> None:
        """Check that `epoch` is still the tracker's, and renew it. Raises `Superseded`."""

        def check(changed: int) -> None:
            if changed != 1:
                raise Superseded(f"epoch {epoch} has ended")

        self._direct.write(batch_statements.RENEW, [(epoch, self._now)], check)

    def submit(self, new: Sequence[NewTask]) -> None:
        """Insert stamped tasks as PENDING."""
        if not new:
            return
        now, step = self._now, self._priority_step
        self._direct.write(
            batch_statements.SUBMIT,
            [
                (
                    *batch_statements.submitted(task),
                    task.due_at + self.ahead + place * BETWEEN_SECONDS - task.priority * step,
                    int(task.due_at <= now),
                )
                for place, task in enumerate(new)
            ],
        )
        if tags := tags_of(new):
            self._direct.write(batch_statements.TAG, tags)
        self._changes.submit(new)

    def duplicates(self, new: Sequence[NewTask]) -> dict[str, Duplicate]:
        """Return the submissions whose key is taken, by a stored task or an earlier submission.

        The result is by the id of the submission. A submission that is stored itself is not in it.
        Keys count within their namespace.
        """
        return find_duplicates(self._connection, new)

    def candidates(self, capacity_by_type: Mapping[str, int]) -> Sequence[Candidate]:
        """Return the tasks to claim next, best rank first, up to the capacity for each type."""
        if not capacity_by_type:
            return ()
        postgres = self._alchemy.dialect.name == "postgresql"
        query = batch_statements.candidates(len(capacity_by_type), postgres=postgres)
        rows = self._direct.read(query, batch_statements.limited(capacity_by_type))
        found = [batch_statements.candidate(row) for row in rows]
        if len(capacity_by_type) > 1:
            found.sort(key=lambda row: (row.rank, row.task_id))
        return found

    def filled(self, chosen: list[tuple[Candidate, str]]) -> list[tuple[Candidate, str]]:
        """Return candidates with all payloads and checkpoints, also the long ones."""
        ids = [row.task_id for row, _ in chosen if not row.is_filled]
        if not ids:
            return chosen
        rows = self._connection.execute(batch_statements.BODIES, {"p_task_ids": ids})
        bodies = {task_id: (payload, checkpoint) for task_id, payload, checkpoint in rows}
        return [
            (
                replace(row, payload=bodies[row.task_id][0], checkpoint=bodies[row.task_id][1])
                if row.task_id in bodies
                else row,
                runner_id,
            )
            for row, runner_id in chosen
        ]

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
        self._fenced(batch_statements.CLAIM, rows)
        claimed = Counter((row.namespace, row.task_type, row.state) for row, _ in chosen)
        for (namespace, task_type, state), number in claimed.items():
            self._changes.count(namespace, task_type, State(state), Event.CLAIM, number)

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """End attempts: write their history, and change their tasks' state.

        Raises `FenceBroken` if one of them is not the running attempt of its task.
        """
        if not settlements:
            return
        large = [item for item in settlements if item.large_checkpoint]
        done = [item.attempt.task_id for item in large if item.event is Event.SUCCEED]
        if done:
            present = self._large_checkpoints(done)
            self._give_up((task_id, ref) for (task_id, _), ref in present.items())
        self._fenced(
            batch_statements.SETTLE,
            [item.row(self._now, self._priority_step, self.ahead) for item in settlements],
        )
        self._direct.write(batch_statements.RECORD, [astuple(item.attempt) for item in settlements])
        self._trim(settlements)
        self._changes.settle(settlements)

    def note_late(self, outcomes: Sequence[tuple[str, Outcome]]) -> None:
        """Record in the history late outcomes, by runner id, of attempts that count as lost.

        Nothing else changes. A late outcome of any other attempt is dropped.
        """
        noted: list[str] = []
        for runner_id, outcome in outcomes:
            bound = {
                "p_task_id": outcome.task_id,
                "p_attempt": outcome.attempt,
                "p_runner_id": runner_id,
                "p_outcome": outcome.kind.value,
                "p_now": self._now,
            }
            noted += [outcome.task_id] * self._many(statements.NOTE_LATE, [bound])
        known = self.tasks(sorted(set(noted)))
        self._changes.note_late(known[task_id] for task_id in noted)

    def prune(self, task_ids: Sequence[str], before: float) -> None:
        """Delete the tasks that ended before `before`, and their attempts.

        A task that was retried meanwhile stays. The files of deleted tasks are scheduled for
        removal.
        """
        if not task_ids:
            return
        bound = {"p_task_ids": list(task_ids), "p_before": before}
        rows = self._connection.execute(statements.STILL_OUTDATED, bound).all()
        if not rows:
            return
        for statement in statements.PRUNE:
            self._connection.execute(statement, {"p_task_ids": [row.task_id for row in rows]})
        self._many(
            statements.UNTAG,
            [
                {"p_namespace": namespace, "p_tag": tag, "p_task_id": task_id}
                for namespace, tag, task_id in tags_of(rows)
            ],
        )
        # Whether a task from before 0.2 has files is unknown.
        with_files = [(row.task_id, files.ALL) for row in rows if row.has_files is not False]
        files.mark(self._connection, with_files, self._now)
        for row in rows:
            self._changes.prune(row.namespace, row.task_type, State(row.state))

    def report(self, reports: Sequence[Report]) -> None:
        """Store progress and checkpoints. Those of attempts that have ended are dropped.

        The file of a large checkpoint that is replaced is scheduled for removal.
        """
        self._give_up_replaced(reports)
        self._many(
            statements.REPORT,
            [
                {
                    "p_task_id": report.task_id,
                    "p_attempt": report.attempt,
                    "p_fraction": report.fraction,
                    "p_message": report.message,
                    "p_checkpoint": report.checkpoint,
                    "p_began_at": report.began_at,
                    "p_checkpoint_ref": report.checkpoint_ref,
                    "p_now": self._now,
                }
                for report in reports
            ],
        )

    def log(self, logs: Sequence[AttemptLog]) -> None:
        """Store log lines, each once. Those of attempts that have ended are dropped."""
        self._many(
            statements.log(self._connection.dialect.name),
            [
                {
                    "p_task_id": log.task_id,
                    "p_attempt": log.attempt,
                    "p_number": line.number,
                    "p_at": line.at,
                    "p_level": line.level,
                    "p_message": line.message,
                }
                for log in logs
                for line in log.lines
            ],
        )

    def cancel(self, rows: Sequence[Task | TaskHead], reason: str | None = None) -> None:
        """Cancel tasks read in this transaction: waiting ones end, running ones are marked.

        The reason is JSON text. A mark that is there already stays as it is.
        """
        waiting = [row for row in rows if row.state in TRANSITIONS[Event.CANCEL].sources]
        running = [row for row in rows if row.state is State.RUNNING and not row.cancel_requested]
        self._change(statements.CANCEL, waiting, p_reason=reason)
        self._change(statements.MARK_CANCELLED, running, p_reason=reason)
        for row in waiting:
            self._changes.move(row, row.state, Event.CANCEL)

    def retry(self, rows: Sequence[Task | TaskHead]) -> None:
        """Make FAILED or CANCELLED tasks read in this transaction PENDING, with a fresh budget."""
        rows = [row for row in rows if row.state in TRANSITIONS[Event.RETRY].sources]
        self._change(
            statements.RETRY, rows, p_priority_step=self._priority_step, p_ahead=self.ahead
        )
        for row in rows:
            self._changes.move(row, row.state, Event.RETRY)

    def tasks(self, task_ids: Sequence[str]) -> dict[str, Task]:
        """Return the tasks that exist, as they are now in this transaction."""
        if not task_ids:
            return {}
        rows = self._connection.execute(statements.BY_IDS, {"p_task_ids": list(task_ids)})
        return {row.task_id: task_from(row) for row in rows}

    def promote(self) -> int:
        """Make due tasks ready, at most `PROMOTE_LIMIT`, and return how many."""
        bound = {"p_now": self._now, "p_limit": PROMOTE_LIMIT}
        return self._connection.execute(statements.PROMOTE, bound).rowcount

    def next_due(self) -> float | None:
        """Return the time when the next waiting task becomes due; None if there is none."""
        due: float | None = self._connection.execute(statements.NEXT_DUE).scalar()
        return due

    def finish(self) -> Mapping[Counted, int]:
        """Write the changes of counts and totals; return those of the counts."""
        changes = {key: change for key, change in self._changes.counts.items() if change}
        if changes:
            rows = [(*key, change) for key, change in sorted(changes.items())]
            self._direct.write(batch_statements.COUNT, rows)
        if self.totals:
            added = [(*key, number) for key, number in sorted(self.totals.items())]
            self._direct.write(batch_statements.ADD_TOTAL, added)
        self._direct.flush()
        return changes

    @property
    def totals(self) -> Mapping[Total, int]:
        """The numbers that this transaction adds to the totals."""
        return self._changes.totals

    def _trim(self, settlements: Sequence[Settlement]) -> None:
        """Delete old attempts that only snoozed or were released from the history."""
        bound = [
            {"p_task_id": task_id, "p_attempt": item.attempt.attempt - KEPT_SNOOZES}
            for item in settlements
            if item.puts_off and item.attempt.attempt > KEPT_SNOOZES
            for task_id in [item.attempt.task_id]
        ]
        for statement in statements.TRIM:
            self._many(statement, bound)

    def _give_up_replaced(self, reports: Sequence[Report]) -> None:
        reports = [report for report in reports if report.checkpoint is not None]
        present = self._large_checkpoints(report.task_id for report in reports)
        for report in reports:
            key = report.task_id, report.attempt
            known, new = present.get(key), report.checkpoint_ref
            if known is not None and known != new:
                self._give_up([(report.task_id, known)])
                del present[key]
                if new is not None:
                    present[key] = new

    def _give_up(self, refs: Iterable[tuple[str, str]]) -> None:
        """Schedule the removal of files (task id, reference), late enough for present readers."""
        keys = [(task_id, from_json(ref)["name"]) for task_id, ref in refs]
        files.mark(self._connection, keys, self._now + GIVEN_UP_SECONDS)

    def _large_checkpoints(self, task_ids: Iterable[str]) -> dict[tuple[str, int], str]:
        """Return the references of large checkpoints, by task and its present attempt."""
        ids = sorted(set(task_ids))
        if not ids:
            return {}
        rows = self._connection.execute(statements.LARGE_CHECKPOINTS, {"p_task_ids": ids})
        return {(row.task_id, row.attempt): row.checkpoint_ref for row in rows}

    def _many(self, statement: Executable, bound: list[dict[str, Any]]) -> int:
        if not bound:
            return 0
        return self._connection.execute(statement, bound).rowcount

    def _fenced(self, batch: Batch, rows: list[tuple[Any, ...]]) -> None:
        if rows:
            self._direct.write(batch, rows, lambda changed: self._check(changed, len(rows)))

    def _check(self, changed: int, expected: int) -> None:
        if changed != expected:
            raise FenceBroken(f"{changed} of {expected} rows were as expected")

    def _change(self, statement: Update, rows: Sequence[Task | TaskHead], **bound: Any) -> None:
        """Change tasks that were read in this transaction, all or none."""
        if not rows:
            return
        bound |= {"p_task_ids": [row.task_id for row in rows], "p_now": self._now}
        self._check(self._connection.execute(statement, bound).rowcount, len(rows))
