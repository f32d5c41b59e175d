"""Writers: users whose own transactions put tasks into the outbox, and the judge of its rows.

Each takes its ids when its transaction begins, and commits later, or never. So rows appear in
another order than that of their ids. Most schedules have no writers, and are as they were.
"""

import asyncio
import json
from random import Random
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from msgspec.structs import replace

from raytasks.model.handler_info import HandlerInfo, HandlerKind
from raytasks.model.retry import RetryPolicy
from raytasks.tracker.outbox_reader import OutboxReader
from raytasks.tracker.tick import TickInput
from tests.simulation.account import FINAL
from tests.simulation.bodies import Plan

if TYPE_CHECKING:
    from tests.simulation.world import World

SHARE = 0.3
"""In how many schedules there are writers."""

_ROUNDS = 5
_FIRST_NUMBER = 7000
_BAD_PRIORITY = 1_000_000
_TAKEN_SECONDS = 90.0
_KINDS = {
    "short": HandlerKind.FUNCTION,
    "other": HandlerKind.FUNCTION,
    "far": HandlerKind.REMOTE,
}


class Writers:
    """The writers of one schedule, and what they have committed."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._draw = Random(f"writers {world.seed}")
        self.is_active = self._draw.random() < SHARE
        self._numbers = _FIRST_NUMBER
        self.committed: set[str] = set()
        self.refused: set[str] = set()
        """The committed rows that cannot be done."""
        # Without writers nothing is read, so that the others' chances stay as they were.
        self.silence = patch.object(OutboxReader, "run", _nothing)

    def infos(self, others: list[HandlerInfo]) -> list[HandlerInfo]:
        """Return the handlers of a story, as a tracker with an outbox has to know them."""
        if not self.is_active or others:
            return others
        return [HandlerInfo(name, kind, (0, 1)) for name, kind in _KINDS.items()]

    def begin(self) -> None:
        """Begin to write, in some schedules."""
        for _ in range(3 * self.is_active):
            self._world.clients.begin(self._writer())

    async def _writer(self) -> None:
        draw, world = self._draw, self._world
        for _ in range(_ROUNDS):
            await asyncio.sleep(draw.uniform(0.0, 1.5))
            rows = [self._row() for _ in range(draw.choice((1, 1, 3)))]
            await asyncio.sleep(draw.choice((0.0, 0.05, 0.5, 3.0)) * draw.random())
            if draw.random() < 0.3:
                continue  # rolled back
            for row in rows:
                self._commit(*row)
            if draw.random() < 0.6:
                self._nudge()
        end = world.loop.time() + _TAKEN_SECONDS
        while self._left():
            if not world.swarm.active and world.loop.time() > end:
                world.fail(f"these rows were never taken: {sorted(self._left())}")
            end = max(end, world.loop.time() + (_TAKEN_SECONDS if world.swarm.active else 0.0))
            await asyncio.sleep(0.5)

    def _row(self) -> tuple[str, dict[str, Any], dict[str, Any]]:
        """Return the id of a new row, its document, and what its task is expected to be."""
        draw, world = self._draw, self._world
        self._numbers += 1
        task_type = draw.choice(("short", "short", "other", "far"))
        payload = {"n": self._numbers, "key": self._numbers % 2, "other": self._numbers % 3}
        document: dict[str, Any] = {"task_type": task_type, "payload": payload}
        expected: dict[str, Any] = {
            "task_type": task_type,
            "payload": json.dumps(payload, separators=(",", ":")),
            "max_attempts": RetryPolicy().max_attempts,
        }
        if draw.random() < 0.15:
            return (
                world.clients.new_id(),
                document | {"priority": _BAD_PRIORITY},
                {
                    **expected,
                    "max_attempts": 1,
                },
            )
        more = {
            "priority": draw.choice((0, 0, 5)),
            "delay_seconds": draw.choice((0.0, 0.0, 1.0)) * draw.random(),
        }
        return world.clients.new_id(), document | more, expected | more

    def _commit(self, task_id: str, document: dict[str, Any], expected: dict[str, Any]) -> None:
        world = self._world
        plan = Plan(document["payload"]["n"])
        task = replace(world.clients.new_task(plan, callback_url=None), task_id=task_id, **expected)
        world.clients.plans[task_id] = plan
        world.account.submitted[task_id] = task
        self.committed.add(task_id)
        if document.get("priority") == _BAD_PRIORITY:
            self.refused.add(task_id)
            world.account.refused.add(task_id)
        world.files.reader.execute(
            "INSERT INTO task_outbox (id, namespace, document, created_at) VALUES (?, ?, ?, ?)",
            (task_id, task.namespace, json.dumps(document), world.wall(world.clients.process)),
        )
        world.trace("committed to the outbox", task_id[-3:])

    def _nudge(self) -> None:
        present = self._world.present_tracker
        if present is not None and present.tracker is not None and present.process.runs:
            present.tracker.outbox.nudge()

    def _left(self) -> set[str]:
        rows = self._world.files.reader.execute("SELECT id FROM task_outbox")
        return {task_id for (task_id,) in rows}

    def look(self) -> None:
        """See that each committed row is still there, or is one task; never neither, nor both."""
        if not self.is_active:
            return
        left, rows = self._left(), self._world.checker.rows
        pruned = self._world.account.pruned
        for task_id in self.committed:
            is_task = task_id in rows or task_id in pruned
            if is_task == (task_id in left):
                what = "is still in the outbox" if is_task else "is lost"
                self._world.fail(f"{task_id} was committed, and {what}")
        for task_id in self.refused & rows.keys():
            row = rows[task_id]
            if not row.attempt and row.state not in (*FINAL, "PENDING"):
                self._world.fail(f"{row} cannot be done")

    def planned(self, work: TickInput) -> None:
        """See that a tick takes only what is committed."""
        for entry in work.outbox:
            if entry.row_id not in self.committed:
                self._world.fail(f"{entry} was never committed")


async def _nothing(_reader: OutboxReader) -> None:
    """Read nothing."""
