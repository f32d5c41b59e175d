"""Submissions that replace a waiting task with their unique key: who makes them, and their judge.

A replacement leaves a row of `task_actions`. Which submission it was shows in the task's payload,
as each submission has a number of its own.
"""

import asyncio
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from raytasks.model.tasks import Duplicate, NewTask
from raytasks.model.uniqueness import OnConflict, Unique, UniqueUntil, encode_unique
from raytasks.tracker.tick import TickInput
from tests.simulation.account import Account, Row
from tests.simulation.bodies import Plan
from tests.simulation.changers import changer
from tests.simulation.rivals import Key, key_of, policy_of

if TYPE_CHECKING:
    from tests.simulation.world import World

SHARE = 0.25
"""In how many schedules tasks are replaced."""

_ROUNDS = 6
_FIRST_NUMBER = 8000
_POLICIES = (*(OnConflict.REPLACE,) * 4, OnConflict.RETURN, OnConflict.REJECT)


class Replacers:
    """The clients of one schedule who submit tasks that replace others."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._draw = Random(f"replacers {world.seed}")
        self._numbers = _FIRST_NUMBER

    def begin(self) -> None:
        """Begin to submit, in some schedules."""
        if self._draw.random() < SHARE:
            self._world.account.has_rivals = True
            for _ in range(3):
                self._world.clients.begin(self._replacer())

    async def _replacer(self) -> None:
        draw = self._draw
        for _ in range(_ROUNDS):
            await asyncio.sleep(draw.uniform(0.0, 1.2))
            self._numbers += 1
            unique = Unique(
                draw.choice(("c", "d")),
                draw.choice(list(UniqueUntil)),
                on_conflict=draw.choice(_POLICIES),
            )
            changes: dict[str, Any] = {
                "unique_spec": encode_unique(unique),
                "priority": draw.choice((0, 0, 5)),
                "max_attempts": draw.choice((1, 2, 3)),
                "expires_seconds": draw.choice((None, None, 3.0, 60.0)),
                "delay_seconds": draw.choice((0.0, 0.3, 1.0, 3.0)),
            }
            if keyed := draw.random() < 0.5:
                key = f"replacement {self._numbers}"
                changes |= {"idempotency_key": key, "request_digest": "same"}
            await self._submit(Plan(self._numbers), changes, keyed=keyed)

    async def _submit(self, plan: Plan, changes: dict[str, Any], *, keyed: bool) -> None:
        draw, clients = self._draw, self._world.clients
        while True:
            task = clients.new_task(plan, **changes)
            try:
                found = (await clients.submit([task])).get(task.task_id)
            except clients.away:
                if not keyed:
                    return  # it may be stored or not
                await asyncio.sleep(draw.uniform(0.05, 0.5))
                continue
            break
        self._note(task, found)
        if draw.random() < 0.15:
            clients.begin(clients.canceller(task.task_id))
        if draw.random() < 0.3:
            clients.begin(clients.retrier(task.task_id))
        if draw.random() < 0.2:
            clients.begin(changer(clients, task.task_id, clients.away))

    def _note(self, task: NewTask, told: Duplicate | None) -> None:
        """See that the answer to a submission is true."""
        world = self._world
        if told is None:
            world.answers.accepted(task.task_id)
            world.clients.stored.append(task.task_id)
            return
        holder = world.account.submitted.get(told.task_id)
        if holder is None or key_of(task) != key_of(holder):
            world.fail(f"{task} is told that {holder} has its key: {told}")
        if told.unique is OnConflict.REPLACE and not told.same:
            row = world.checker.rows.get(told.task_id)
            if row is not None and row.state == "PENDING" and not row.attempt:
                world.fail(f"{task} cannot replace {row}, as it is told, and that has not begun")
        elif policy_of(task) is OnConflict.REPLACE and not world.checker.replaced.has_made(task):
            world.fail(f"{task} is told that it has replaced {holder}, and it has not: {told}")
        elif told.same != (policy_of(task) is not OnConflict.REJECT) and told.unique is not None:
            world.fail(f"{task} is answered with {told}")


class Replaced:
    """The judge of replacements: it follows them from one write to the next."""

    def __init__(
        self, reader: sqlite3.Connection, account: Account, fail: Callable[[str], None]
    ) -> None:
        self._reader = reader
        self._account = account
        self._fail = fail
        self._planned: defaultdict[Key, list[NewTask]] = defaultdict(list)
        self._made: Counter[str] = Counter()
        """How often each payload was stored, or has replaced another one, as far as is known."""
        self._keyed: set[str] = set()
        """The payloads of submissions with an idempotency key."""
        self._maybe: set[str] = set()
        """The payloads that another one of the same tick may have replaced at once."""

    def planned(self, work: TickInput) -> None:
        """Note who may replace something in a tick, in the order of their submissions."""
        self._planned.clear()
        for task in work.submissions:
            key = key_of(task)
            if key is not None and policy_of(task) is OnConflict.REPLACE:
                self._planned[key].append(task)
                if task.idempotency_key is not None:
                    self._keyed.add(task.payload)

    def follow(self, old: Row | None, new: Row, now: float) -> int:
        """Judge how often a task was replaced by a write, and return this number of steps.

        The account has its new submission then. `now` is the time of the tick.
        """
        first = self._account.submitted.get(new.task_id)
        if first is None or first.unique_spec is None:
            return 0
        (steps,) = self._reader.execute(
            "SELECT count(*) FROM task_actions WHERE task_id = ? AND action = 'replace' "
            "AND revision >= ?",
            (new.task_id, 0 if old is None else old.revision),
        ).fetchone()
        if steps:
            self._replace(old, new, first, now, steps)
        if steps or old is None:
            self._made[new.payload] += 1
            self._once(new)
        if old is None and steps:
            self._maybe.add(first.payload)
        return int(steps)

    def _replace(self, old: Row | None, new: Row, first: NewTask, now: float, steps: int) -> None:
        key = key_of(first)
        assert key is not None
        asked = self._planned[key]
        last = next((task for task in reversed(asked) if task.payload == new.payload), None)
        if last is None or (steps >= len(asked) and last.payload != asked[-1].payload):
            self._fail(f"{new} should have been replaced by {asked}, the last one of them")
            return
        if old is not None and (old.state != "PENDING" or old.attempt):
            self._fail(f"{old} was replaced, and it had begun")
        if steps > 1:
            self._maybe.update(task.payload for task in asked)
        last = self._account.submitted[last.task_id]  # as it came, without the tracker's times
        told = (last.max_attempts, last.priority, now + last.delay_seconds)
        if told != (new.max_attempts, new.priority, new.run_at):
            self._fail(f"{new} should be as {last}")
        task_id, kept = new.task_id, first.idempotency_key
        self._account.submitted[task_id] = replace(last, task_id=task_id, idempotency_key=kept)
        self._account.replaced_at[task_id] = now
        before = 0 if old is None else old.revision
        self._account.replaced_from |= {(task_id, before + step) for step in range(steps)}

    def _once(self, new: Row) -> None:
        """See that a request with an idempotency key takes effect only once."""
        may_be_forgotten = self._account.pruned or self._account.sweeps
        if new.payload in self._keyed and self._made[new.payload] > 1 and not may_be_forgotten:
            self._fail(f"{new} was submitted once, and this took effect twice")

    def has_made(self, task: NewTask) -> bool:
        """Return whether a submission was stored, or may have replaced a task."""
        return task.payload in self._maybe or self._made[task.payload] > 0
