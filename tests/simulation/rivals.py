"""Rivals: clients that submit tasks with the same few unique keys, and tasks that expire.

They have a source of chance of their own, so that schedules without them stay as they were.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Mapping
from random import Random
from typing import TYPE_CHECKING, Any

from raytasks.model.tasks import Duplicate, NewTask
from raytasks.model.uniqueness import (
    OnConflict,
    Unique,
    UniqueUntil,
    decode_unique,
    encode_unique,
)
from tests.simulation.account import FINAL, Account, Row
from tests.simulation.bodies import Plan

if TYPE_CHECKING:
    from tests.simulation.world import World

SHARE = 0.25
"""In how many schedules there are rivals."""

_ROUNDS = 6
_FIRST_NUMBER = 5000


class Rivals:
    """The rivals of one schedule."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._draw = Random(f"rivals {world.seed}")
        self._numbers = _FIRST_NUMBER

    def begin(self) -> None:
        """Begin to submit, in some schedules."""
        if self._draw.random() < SHARE:
            self._world.account.has_rivals = True
            for _ in range(3):
                self._world.clients.begin(self._rival())

    async def _rival(self) -> None:
        draw, clients = self._draw, self._world.clients
        for _ in range(_ROUNDS):
            await asyncio.sleep(draw.uniform(0.0, 1.5))
            self._numbers += 1
            unique = Unique(
                draw.choice(("a", "b")),
                draw.choice(list(UniqueUntil)),
                on_conflict=draw.choice((OnConflict.RETURN, OnConflict.REJECT)),
            )
            changes: dict[str, Any] = {
                "unique_spec": encode_unique(unique) if draw.random() < 0.7 else None,
                "expires_seconds": draw.choice((None, 0.3, 2.0, 60.0)),
                "delay_seconds": draw.choice((0.0, 0.0, 0.2, 1.0)),
            }
            task = clients.new_task(Plan(self._numbers), **changes)
            try:
                found = await clients.submit([task])
            except clients.away:
                continue  # it may be stored or not
            self._note(task, found.get(task.task_id))
            if draw.random() < 0.3:
                clients.begin(clients.canceller(task.task_id))
            if draw.random() < 0.5:
                clients.begin(clients.retrier(task.task_id))

    def _note(self, task: NewTask, duplicate: Duplicate | None) -> None:
        world = self._world
        if duplicate is None:
            world.answers.accepted(task.task_id)
            world.clients.stored.append(task.task_id)
            return
        holder = world.account.submitted.get(duplicate.task_id)
        if holder is None or key_of(task) is None or key_of(holder) != key_of(task):
            world.fail(f"{task} is told that {holder} has its key: {duplicate}")
        if duplicate.same != (duplicate.unique is OnConflict.RETURN):
            world.fail(f"{task} is answered with {duplicate}")


Key = tuple[str, str, str]
"""Namespace, task type, and a unique key."""


def key_of(task: NewTask) -> Key | None:
    """Return the unique key of a submission; None without one."""
    if task.unique_spec is None:
        return None
    return task.namespace, task.task_type, decode_unique(task.unique_spec).key


def policy_of(task: NewTask) -> OnConflict | None:
    """Return what a submission says for the case that its key is held; None without a key."""
    return None if task.unique_spec is None else decode_unique(task.unique_spec).on_conflict


class KeyJudge:
    """Sees that each key has at most one open task, and that only what never began expires."""

    def __init__(
        self, reader: sqlite3.Connection, account: Account, fail: Callable[[str], None]
    ) -> None:
        self._reader = reader
        self._account = account
        self._fail = fail

    def look(self, rows: Mapping[str, Row]) -> None:
        """Compare the keys that are held with the tasks that are open."""
        if not self._account.has_rivals:
            return
        held = {
            (space, task_type, key): task_id
            for space, task_type, key, task_id in self._reader.execute(
                "SELECT namespace, task_type, unique_key, task_id FROM unique_keys"
            )
        }
        for key, task_id in held.items():
            row, task = rows.get(task_id), self._account.submitted[task_id]
            if row is None or row.state in FINAL or key_of(task) != key:
                self._fail(f"the key {key} is held by {row}")
        for row in rows.values():
            task = self._account.submitted[row.task_id]
            own = key_of(task)
            if own is None or row.state in FINAL or held.get(own) == row.task_id:
                continue
            until = decode_unique(task.unique_spec or "").until
            if until is UniqueUntil.FINISHED or not row.attempt:
                self._fail(f"{row} is open, and its key {own} is held by {held.get(own)}")

    def expired(self, row: Row, *, retried: bool, now: float) -> None:
        """Judge the end of a task that nobody has cancelled."""
        ends_at = self._ends_at(row)
        if ends_at is None or ends_at > now or row.attempt or retried:
            self._fail(f"{row} has expired, which may begin until {ends_at}; it is {now}")

    def claimed(self, row: Row, *, retried: bool, now: float) -> None:
        """Judge a claim."""
        ends_at = self._ends_at(row)
        if ends_at is not None and ends_at <= now and row.attempt == 1 and not retried:
            self._fail(f"{row} was claimed at {now}, and had expired at {ends_at}")

    def _ends_at(self, row: Row) -> float | None:
        seconds = self._account.submitted[row.task_id].expires_seconds
        begun_at = self._account.replaced_at.get(row.task_id, row.created_at)
        return None if seconds is None else begun_at + seconds
