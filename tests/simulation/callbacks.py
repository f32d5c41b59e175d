"""Callbacks in a schedule, and their judge: each end of a task with a URL has one in its commit."""

import sqlite3
from collections.abc import Callable
from random import Random
from typing import NamedTuple

from raytasks.model.callbacks import CALLBACK_TYPE, callback_id
from raytasks.model.tasks import NewTask
from tests.simulation.account import FINAL, Account
from tests.simulation.bodies import Plan

URL = "https://example.com/hook"

_PARENTS = "SELECT task_id, state, revision, finished_at FROM tasks WHERE callback_url IS NOT NULL"
_ENDS = f"SELECT task_id, revision, state FROM attempts WHERE state IN {FINAL}"
_CALLBACKS = (
    "SELECT task_id, payload, priority, max_attempts, namespace, created_at, run_at "
    f"FROM tasks WHERE task_type = '{CALLBACK_TYPE}'"
)


class _Parent(NamedTuple):
    """A task with a URL, as stored."""

    task_id: str
    state: str
    revision: int
    finished_at: float | None


class Callbacks:
    """The callbacks of a schedule. Most schedules have none."""

    def __init__(
        self,
        seed: int,
        reader: sqlite3.Connection,
        account: Account,
        plans: dict[str, Plan],
        fail: Callable[[str], None],
    ) -> None:
        self.are_there = Random(seed + 7_000_000_001).random() < 0.3
        self._reader = reader
        self._account = account
        self._plans = plans
        self._fail = fail
        self._revisions: dict[str, int] = {}
        self._made: set[str] = set()

    def url_for(self, number: int) -> str | None:
        """Return the URL that a task of this number names, or None."""
        return URL if self.are_there and number % 2 else None

    def look(self) -> None:
        """Judge what a write has changed. Callbacks that it has made count as submitted."""
        if not self.are_there:
            return
        read = self._reader.execute
        made = {row[0]: row for row in read(_CALLBACKS) if row[0] not in self._made}
        times = {row[5] for row in made.values()}
        ends = {(task_id, revision) for task_id, revision, _ in read(_ENDS)}
        wanted: set[str] = set()
        allowed: set[str] = set()
        for parent in map(_Parent._make, read(_PARENTS)):
            known = self._revisions.get(parent.task_id, 0)
            for revision in range(known + 1, parent.revision + 1):
                found = {callback_id(parent.task_id, revision, at) for at in times}
                allowed |= found
                is_end = parent.state in FINAL and revision == parent.revision
                if is_end and parent.finished_at is not None:
                    wanted.add(callback_id(parent.task_id, revision, parent.finished_at))
                elif (parent.task_id, revision) in ends and not found & made.keys():
                    self._fail(f"the end {revision} of {parent.task_id} has no callback")
            self._revisions[parent.task_id] = parent.revision
        if missing := wanted - made.keys():
            self._fail(f"these callbacks are missing: {sorted(missing)}")
        if strange := made.keys() - allowed:
            self._fail(f"these callbacks belong to no end: {sorted(strange)}")
        for (
            task_id,
            payload,
            priority,
            max_attempts,
            namespace,
            created_at,
            run_at,
        ) in made.values():
            self._made.add(task_id)
            self._plans[task_id] = Plan(0, calm=True)
            if created_at != run_at:
                self._fail(f"the callback {task_id} is not due at once")
            self._account.submitted[task_id] = NewTask(
                task_id,
                CALLBACK_TYPE,
                payload,
                priority,
                max_attempts,
                None,
                run_at=run_at,
                namespace=namespace,
            )
