"""Judges what processes are told: it must be so in the database by then."""

import sqlite3
from collections.abc import Callable

from raytasks.protocol.messages import Claim, Outcome
from tests.simulation.account import FINAL, LOST, Row
from tests.simulation.checker import Checker


class Answers:
    """The judge of answers: it hears of each one that matters, just before it is given."""

    def __init__(
        self, checker: Checker, reader: sqlite3.Connection, fail: Callable[[str], None]
    ) -> None:
        self._checker = checker
        self._account = checker.account
        self._reader = reader
        self._fail = fail

    def accepted(self, task_id: str) -> None:
        """Check that a task is stored which somebody is told is accepted.

        An answer can come so late that the task has ended, and its retention as well.
        """
        if task_id in self._account.pruned:
            return
        self._account.accepted.add(task_id)
        if task_id not in self._checker.rows:
            self._fail(f"{task_id} was accepted, and is not stored")

    def acted(self, verb: str, task_id: str, retried: int) -> None:
        """Check a cancel or retry that is answered; before, it was `retried` so often."""
        row = self._checker.rows.get(task_id)
        if row is None or self._checker.retried[task_id] > retried:
            return
        is_cancelled = bool(row.cancel_requested) or row.state in FINAL
        if verb == "cancel" and not is_cancelled:
            self._fail(f"{task_id} is said to be cancelled, and is {row}")
        if verb == "retry" and not self._was_retried(row):
            self._fail(f"{task_id} is said to be retried, and is {row}")

    def _was_retried(self, row: Row) -> bool:
        # One that was retried during an answer that came before is retried for this one too.
        return self._checker.retried[row.task_id] > 0

    def refused(self, task_id: str, revision: int) -> None:
        """Check that a retry of this revision that is refused was not carried out."""
        found = self._reader.execute(
            "SELECT 1 FROM task_actions "
            "WHERE task_id = ? AND revision = ? AND action = 'retry' AND bulk_id IS NULL",
            (task_id, revision),
        ).fetchone()
        if found is not None:
            self._fail(f"{task_id} is said not to be retried at {revision}, and was")

    def changed(self, task_id: str, revision: int) -> None:
        """Check the change of a task of this revision that is answered.

        A replacement with the same values passes for it: the task is as it was to be.
        """
        known = self._checker.changed | self._account.replaced_from
        if (task_id, revision) not in known:
            self._fail(f"{task_id} is said to be changed at {revision}, and was not")

    def deleted(self, task_id: str) -> None:
        """Check a deletion that is answered."""
        if task_id in self._checker.rows:
            self._fail(f"{task_id} is said to be deleted, and is there")

    def paused(self, *, paused: bool, epoch: int, now: float) -> None:
        """Check a pause or resume of everything that a tracker is answering, by its clock."""
        found, present = self._reader.execute(
            "SELECT (SELECT since FROM pauses WHERE namespace = '' AND task_type = '' "
            "AND (until IS NULL OR until > ?)), epoch FROM tracker_epoch",
            (now,),
        ).fetchone()
        if present == epoch and (found is not None) != paused:
            self._fail(f"a tracker says paused: {paused}, and the database has {found}")

    def made(self, bulk_id: str) -> None:
        """Check that a bulk operation is stored that is being answered."""
        found = self._reader.execute(
            "SELECT 1 FROM bulk_operations WHERE bulk_id = ?", (bulk_id,)
        ).fetchone()
        if found is None:
            self._fail(f"the bulk operation {bulk_id} is not stored")

    def acknowledged(
        self, task_id: str, attempt: int, outcome: Outcome | None, runner_id: str
    ) -> None:
        """Check that an outcome is in the history whose runner is told that it is.

        None: the runner has said nothing, so that the tracker has settled the attempt by itself.
        """
        if task_id not in self._checker.rows:
            return  # pruned; that it was once there is known by `_gone`
        ended = self._checker.ended(task_id, attempt)
        if ended is None:
            self._fail(f"{runner_id} forgets {outcome}, which is not in the history")
            return
        kind = None if outcome is None else outcome.kind
        if ended.outcome not in (kind, *LOST, "released"):
            self._fail(f"{runner_id} forgets {outcome}, and the history says {ended}")

    def checkpointed(self, task_id: str, data: str) -> None:
        """Check that a checkpoint is stored, or a later one, whose body is told so."""
        row = self._checker.rows.get(task_id)
        if row is None:
            return
        said = [data for _, data in self._account.checkpoints[task_id]]
        if row.checkpoint is None or said.index(row.checkpoint) < said.index(data):
            self._fail(f"{task_id} has the checkpoint {row.checkpoint}, not {data} or a later one")

    def begins(self, claim: Claim, runner_id: str) -> None:
        """Check that an attempt may begin."""
        task_id, attempt, payload = claim.task_id, claim.attempt, claim.payload
        key = (task_id, attempt)
        if key in self._account.begun:
            self._fail(f"{key} begins in {runner_id}, as before in {self._account.begun[key]}")
        self._account.begun[key] = runner_id
        task = self._account.submitted.get(task_id)
        if task is None or task.payload != payload:
            self._fail(f"{key} begins with the payload {payload}")
        # A claim that comes late may be of a task that has ended and is pruned meanwhile.
        row = self._checker.rows.get(task_id) or self._checker.gone.get(task_id)
        if row is None or row.attempt < attempt:
            self._fail(f"{key} begins before it is claimed: {row}")
        elif row.attempt == attempt and row.state == "RUNNING":
            if claim.checkpoint != row.checkpoint:
                self._fail(f"{key} begins with the checkpoint {claim.checkpoint}: {row}")
            if row.runner_id != runner_id:
                self._fail(f"{key} begins in {runner_id}: {row}")
