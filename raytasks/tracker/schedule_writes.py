"""The writes of schedules: what a version declares, and the commands of people.

They are done between two ticks, each in a transaction of its own. So none meets a firing.
"""

import asyncio
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import uuid_utils

from raytasks.model.handler_info import HandlerInfo
from raytasks.model.lines import named_line
from raytasks.model.schedule_specs import DeclaredSchedule, ScheduleKey, ScheduleRow
from raytasks.model.tasks import RaytasksError, StateConflict, StoreUnavailable
from raytasks.protocol.commands import (
    ClearSchedule,
    PauseSchedule,
    ResumeSchedule,
    RunSchedule,
    ScheduleCommand,
    SetSchedule,
)
from raytasks.store.refusals import error_name, traceback_of
from raytasks.store.transaction import Superseded
from raytasks.tracker.access import AWAY, TakenOver
from raytasks.tracker.held_schedules import HeldSchedules
from raytasks.tracker.logged_acts import log_acts
from raytasks.tracker.schedule_book import RunNow
from raytasks.tracker.schedule_plans import SchedulePlan, declared_changes, planned

if TYPE_CHECKING:
    from raytasks.tracker.ticker import Ticker

log = logging.getLogger(__name__)

MAX_SCHEDULES = 20_000
"""Maximum number of schedules that people may set, in all."""

MAX_ALONE = 100
"""Maximum number of declared schedules that are written alone before the next tick."""

_LOAD_SECONDS = 8.0
_ANSWER_SECONDS = 8.0


@dataclass(eq=False)
class _Asked:
    command: SetSchedule | ClearSchedule | PauseSchedule | ResumeSchedule
    answer: "asyncio.Future[Any]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def fail(self, error: Exception) -> None:
        """Answer with an error, unless the caller has given up meanwhile."""
        if not self.answer.done():
            self.answer.set_exception(error)


class ScheduleWrites:
    """Executes the commands about schedules, and puts in force what a version declares."""

    def __init__(self, ticker: "Ticker") -> None:
        self._ticker = ticker
        self._asked: list[_Asked] = []
        self._declared: Sequence[DeclaredSchedule] | None = None
        self._again: tuple[Sequence[DeclaredSchedule], float] | None = None
        self.held = HeldSchedules("stored")
        """Declared schedules that the database refuses, alone. They are tried again."""
        self.in_force = asyncio.Event()
        """Set while what the handlers declare is in force."""

    @property
    def all_held(self) -> tuple[HeldSchedules, HeldSchedules]:
        """The schedules that stand still: those that cannot be computed, and those not stored."""
        return self._ticker.schedules.held, self.held

    @property
    def any(self) -> bool:
        """Whether there is something to write."""
        return bool(self._asked) or self._declared is not None or self.seconds_until_due() <= 0

    def seconds_until_due(self) -> float:
        """Return the seconds until declared schedules are tried again; infinite if none is."""
        return math.inf if self._again is None else self._again[1] - self._ticker.clock()

    def declare(self, infos: Iterable[HandlerInfo]) -> None:
        """Put the schedules of a version in force, between the next two ticks."""
        self._declared = [schedule for info in infos for schedule in info.schedules]
        self.in_force.clear()
        self._ticker.wake.set()

    async def execute(self, command: ScheduleCommand) -> Any:
        """Execute a command, and return its answer.

        Raises `StoreUnavailable`, `StateConflict`, `TimesRefused`.
        """
        if not await self._ticker.is_loaded(_LOAD_SECONDS):
            raise StoreUnavailable(AWAY)
        if isinstance(command, RunSchedule):
            return await self._run(command)
        asked = _Asked(command)
        self._asked.append(asked)
        return await self._answer_of(asked.answer, lambda: self._drop(asked))

    async def turn(self) -> None:
        """Write what is to be written. No tick runs meanwhile. Raises `Superseded`."""
        declared, self._declared = self._declared, None
        if declared is None and self._again is not None and self.seconds_until_due() <= 0:
            declared = self._again[0]
        if declared is not None and not await self._put_in_force(declared):
            return
        asked, self._asked = self._asked, []
        for item in asked:
            if not item.answer.done():
                await self._execute(item)

    async def _run(self, command: RunSchedule) -> str | None:
        book = self._ticker.schedules
        key = ScheduleKey(command.namespace, command.name)
        if key not in book.rows:
            return None
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        order = RunNow(key, command.by, command.task_id or str(uuid_utils.uuid7()), answer)
        book.run_now(order)
        is_there = await self._answer_of(answer, lambda: book.forget(order))
        return order.task_id if is_there else None

    async def _answer_of(self, answer: "asyncio.Future[Any]", forget: Any) -> Any:
        self._ticker.wake.set()
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await answer
        except TimeoutError:
            raise StoreUnavailable(AWAY) from None
        finally:
            forget()

    def _drop(self, asked: _Asked) -> None:
        if asked in self._asked:
            self._asked.remove(asked)

    async def _put_in_force(self, declared: Sequence[DeclaredSchedule]) -> bool:
        """Store what is declared; return whether commands may follow. Raises `Superseded`."""
        ticker = self._ticker
        now = ticker.clock()
        plan = declared_changes(ticker.schedules.rows, declared, now)
        try:
            retry_at = await self._write_declared(plan, now)
        except StoreUnavailable as error:
            self._declared = self._declared or declared  # unless a later version has come
            await ticker.recovery.sit_out(error)
            return False
        self._again = None if retry_at is None else (declared, retry_at)
        if self._declared is None and self._again is None:
            self.in_force.set()
        ticker.schedules.is_open = True
        ticker.wake.set()
        return True

    async def _write_declared(self, plan: SchedulePlan, now: float) -> float | None:
        """Write what a version changes; return when what is left of it is tried again, or None.

        A schedule that the database refuses holds up no other: if they cannot be written together,
        each is written alone. Raises `StoreUnavailable`, `Superseded`.
        """
        changed: dict[ScheduleKey, ScheduleRow | None] = {row.key: row for row in plan.rows}
        changed.update(dict.fromkeys(plan.removed))
        for key, item in list(self.held):
            if key not in changed:
                self.held.forget(key)
            elif item.retry_at > now:
                del changed[key]
        error = await self._try_to_write(changed, now)
        if error is None:
            for key in changed:
                self.held.release(key)
        else:
            for key in list(changed)[:MAX_ALONE]:
                error = await self._try_to_write({key: changed.pop(key)}, now)
                if error is None:
                    self.held.release(key)
                else:
                    self.held.hold(key, named_line(error), now)
            if changed:
                return now  # ticks come first
        return min((item.retry_at for _, item in self.held), default=None)

    async def _try_to_write(
        self, changed: Mapping[ScheduleKey, ScheduleRow | None], now: float
    ) -> Exception | None:
        """Write schedules, or delete those without a row; return why the database refuses it."""
        rows = [row for row in changed.values() if row is not None]
        removed = [key for key, row in changed.items() if row is None]
        try:
            await self._write(SchedulePlan(None, rows, removed), now)
        except (StoreUnavailable, Superseded):
            raise
        except Exception as error:
            log.debug("declared schedules cannot be stored", exc_info=True)
            return error
        return None

    async def _execute(self, item: _Asked) -> None:
        ticker, command = self._ticker, item.command
        now = ticker.clock()
        rows = ticker.schedules.rows
        row = rows.get(ScheduleKey(command.namespace, command.name))
        try:
            if isinstance(command, SetSchedule) and row is None and len(rows) >= MAX_SCHEDULES:
                raise StateConflict(
                    f"there are {len(rows):,} schedules, as many as there may be; delete some first"
                )
            plan = planned(command, row, now)
            await self._write(plan, now)
        except Superseded:
            item.fail(TakenOver())
            raise
        except StoreUnavailable as error:
            item.fail(error)
            if error.in_doubt:
                ticker.doubt(error)
        except RaytasksError as error:
            item.fail(error)
        except Exception as error:
            text = "a schedule cannot be changed: %s"
            log.error(text, error_name(error), exc_info=traceback_of(error))
            item.fail(RaytasksError(f"the schedule cannot be stored: {type(error).__name__}"))
        else:
            if not item.answer.done():
                item.answer.set_result(plan.answer)

    async def _write(self, plan: SchedulePlan, now: float) -> None:
        if not (plan.rows or plan.removed):
            return
        ticker = self._ticker
        epoch, store = ticker.epoch, ticker.store
        acts = [] if plan.act is None else [plan.act]
        entries = await ticker.access.write(
            lambda: store.write_schedules(epoch, plan.rows, plan.removed, acts, now)
        )
        log_acts(entries)
        ticker.schedules.change(plan.rows, plan.removed)
