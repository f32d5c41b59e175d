"""The judge: looks at the database after each commit, and compares it with what it should be.

It has its own account of everything: what was accepted, what bodies did, what runners were told. It
derives nothing from the engine's own rules, so that a rule that is gone there is missed here.
"""

import sqlite3
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from msgspec import UNSET

from raytasks.model.callbacks import CALLBACK_TYPE
from raytasks.tracker.tick import TickInput
from tests.simulation.account import (
    ATTEMPT_COLUMNS,
    FINAL,
    LOST,
    TASK_COLUMNS,
    WAITING,
    Account,
    Ended,
    Row,
)
from tests.simulation.counting import Counts
from tests.simulation.replacing import Replaced
from tests.simulation.rivals import KeyJudge


@dataclass
class _Standing:
    """Where a task stands between two of its steps in one commit."""

    state: str
    revision: int
    cancelled: bool
    failures: int
    crashes: int


class Checker:
    """Reads the database after each write, and judges what has changed."""

    def __init__(
        self, reader: sqlite3.Connection, account: Account, fail: Callable[[str], None]
    ) -> None:
        self._reader = reader
        self.account = account
        self._fail = fail
        self.rows: dict[str, Row] = {}
        self.gone: dict[str, Row] = {}
        """The tasks that were deleted, as they were then."""
        self.gone_in: dict[str, int] = {}
        """The epoch in which somebody has deleted each task; not those of retention."""
        self.history: dict[tuple[str, int], Ended] = {}
        self.charged: dict[tuple[str, int], bool] = {}
        """Whether a lost attempt was to be charged, as a tick was told."""
        self._planned_at = 0.0
        self.stepped_at = 0.0
        """The time of the last step of a bulk operation: what it retries is due then."""
        self._writer = ""
        self._together: Counter[str] = Counter()
        """How many attempts of each runner were lost in the present tick."""
        self.claimed_by: dict[tuple[str, int], str] = {}
        """Which process has claimed each attempt."""
        self._due: dict[str, float] = {}
        """The due time of each task that has come, by the clock of some tick."""
        self.looks = 0
        self.bulks: dict[str, dict[str, int]] = {}
        """The revisions of all tasks when each bulk operation was made."""
        self.lost: Callable[[Row], None] = lambda _: None
        """Hears of a task whose running attempt was lost."""
        self.released: Callable[[Row], None] = lambda _: None
        """Hears of a task whose running attempt was given back."""
        self.claimed: Callable[[Row, float], None] = lambda _row, _now: None
        """Hears of a task that was claimed by a tick which began at this time."""
        self.made_again: Callable[[str], None] = lambda _: None
        """Hears of a task that was gone, and is there again."""
        self.epoch = 0
        self.renewed_at = 0.0
        self.owner: str | None = None
        self.latest_clock = 0.0
        self.retried: Counter[str] = Counter()
        self.changed: set[tuple[str, int]] = set()
        """The tasks that were changed, with the revision that they had before."""
        self.made = 0
        """How many tasks have come."""
        self._counts = Counts(reader, fail)
        self._keys = KeyJudge(reader, account, fail)
        self.replaced = Replaced(reader, account, fail)

    def planned(self, work: TickInput) -> None:
        """Note what a tick is going to do: which losses are charged, and who replaces tasks."""
        self.replaced.planned(work)
        self._planned_at = work.now
        self._together = Counter(
            running.runner_id for running, outcome in work.outcomes if outcome.kind in LOST
        )
        for row in self.rows.values():
            if row.run_at <= work.now:
                self._due[row.task_id] = row.run_at
        for running, outcome in work.outcomes:
            if outcome.kind in LOST:
                self.charged[running.task_id, running.attempt] = outcome.charged

    def look(self, writer: str, writer_epoch: int | None, now: float) -> list[str]:
        """Look at what a write has changed. `now` is the writer's clock. Returns changed tasks."""
        self.latest_clock = max(self.latest_clock, now)
        self.looks += 1
        self._writer = writer
        read = self._reader.execute
        epoch, renewed_at, owner = read(
            "SELECT epoch, renewed_at, owner FROM tracker_epoch"
        ).fetchone()
        rows = {
            row[0]: Row(*row) for row in read(f"SELECT {TASK_COLUMNS} FROM tasks ORDER BY task_id")
        }
        if epoch < self.epoch:
            self._fail(f"the epoch went back from {self.epoch} to {epoch}")
        changed = [
            task_id
            for task_id in sorted({*rows, *self.rows})
            if rows.get(task_id) != self.rows.get(task_id)
        ]
        wrote = changed or renewed_at != self.renewed_at
        if epoch == self.epoch and wrote and writer_epoch not in (None, epoch):
            self._fail(f"{writer} wrote in epoch {writer_epoch}, but {epoch} has begun")
        self.epoch, self.renewed_at, self.owner = epoch, renewed_at, owner
        before, self.rows = self.rows, rows
        for task_id in changed:
            old, new = before.get(task_id), rows.get(task_id)
            steps = 0 if new is None else self.replaced.follow(old, new, self._planned_at)
            if new is None:
                assert old is not None
                self._gone(old)
            elif old is None:
                self._made(new)
                self._moved(new._replace(state="PENDING", attempt=0, revision=steps), new)
            else:
                old = _after(old, new, steps) if steps else old
                self._kept(old, new)
                self._moved(old, new)
            # A step of a bulk operation is no tick: what it makes may be due after the last one.
            begins = self._planned_at if old is not None or new is None else new.created_at
            is_due = new is not None and new.run_at <= max(begins, self._planned_at)
            if new is not None and (is_due or new.run_at == self.stepped_at):
                self._due[task_id] = new.run_at
        if changed:
            self._counts.look(rows, self._happened())
            self._look_at_late(changed)
            self._keys.look(rows)
        account = self.account
        if account.bulk_cancels or account.bulk_retries or account.sweeps:
            for (bulk_id,) in read("SELECT bulk_id FROM bulk_operations"):
                if bulk_id not in self.bulks:
                    self.bulks[bulk_id] = {row.task_id: row.revision for row in rows.values()}
        return changed

    def _happened(self) -> Counter[str]:
        """Return how often each thing has happened that is counted in the totals."""
        happened = Counter(ended.outcome for ended in self.history.values())
        happened["retried"], happened["submitted"] = self.retried.total(), self.made
        return happened

    def _made(self, new: Row) -> None:
        self.made += 1
        if new.task_id in self.gone:
            self.made_again(new.task_id)
        task = self.account.submitted.get(new.task_id)
        if task is None:
            self._fail(f"nobody has submitted {new.task_id}")
            return
        told = (task.task_type, task.payload, task.priority, task.max_attempts, task.namespace)
        kept = (new.task_type, new.payload, new.priority, new.max_attempts, new.namespace)
        if told != kept or task.idempotency_key != new.idempotency_key:
            self._fail(f"{new.task_id} was submitted as {told}, and is stored as {kept}")
        by_bulk = new.task_type == CALLBACK_TYPE  # maybe: of a task that a bulk cancel has ended
        if new.created_at != self._planned_at and not by_bulk:
            self._fail(f"{new.task_id} was made at {new.created_at}, not {self._planned_at}")
        if task.run_at is None and new.run_at != new.created_at + task.delay_seconds:
            self._fail(f"{new.task_id} is due at {new.run_at}, not {task.delay_seconds} s later")

    def _gone(self, old: Row) -> None:
        seconds = self.account.pruning_after
        account = self.account
        is_deleted = old.task_id in account.deletes
        is_swept = any(sweep.takes(old) for sweep in account.sweeps.values())
        if (is_deleted or is_swept) and old.finished_at is not None:
            self.gone_in[old.task_id] = self.epoch
        elif seconds is None or old.finished_at is None:
            self._fail(f"{old.task_id} is gone, which was {old.state}")
        elif self.latest_clock - old.finished_at < seconds:
            self._fail(f"{old.task_id} was pruned too early")
        account.accepted.discard(old.task_id)
        account.pruned.add(old.task_id)
        self.gone[old.task_id] = old

    def _kept(self, old: Row, new: Row) -> None:
        """Compare what never changes."""
        if (old.payload, old.task_type, old.max_attempts, old.namespace) != (
            new.payload,
            new.task_type,
            new.max_attempts,
            new.namespace,
        ):
            self._fail(f"{new.task_id} is another task now")
        if old.priority != new.priority and old.revision == new.revision:
            self._fail(f"the priority of {new.task_id} changed without a revision")
        if new.revision < old.revision:
            self._fail(f"the revision of {new.task_id} went back")
        if new.attempt not in (old.attempt, old.attempt + 1):
            self._fail(f"the attempt of {new.task_id} went from {old.attempt} to {new.attempt}")
        if new.revision == old.revision and (old.state, old.attempt) != (new.state, new.attempt):
            self._fail(f"{new.task_id} went from {old.state} to {new.state} without a revision")
        if old.state == new.state and old.attempt == new.attempt:
            same = old._replace(
                checkpoint=new.checkpoint,
                ready=new.ready,
                cancel_requested=new.cancel_requested,
                revision=new.revision,
            )
            if same != new and new.revision == old.revision:
                self._fail(f"{new.task_id} changed without a change of state: {old} -> {new}")
        if new.cancel_requested > old.cancel_requested and not self._may_be_cancelled(new):
            self._fail(f"{new.task_id} was cancelled by nobody")
        if new.checkpoint != old.checkpoint and new.checkpoint is not None:
            said = [data for _, data in self.account.checkpoints[new.task_id]]
            if new.checkpoint not in said or (
                old.checkpoint in said and said.index(new.checkpoint) < said.index(old.checkpoint)
            ):
                self._fail(f"{new.task_id} has a checkpoint that is not its newest")

    def _moved(self, old: Row, new: Row) -> None:
        """Follow a task step by step, from one commit to the next."""
        now = _Standing(
            old.state, old.revision, bool(old.cancel_requested), old.failures, old.crashes
        )
        if old.state == "RUNNING" and (new.state != "RUNNING" or new.attempt != old.attempt):
            ended = self._has_ended(old)
            if ended is None:
                return
            self._settled(old, ended, now)
        while now.state in WAITING and self._was_changed(old, new, now.revision):
            now.revision += 1
        if now.state == "PENDING" and not now.revision and new.task_id in self.account.refused:
            now.state, now.revision = "FAILED", 1
        elif now.state in WAITING and new.state == "CANCELLED":
            self._ended_waiting(new, now)
        elif now.state in ("FAILED", "CANCELLED") and new.state not in FINAL:
            self._retried(old, now)
        if now.state in WAITING and new.state == "RUNNING":
            now.state, now.revision = "RUNNING", now.revision + 1
            self._claimed(old, new, now.cancelled)
        if (now.state, now.revision) != (new.state, new.revision):
            self._fail(f"{new.task_id} should be {now.state} ({now.revision}): {old} -> {new}")
        if (now.failures, now.crashes) != (new.failures, new.crashes):
            self._fail(
                f"{new.task_id} has {new.failures} failures and {new.crashes} crashes charged, "
                f"and should have {now.failures} and {now.crashes}"
            )
        if now.state == "COMPLETED":
            self._completed(new)

    def _ended_waiting(self, new: Row, now: "_Standing") -> None:
        """Follow the end of a task that waited: a person has cancelled it, or it has expired."""
        if not new.cancel_requested:
            now.state, now.revision = "CANCELLED", now.revision + 1
            self._keys.expired(new, retried=self._is_retried(new), now=self._planned_at)
        elif now.revision < new.revision:
            now.state, now.revision, now.cancelled = "CANCELLED", now.revision + 1, True
            if not self._may_be_cancelled(new):
                self._fail(f"{new.task_id} was cancelled by nobody")

    def _was_changed(self, old: Row, new: Row, revision: int) -> bool:
        """Return whether a person has changed a task of this revision, as the history says."""
        if not self._has_change(new.task_id, revision):
            return False
        asked = self.account.changes.get((new.task_id, revision), [])
        if not asked:
            self._fail(f"{new.task_id} was changed at {revision} by nobody")
        self.changed.add((new.task_id, revision))
        if not self._has_change(new.task_id, revision + 1):
            due = (old.run_at, *(self._planned_at + d for d in (0.0, 0.3, 1.5)))
            wanted = {
                (
                    old.priority if item.priority is UNSET else item.priority,
                    None if item.delay_seconds is UNSET else self._planned_at + item.delay_seconds,
                )
                for item in asked
            }
            is_so = {(new.priority, new.run_at), (new.priority, None)} & wanted
            if not is_so or new.run_at not in due:
                self._fail(f"{new.task_id} should be as {asked}: {old} -> {new}")
        return True

    def _has_change(self, task_id: str, revision: int) -> bool:
        found = self._reader.execute(
            "SELECT 1 FROM task_actions WHERE task_id = ? AND revision = ? AND action = 'change'",
            (task_id, revision),
        )
        return found.fetchone() is not None

    def _settled(self, old: Row, ended: Ended, now: "_Standing") -> None:
        """Follow the end of an attempt. A cancel of the same tick comes after it."""
        now.revision += 1
        if ended.revision != now.revision:
            self._fail(f"the history of {old.task_id} has another revision: {ended}")
        now.state = self._expected(old, ended, now.cancelled)
        if ended.state != now.state:
            self._fail(f"{old} ended as {ended}, and should be {now.state} by that")
        now.cancelled = now.cancelled and now.state in FINAL
        if now.state == "CANCELLED":
            return  # it runs no more: there is no budget to charge
        if ended.outcome in ("failed", "timed_out"):
            now.failures += 1
        elif ended.outcome in LOST and self.charged.get((old.task_id, old.attempt), True):
            now.crashes += 1

    def _retried(self, old: Row, now: "_Standing") -> None:
        """Follow what only a person asks for."""
        now.state, now.revision, now.cancelled = "PENDING", now.revision + 1, False
        now.failures = now.crashes = 0
        account = self.account
        self.retried[old.task_id] += 1
        account.replaced_at.pop(old.task_id, None)
        by_bulks = account.bulk_retries[old.namespace]
        if self.retried[old.task_id] > account.retries[old.task_id] + by_bulks:
            self._fail(f"{old.task_id} was {old.state}, and nobody has retried it")

    def _has_ended(self, old: Row) -> Ended | None:
        """Return how an attempt has ended, by the history."""
        key = (old.task_id, old.attempt)
        ended = self.ended(*key)
        if ended is None or key in self.history:
            self._fail(f"attempt {old.attempt} of {old.task_id} ended, not once in the history")
            return None
        self.history[key] = ended
        if ended.outcome in LOST:
            self.lost(old)
            assert old.runner_id is not None
            with_others = self._together[old.runner_id] > 1 and old.company != 1
            if with_others and self.charged.get(key, True):
                self._fail(f"{key} is charged for the death of {old.runner_id} with others")
        if ended.runner_id != old.runner_id:
            self._fail(f"{ended} was run by {old.runner_id}")
        said = self.account.said.get(key)
        if ended.outcome == "released":
            self.released(old)
        if ended.outcome in (*LOST, "released"):
            return ended
        if said is None or said[0] != ended.runner_id or said[1].kind != ended.outcome:
            self._fail(f"the history says {ended}, but the runner said {said}")
        (number,) = self._reader.execute(
            "SELECT count(*) FROM task_logs WHERE task_id = ? AND attempt = ?", key
        ).fetchone()
        if number != self.account.lines.get(key, 0):
            self._fail(f"{key} has {number} log lines of {self.account.lines.get(key)}")
        return ended

    def _expected(self, old: Row, ended: Ended, cancelled: bool) -> str:
        """Return the state that a task should have by the outcome of its attempt."""
        kind = ended.outcome
        if kind == "succeeded":
            return "COMPLETED"
        if kind == "cancelled" and not cancelled:
            self._fail(f"{old} was stopped, and nobody has cancelled it")
        if cancelled or kind == "cancelled":
            return "CANCELLED"
        if kind in ("failed", "timed_out"):
            _, said = self.account.said.get((old.task_id, old.attempt), (None, None))
            again = said is None or (said.retryable and old.failures + 1 < old.max_attempts)
            return "RETRYING" if again else "FAILED"
        if kind in LOST:
            # How many crashes are too many is the tracker's to say; it may not say it of others.
            charged = self.charged.get((old.task_id, old.attempt), True)
            return "FAILED" if charged and ended.state == "FAILED" else "RETRYING"
        return "PENDING"

    def _claimed(self, old: Row, new: Row, cancelled: bool) -> None:
        self.claimed_by[new.task_id, new.attempt] = self._writer
        if new.attempt != old.attempt + 1:
            self._fail(f"{new.task_id} was claimed as attempt {new.attempt} after {old.attempt}")
        if cancelled or new.cancel_requested:
            self._fail(f"{new.task_id} was claimed though it is cancelled")
        if new.run_at > self._planned_at and self._due.get(new.task_id) != new.run_at:
            self._fail(f"{new.task_id} was claimed {new.run_at - self._planned_at} s too early")
        self._keys.claimed(new, retried=self._is_retried(new), now=self._planned_at)
        self.claimed(new, self._planned_at)
        if self.account.paused:
            self._fail(f"{new.task_id} was claimed while nothing is to begin")

    def _completed(self, new: Row) -> None:
        said = self.account.said.get((new.task_id, new.attempt))
        if said is None or said[1].result != new.result:
            self._fail(f"{new.task_id} has the result {new.result}; its body returned {said}")

    def _is_retried(self, row: Row) -> bool:
        """Return whether a person has retried a task, and nobody has replaced it since."""
        return self.retried[row.task_id] > 0 and row.task_id not in self.account.replaced_at

    def _may_be_cancelled(self, row: Row) -> bool:
        by_bulks = self.account.bulk_cancels[row.namespace]
        return row.task_id in self.account.cancels or by_bulks > 0

    def _look_at_late(self, changed: list[str]) -> None:
        """See that only a lost attempt has a late outcome, and the one that its runner said."""
        for found in self._reader.execute(
            f"SELECT {ATTEMPT_COLUMNS} FROM attempts WHERE late_outcome IS NOT NULL"
        ):
            late = Ended(*found)
            said = self.account.said.get((late.task_id, late.attempt))
            if (
                late.outcome not in LOST
                or said is None
                or said[0] != late.runner_id
                or said[1].kind != late.late_outcome
            ):
                self._fail(f"{late} has a late outcome that nobody said: {said}")

    def ended(self, task_id: str, attempt: int) -> Ended | None:
        """Return an attempt of the history as it is now."""
        found = self._reader.execute(
            f"SELECT {ATTEMPT_COLUMNS} FROM attempts WHERE task_id = ? AND attempt = ?",
            (task_id, attempt),
        ).fetchone()
        return None if found is None else Ended(*found)


def _after(old: Row, new: Row, steps: int) -> Row:
    """Return a task as it was when it had been replaced so often; this is judged elsewhere."""
    return old._replace(
        payload=new.payload,
        max_attempts=new.max_attempts,
        priority=new.priority,
        run_at=new.run_at,
        ready=new.ready,
        revision=old.revision + steps,
    )
