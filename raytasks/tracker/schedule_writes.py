"""The writes of schedules: what a version declares, and the commands of people.

They are done between two ticks, each in a transaction of its own. So none meets a firing.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, assert_never

import uuid_utils
from msgspec.structs import replace

from raytasks.handling.schedule_times import next_time
from raytasks.model.acts import ActionName, NewAudit
from raytasks.model.handler_info import HandlerInfo
from raytasks.model.schedule_specs import DeclaredSchedule, ScheduleKey, ScheduleRow, ScheduleSpec
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
from raytasks.tracker.logged_acts import log_acts
from raytasks.tracker.schedule_book import RunNow, timing_of

if TYPE_CHECKING:
    from raytasks.tracker.ticker import Ticker

log = logging.getLogger(__name__)

MAX_SCHEDULES = 20_000
"""Maximum number of schedules that people may set, in all."""

_LOAD_SECONDS = 8.0
_ANSWER_SECONDS = 8.0


@dataclass(frozen=True)
class SchedulePlan:
    """The result of a command: its answer, changed and removed schedules, and the act."""

    answer: Any = None
    rows: Sequence[ScheduleRow] = ()
    removed: Sequence[ScheduleKey] = ()
    act: NewAudit | None = None


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


def planned(
    command: SetSchedule | ClearSchedule | PauseSchedule | ResumeSchedule,
    row: ScheduleRow | None,
    now: float,
) -> SchedulePlan:
    """Return what a command changes in a schedule. It is a pure function.

    A command that is repeated changes nothing.
    """
    key = ScheduleKey(command.namespace, command.name)
    match command:
        case SetSchedule():
            if row is not None and row.override == command.spec:
                return SchedulePlan(row)
            changed = _with(
                _begun(key, command.spec, now) if row is None else row,
                now,
                override=command.spec,
                changed_at=now,
                by=command.by,
            )
            details = {"task_type": command.spec.task_type, **_when(command.spec)}
            act = NewAudit(command.by, ActionName.SET_SCHEDULE, *key, details)
            return SchedulePlan(changed, [changed], act=act)
        case ClearSchedule():
            if row is None or row.override is None:
                return SchedulePlan(row)
            act = NewAudit(command.by, ActionName.CLEAR_SCHEDULE, *key)
            if row.declared is None:
                return SchedulePlan(None, removed=[key], act=act)
            changed = _with(row, now, override=None, changed_at=None, by=None)
            return SchedulePlan(changed, [changed], act=act)
        case PauseSchedule():
            if row is None or row.paused_at is not None:
                return SchedulePlan(row)
            changed = replace(row, paused_at=now, paused_by=command.by)
            act = NewAudit(command.by, ActionName.PAUSE_SCHEDULE, *key)
            return SchedulePlan(changed, [changed], act=act)
        case ResumeSchedule():
            if row is None or row.paused_at is None:
                return SchedulePlan(row)
            following = max(row.next_at, next_time(timing_of(row.spec, row.anchor_at), now))
            changed = replace(row, paused_at=None, paused_by=None, next_at=following)
            act = NewAudit(command.by, ActionName.RESUME_SCHEDULE, *key)
            return SchedulePlan(changed, [changed], act=act)
        case _:
            assert_never(command)


def declared_changes(
    rows: Mapping[ScheduleKey, ScheduleRow], declared: Iterable[DeclaredSchedule], now: float
) -> SchedulePlan:
    """Return what changes in the schedules by what a version declares. It is a pure function.

    What is no longer declared ends, unless a person has set it.
    """
    wanted = {item.key: item.spec for item in declared}
    changed = []
    for key, spec in wanted.items():
        row = rows.get(key)
        if row is None:
            changed.append(replace(_begun(key, spec, now), declared=spec))
        elif row.declared != spec:
            changed.append(_with(row, now, declared=spec))
    removed = []
    for key, row in rows.items():
        if row.declared is None or key in wanted:
            continue
        if row.override is None:
            removed.append(key)
        else:
            changed.append(replace(row, declared=None))
    return SchedulePlan(None, changed, removed)


class ScheduleWrites:
    """Executes the commands about schedules, and puts in force what a version declares."""

    def __init__(self, ticker: "Ticker") -> None:
        self._ticker = ticker
        self._asked: list[_Asked] = []
        self._declared: Sequence[DeclaredSchedule] | None = None
        self.in_force = asyncio.Event()
        """Set while what the handlers declare is in force."""

    @property
    def any(self) -> bool:
        """Whether there is something to write."""
        return bool(self._asked) or self._declared is not None

    def declare(self, infos: Iterable[HandlerInfo]) -> None:
        """Put the schedules of a version in force, between the next two ticks."""
        self._declared = [schedule for info in infos for schedule in info.schedules]
        self.in_force.clear()
        self._ticker.wake.set()

    async def execute(self, command: ScheduleCommand) -> Any:
        """Execute a command, and return its answer. Raises `StoreUnavailable`, `StateConflict`."""
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
        ticker = self._ticker
        now = ticker.clock()
        try:
            plan = declared_changes(ticker.schedules.rows, declared, now)
            await self._write(plan, now)
        except Superseded:
            raise
        except Exception as error:
            self._declared = self._declared or declared  # unless a later version has come
            if isinstance(error, StoreUnavailable):
                await ticker.recovery.sit_out(error)
            else:
                log.exception("the declared schedules cannot be put in force; trying again")
                await ticker.access.pause()
            return False
        if self._declared is None:
            self.in_force.set()
        ticker.schedules.is_open = True
        ticker.wake.set()
        return True

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


def _begun(key: ScheduleKey, spec: ScheduleSpec, now: float) -> ScheduleRow:
    """Return a new schedule. Its first time is after now."""
    return ScheduleRow(*key, next_at=next_time(timing_of(spec, now), now), anchor_at=now)


def _with(row: ScheduleRow, now: float, **changes: Any) -> ScheduleRow:
    """Return a changed schedule. If its times are others now, the next one is after now.

    With the same times, those that were missed are not lost. The next time never goes back before
    the last one that got its task.
    """
    after = replace(row, **changes)
    before = row.override or row.declared
    if before is None or before.timing == after.spec.timing:
        return after
    begin = now if row.last_for is None else max(now, row.last_for)
    return replace(after, anchor_at=begin, next_at=next_time(timing_of(after.spec, begin), begin))


def _when(spec: ScheduleSpec) -> dict[str, Any]:
    if spec.cron is None:
        return {"every_seconds": spec.every_seconds}
    return {"cron": spec.cron, "timezone": spec.timezone}
