"""The plans of what changes in schedules: by a person's command, or by a version's declarations.

Pure functions: nothing is written here.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, assert_never

from msgspec.structs import replace

from raytasks.handling.schedule_times import Timing, fault_text, next_time
from raytasks.model.acts import ActionName, NewAudit
from raytasks.model.schedule_specs import DeclaredSchedule, ScheduleKey, ScheduleRow, ScheduleSpec
from raytasks.model.tasks import StateConflict, TimesRefused
from raytasks.protocol.commands import ClearSchedule, PauseSchedule, ResumeSchedule, SetSchedule
from raytasks.tracker.schedule_book import timing_of


@dataclass(frozen=True)
class SchedulePlan:
    """The result of a command: its answer, changed and removed schedules, and the act."""

    answer: Any = None
    rows: Sequence[ScheduleRow] = ()
    removed: Sequence[ScheduleKey] = ()
    act: NewAudit | None = None


def planned(
    command: SetSchedule | ClearSchedule | PauseSchedule | ResumeSchedule,
    row: ScheduleRow | None,
    now: float,
) -> SchedulePlan:
    """Return what a command changes in a schedule. It is a pure function.

    A command that is repeated changes nothing. Raises `TimesRefused` or `StateConflict` if the
    times that would be in force cannot be computed on this machine.
    """
    key = ScheduleKey(command.namespace, command.name)
    match command:
        case SetSchedule():
            if row is not None and row.override == command.spec:
                return SchedulePlan(row)
            _check_set(command.spec, now)
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
            _first_time(command.name, row.declared, now, now)
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
            following = max(row.next_at, _first_time(command.name, row.spec, row.anchor_at, now))
            changed = replace(row, paused_at=None, paused_by=None, next_at=following)
            act = NewAudit(command.by, ActionName.RESUME_SCHEDULE, *key)
            return SchedulePlan(changed, [changed], act=act)
        case _:
            assert_never(command)


def declared_changes(
    rows: Mapping[ScheduleKey, ScheduleRow], declared: Iterable[DeclaredSchedule], now: float
) -> SchedulePlan:
    """Return what changes in the schedules by what a version declares. It is a pure function.

    What is no longer declared ends, unless a person has set it. A schedule that cannot be computed
    here is stored without a next time, and computed later: see `ScheduleRow.has_next`.
    """
    wanted = {item.key: item.spec for item in declared}
    changed = []
    for key, spec in wanted.items():
        row = rows.get(key)
        if row is None:
            changed.append(replace(_begun(key, spec, now, _next_or_none), declared=spec))
        elif row.declared != spec:
            changed.append(_with(row, now, _next_or_none, declared=spec))
    removed = []
    for key, row in rows.items():
        if row.declared is None or key in wanted:
            continue
        if row.override is None:
            removed.append(key)
        else:
            changed.append(replace(row, declared=None))
    return SchedulePlan(None, changed, removed)


def _begun(
    key: ScheduleKey,
    spec: ScheduleSpec,
    now: float,
    first: Callable[[Timing, float], float | None] = next_time,
) -> ScheduleRow:
    """Return a new schedule. Its first time is after now."""
    found = first(timing_of(spec, now), now)
    return ScheduleRow(*key, next_at=now if found is None else found, anchor_at=now)


def _with(
    row: ScheduleRow,
    now: float,
    first: Callable[[Timing, float], float | None] = next_time,
    **changes: Any,
) -> ScheduleRow:
    """Return a changed schedule. If its times are others now, the next one is after now.

    With the same times, those that were missed are not lost. The next time never goes back before
    the last one that got its task.
    """
    after = replace(row, **changes)
    before = row.override or row.declared
    if before is None or before.timing == after.spec.timing:
        return after
    begin = now if row.last_for is None else max(now, row.last_for)
    found = first(timing_of(after.spec, begin), begin)
    return replace(after, anchor_at=begin, next_at=begin if found is None else found)


def _next_or_none(timing: Timing, after: float) -> float | None:
    """Return the first time after `after`; None if this machine cannot compute it."""
    try:
        return next_time(timing, after)
    except Exception:  # the schedule is held then, with the reason
        return None


def _check_set(spec: ScheduleSpec, now: float) -> None:
    """Refuse what a person sets if it has no times here. Raises `TimesRefused`."""
    try:
        next_time(timing_of(spec, now), now)
    except Exception as error:
        raise TimesRefused(fault_text(error)) from None


def _first_time(name: str, spec: ScheduleSpec, anchor_at: float, now: float) -> float:
    """Return the first time after now of what is to be in force. Raises `StateConflict`."""
    try:
        return next_time(timing_of(spec, anchor_at), now)
    except Exception as error:
        raise StateConflict(
            f"the schedule {name} cannot go on, as the tracker cannot compute it: "
            f"{fault_text(error)}; set other times, or mend this first"
        ) from None


def _when(spec: ScheduleSpec) -> dict[str, Any]:
    if spec.cron is None:
        return {"every_seconds": spec.every_seconds}
    return {"cron": spec.cron, "timezone": spec.timezone}
