"""A schedule of the service in some simulated stories, and its judge: one task for each time.

In some of them, its tasks expire. In others a person pauses and resumes it, or sets its tasks.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from random import Random
from typing import TYPE_CHECKING

from msgspec.structs import replace

from raytasks.model.handler_info import HandlerInfo, HandlerKind
from raytasks.model.schedule_specs import (
    CatchUp,
    DeclaredSchedule,
    Overlap,
    ScheduleKey,
    ScheduleSpec,
)
from raytasks.protocol.commands import (
    ClearSchedule,
    PauseSchedule,
    ResumeSchedule,
    SetSchedule,
)
from raytasks.tracker.tick import TickInput
from tests.simulation.account import Account
from tests.simulation.bodies import Plan

if TYPE_CHECKING:
    from tests.simulation.clients import Clients

KEY = ScheduleKey("default", "beat")

_OF_TWELVE = 10  # which seeds have one, by their remainder
_FIRST_NUMBER = 5000
_CALM_SECONDS = 60
_SHARE = 0.6  # of the stories with a schedule: in so many a person changes it


class Timetable:
    """The one schedule, of the type `short`. Most seeds have none.

    Its judge reads the database after each write. It knows only how far apart the times are.
    """

    def __init__(
        self, seed: int, reader: sqlite3.Connection, account: Account, fail: Callable[[str], None]
    ) -> None:
        draw = Random(seed + 7_000_000_003)
        self.is_active = seed % 12 == _OF_TWELVE
        self._every = draw.choice((1.0, 2.0, 3.0))
        self._spec = ScheduleSpec(
            "short",
            '{"n":1,"key":1,"other":1}',
            2,
            every_seconds=self._every,
            catch_up=draw.choice((CatchUp.LAST, CatchUp.NONE, CatchUp.ALL)),
            max_catch_up=3,
        )
        if self._spec.catch_up is not CatchUp.ALL and draw.random() < 0.5:
            self._spec = replace(self._spec, overlap=Overlap.SKIP)
        self._orders = Random(f"orders of a schedule {seed}")
        self._spec = replace(
            self._spec, expires_seconds=self._orders.choice((None, None, 0.4, 3.0))
        )
        self._has_person = self._orders.random() < _SHARE
        self._reader = reader
        self._account = account
        self._fail = fail
        self._orders_given: asyncio.Task[None] | None = None
        self._made: dict[float, str] = {}
        """The task that each time has got, also if it was pruned since."""
        self._next_at = 0.0

    def infos(self, others: Sequence[HandlerInfo]) -> list[HandlerInfo]:
        """Return the handlers of a story, those of `others` among them."""
        if not self.is_active:
            return list(others)
        kinds = {"short": HandlerKind.FUNCTION, "other": HandlerKind.FUNCTION}
        kinds["far"] = HandlerKind.REMOTE
        found = others or [HandlerInfo(name, kind, (0, 1)) for name, kind in kinds.items()]
        declared = (DeclaredSchedule(KEY, self._spec),)
        return [
            HandlerInfo(
                info.task_type,
                info.kind,
                info.actors,
                limits=info.limits,
                schedules=declared if info.task_type == "short" else (),
            )
            for info in found
        ]

    def begin(self, clients: "Clients") -> None:
        """Begin to change the schedule, in some stories."""
        if self.is_active and self._has_person:
            self._orders_given = clients.begin(self._person(clients))

    async def _person(self, clients: "Clients") -> None:
        """Pause it as soon as it is there, maybe set its tasks, and let all be as it was before."""
        draw = self._orders
        while await clients.insist(PauseSchedule(*KEY, "client")) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.5)  # no tracker has put the version in force yet
        for _ in range(draw.choice((1, 2, 4))):
            if draw.random() < 0.5:
                others = replace(self._spec, priority=draw.choice((1, 2)))
                await clients.insist(SetSchedule(*KEY, others, "client"))
            await asyncio.sleep(draw.choice((0.0, 0.5, 3.0)))
            await clients.insist(ResumeSchedule(*KEY, "client"))
            await asyncio.sleep(draw.uniform(0.0, 4.0))
            await clients.insist(ClearSchedule(*KEY, "client"))
            await clients.insist(PauseSchedule(*KEY, "client"))
        await clients.insist(ResumeSchedule(*KEY, "client"))

    def planned(self, work: TickInput, clients: "Clients") -> None:
        """Note the tasks that a tick is going to submit."""
        for firing in work.firings:
            for task in firing.tasks:
                self._account.submitted[task.task_id] = replace(
                    task, expires_seconds=self._spec.expires_seconds
                )
                number = _FIRST_NUMBER + len(clients.plans)
                clients.plans.setdefault(task.task_id, Plan(number, calm=True))

    def look(self) -> None:
        """Judge what a write has changed."""
        if not self.is_active:
            return
        read = self._reader.execute
        rows = read("SELECT next_at, anchor_at, last_for FROM schedules").fetchall()
        tasks = read(
            "SELECT task_id, scheduled_for FROM tasks WHERE schedule = ? ORDER BY task_id",
            (KEY.name,),
        ).fetchall()
        for task_id, at in tasks:
            if self._made.setdefault(at, task_id) != task_id:
                self._fail(f"the time {at} has got {self._made[at]}, and {task_id} as well")
        if not rows:
            return
        next_at, anchor_at, last_for = rows[0]
        if next_at < self._next_at:
            self._fail(f"the schedule's next time went back from {self._next_at} to {next_at}")
        self._next_at = next_at
        for at in (next_at, *self._made):
            if (at - anchor_at) % self._every:
                self._fail(f"{at} is no time of each {self._every} s since {anchor_at}")
        newest = max(self._made, default=None)
        if last_for != newest or (newest is not None and newest >= next_at):
            self._fail(f"the newest task is for {newest}; told: {last_for}, then {next_at}")

    async def end(self, clients: "Clients") -> None:
        """Pause the schedule, so that all tasks can end, and see that it makes some before."""
        if not self.is_active:
            return
        if self._orders_given is not None:  # the last one lets it go on
            await self._orders_given
        for _ in range(2 * _CALM_SECONDS):  # the database may have been away until now
            if self._made:
                break
            if self._has_person:  # a late copy of an order may have paused it again
                await clients.insist(ResumeSchedule(*KEY, "client"))
            await asyncio.sleep(0.5)
        else:
            self._fail("the schedule has never made a task")
        while await clients.insist(PauseSchedule(*KEY, "client")) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.5)  # no tracker has put the version in force yet
