"""The filter on the events of a task."""

import pytest

from raytasks.model.event_filter import EventFilter, EventKind, LogLevel, level_number
from raytasks.model.states import State
from raytasks.model.task_events import LogEntry, StateEntry

CHANGE = StateEntry(0, State.PENDING, 0, 0.0)


def line(level: str) -> LogEntry:
    return LogEntry(1, 1, 1, level, "text", 0.0)


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        (EventFilter(), ["state", "DEBUG", "WARNING", "progress"]),
        (EventFilter(logs=False), ["state", "progress"]),
        (EventFilter(level=LogLevel.WARNING), ["state", "WARNING", "progress"]),
        (EventFilter(frozenset({EventKind.STATE})), ["state"]),
        (EventFilter(frozenset({EventKind.LOG}), LogLevel.INFO), ["WARNING"]),
        (EventFilter(frozenset({EventKind.LOG}), logs=False), []),
        (EventFilter(frozenset({EventKind.PROGRESS, EventKind.STATE})), ["state", "progress"]),
    ],
)
def test_what_is_taken(wanted: EventFilter, taken: list[str]) -> None:
    found = ["state"] if wanted.takes(CHANGE) else []
    found += [level for level in ("DEBUG", "WARNING") if wanted.takes(line(level))]
    found += ["progress"] if wanted.takes_progress else []
    assert found == taken


@pytest.mark.parametrize(
    ("name", "number"), [("ERROR", 40), ("Level 25", 25), ("warning", 30), ("own", 20)]
)
def test_the_number_of_a_level(name: str, number: int) -> None:
    assert level_number(name) == number
