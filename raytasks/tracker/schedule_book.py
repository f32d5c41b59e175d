"""The schedules in the tracker's memory: which are due, and what their firing submits."""

import asyncio
import hashlib
import heapq
import logging
import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from msgspec import json
from msgspec.structs import replace

from raytasks.handling.schedule_times import Missed, Timing, fault_text, missed, next_time
from raytasks.model.acts import ActionName, NewAudit
from raytasks.model.controls import Limit
from raytasks.model.lane_names import lane_of, limit_values_again
from raytasks.model.schedule_specs import (
    LATE_SECONDS,
    CatchUp,
    Overlap,
    ScheduleKey,
    ScheduleRow,
    ScheduleSpec,
)
from raytasks.model.tasks import NewTask, StateConflict
from raytasks.observe.log_record import with_fields
from raytasks.store.schedule_rows import Fired, Firing
from raytasks.tracker.held_schedules import HeldSchedules

log = logging.getLogger(__name__)

MAX_FIRINGS = 250
"""Maximum number of schedules that one tick fires."""

MAX_TASKS = 2000
"""Number of tasks from which on a tick fires no further schedule."""

_ID_SECONDS = 1800.0  # how far the time in a task's id may be from its creation
_ID_VERSION, _ID_VARIANT = 8, 2  # RFC 9562


class RunNow(NamedTuple):
    """A person's order to submit a task of a schedule now.

    Its task has this id however often a tick tries it. The `answer` is given when it is stored, or
    the schedule is gone: whether it was there.
    """

    key: ScheduleKey
    by: str
    task_id: str
    answer: "asyncio.Future[bool]"


class ScheduleBook:
    """All schedules, with those first that are due first. One event loop has it.

    `limits_of` returns the limits that a type declares. Nothing fires until a version of the
    handlers is in force: `is_open`.

    A schedule whose times cannot be computed is `held`. It keeps its next time, and is tried again
    later, so no time of it is lost.
    """

    def __init__(self, limits_of: Callable[[str], Sequence[Limit]]) -> None:
        self._limits_of = limits_of
        self.rows: dict[ScheduleKey, ScheduleRow] = {}
        self.is_open = False
        self.held = HeldSchedules("computed")
        self._heap: list[tuple[float, ScheduleKey]] = []
        self._out: list[tuple[float, ScheduleKey]] = []
        self._asked: list[RunNow] = []

    def load(self, rows: Iterable[ScheduleRow]) -> None:
        """Take the rows that are on disk."""
        before = self.rows
        self.rows = {row.key: row for row in rows}
        for key, _ in list(self.held):
            if self.rows.get(key) != before.get(key):
                self.held.forget(key)
        self._out.clear()
        self._heap = [self._entry(row) for row in self.rows.values()]
        heapq.heapify(self._heap)
        self._end_orders()

    def change(self, rows: Iterable[ScheduleRow], removed: Iterable[ScheduleKey]) -> None:
        """Take what a command has changed on disk."""
        for key in removed:
            self.rows.pop(key, None)
            self.held.forget(key)
        for row in rows:
            self.rows[row.key] = row
            self.held.forget(row.key)
            heapq.heappush(self._heap, self._entry(row))
        self._end_orders()

    @property
    def next_time(self) -> float:
        """When the next schedule is due, in seconds since the epoch; infinite if none is."""
        if not self.is_open:
            return math.inf
        if self._asked:
            return -math.inf
        self._put_back()
        while self._heap and not self._is_current(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else math.inf

    def in_metrics(self, now: float) -> tuple[int, int, float | None]:
        """Return how many schedules fire, how many are paused, and the seconds to the next time.

        Those that are `held` do not count.
        """
        paused = sum(row.paused_at is not None for row in self.rows.values())
        fire = [
            row.next_at
            for row in self.rows.values()
            if row.paused_at is None and row.key not in self.held
        ]
        return len(fire), paused, min(fire) - now if fire else None

    def run_now(self, order: RunNow) -> None:
        """Submit a task of a schedule with the next tick."""
        self._asked.append(order)

    def due(self, now: float) -> list[Firing]:
        """Return the firings of the next tick. They are due until `apply` has them."""
        if not self.next_time <= now:
            return []
        firings: list[Firing] = []
        taken: set[ScheduleKey] = set()
        number = 0
        while self._heap and self._heap[0][0] <= now and len(taken) < MAX_FIRINGS:
            entry = heapq.heappop(self._heap)
            if entry[1] in taken or not self._is_current(entry):
                continue  # what people have changed may be there twice
            taken.add(entry[1])
            firing = self._firing(self.rows[entry[1]], now)
            if firing is None:
                heapq.heappush(self._heap, self._entry(self.rows[entry[1]]))
                continue
            self._out.append(entry)
            firings.append(firing)
            number += len(firing.tasks)
            if number >= MAX_TASKS:
                break
        fired = {firing.key for firing in firings}
        for order in list(self._asked):
            row = self.rows.get(order.key)
            if row is not None and order.key not in fired:
                fired.add(order.key)
                firings += self._ordered(row, order, now)
        return firings

    def apply(self, fired: Iterable[Fired], now: float) -> None:
        """Take the result of a tick's firings, and answer those who asked for one."""
        for item in fired:
            firing = item.firing
            row = self.rows.get(firing.key)
            if row is None:
                continue
            entry = self._entry(row)
            if item.tasks:
                last = item.tasks[-1]
                row = replace(
                    row, last_for=last.scheduled_for, last_at=now, last_task_id=last.task_id
                )
            row = self.rows[firing.key] = replace(row, next_at=firing.next_at)
            if firing.by is not None:
                self._answer(firing)
                continue
            if entry in self._out:
                self._out.remove(entry)
            self.held.release(firing.key)
            heapq.heappush(self._heap, self._entry(row))
            if item.was_open:
                log.info(
                    "the schedule %s of %s skips a time: its last task is open",
                    *(row.name, row.spec.task_type),
                    extra=with_fields(schedule=row.name, namespace=row.namespace),
                )

    def forget(self, order: RunNow) -> None:
        """Drop an order whose caller no longer waits."""
        if order in self._asked:
            self._asked.remove(order)

    def _answer(self, firing: Firing) -> None:
        """Answer the order of a firing, unless its caller has given up meanwhile."""
        for order in self._asked:
            if order.task_id == firing.tasks[0].task_id:
                self._asked.remove(order)
                if not order.answer.done():
                    order.answer.set_result(True)
                return

    def _end_orders(self) -> None:
        """Answer the orders whose schedules are gone."""
        gone = [order for order in self._asked if order.key not in self.rows]
        for order in gone:
            self._asked.remove(order)
            if not order.answer.done():
                order.answer.set_result(False)

    def _put_back(self) -> None:
        """Make due again what a tick took that has failed."""
        for entry in self._out:
            heapq.heappush(self._heap, entry)
        self._out.clear()

    def _entry(self, row: ScheduleRow) -> tuple[float, ScheduleKey]:
        """Return a schedule's place in the heap: when it is due, or tried again."""
        held = self.held.get(row.key)
        return (row.next_at if held is None else held.retry_at), row.key

    def _is_current(self, entry: tuple[float, ScheduleKey]) -> bool:
        row = self.rows.get(entry[1])
        return row is not None and row.paused_at is None and self._entry(row) == entry

    def _firing(self, row: ScheduleRow, now: float) -> Firing | None:
        """Return what a schedule that is due fires; None if it cannot be computed, and is held."""
        try:
            return self._computed(row, now)
        except Exception as error:  # its time zone is gone from this machine, for example
            self.held.hold(row.key, fault_text(error), now)
            return None

    def _ordered(self, row: ScheduleRow, order: RunNow, now: float) -> list[Firing]:
        """Return the firing that a person has ordered; none if its task cannot be made."""
        try:
            task = self._task(row, now, now, order.task_id)
        except Exception as error:
            self._asked.remove(order)
            if not order.answer.done():
                text = f"the schedule {row.name} cannot make a task: {fault_text(error)}"
                order.answer.set_exception(StateConflict(text))
            return []
        return [Firing(order.key, row.next_at, row.next_at, (task,), by=order.by)]

    def _computed(self, row: ScheduleRow, now: float) -> Firing:
        spec = row.spec
        timing = timing_of(spec, row.anchor_at)
        most = spec.max_catch_up if spec.catch_up is CatchUp.ALL else 1
        first = row.next_at if row.has_next else next_time(timing, row.anchor_at)
        if first > now:  # it could not be computed when the schedule began
            return Firing(row.key, row.next_at, first)
        due = missed(timing, first, now, most)
        times = due.newest
        if spec.catch_up is CatchUp.NONE and now - times[-1] > LATE_SECONDS:
            times = ()
        self._log_left_out(row, due, len(times))
        return Firing(
            row.key,
            row.next_at,
            due.following,
            tuple(self._task(row, at, now, task_id_of(row.key, at, now)) for at in times),
            not_beside=row.last_task_id if spec.overlap is Overlap.SKIP else None,
        )

    def _task(self, row: ScheduleRow, at: float, now: float, task_id: str) -> NewTask:
        spec = row.spec
        given = None if spec.given_values is None else json.encode(spec.given_values).decode()
        values = limit_values_again(spec.payload, given, self._limits_of(spec.task_type))
        return NewTask(
            task_id=task_id,
            task_type=spec.task_type,
            payload=spec.payload,
            priority=spec.priority,
            max_attempts=spec.max_attempts,
            timeout_seconds=spec.timeout_seconds,
            namespace=row.namespace,
            tags=spec.tags,
            lane=lane_of(row.namespace, values),
            limit_values=values,
            expires_seconds=spec.expires_seconds,
            schedule=row.name,
            scheduled_for=at,
        ).stamped(now)

    def _log_left_out(self, row: ScheduleRow, due: Missed, number: int) -> None:
        left_out = due.others + len(due.newest) - number
        if left_out:
            log.warning(
                "the schedule %s of %s leaves out %s%d times that were missed; catch_up is %s",
                *(row.name, row.spec.task_type, "more than " if due.many else "", left_out),
                row.spec.catch_up.value,
                extra=with_fields(schedule=row.name, namespace=row.namespace, left_out=left_out),
            )


def timing_of(spec: ScheduleSpec, anchor_at: float) -> Timing:
    """Return what the times of a schedule depend on."""
    return Timing(spec.cron, spec.every_seconds, spec.timezone, anchor_at)


def audit_of(firing: Firing) -> NewAudit:
    """Return the act of a person who has run a schedule."""
    assert firing.by is not None
    details = {"task_id": firing.tasks[0].task_id}
    return NewAudit(firing.by, ActionName.RUN_SCHEDULE, *firing.key, details)


def task_id_of(key: ScheduleKey, at: float, now: float) -> str:
    """Return the id of the task for a time of a schedule, always the same.

    Like other ids it begins with a time, by which lists are in order. The rest is made from the
    schedule and its time. For a time that was missed long ago, it begins with the time of now.
    """
    begin = at if abs(now - at) < _ID_SECONDS else now
    digest = hashlib.sha256(f"{key.namespace}\x00{key.name}\x00{at!r}".encode()).digest()
    number = int.from_bytes(digest[:10], "big")
    number |= int(begin * 1000) << 80
    number = number & ~(0xF << 76) | _ID_VERSION << 76
    number = number & ~(0b11 << 62) | _ID_VARIANT << 62
    text = f"{number:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
