"""The filter of a client on the events of a task."""

import logging
from dataclasses import dataclass
from enum import StrEnum

from raytasks.model.task_events import Event, LogEntry


class EventKind(StrEnum):
    """The kinds of events of a task's stream that a client can choose; `end` always comes."""

    STATE = "state"
    LOG = "log"
    PROGRESS = "progress"


class LogLevel(StrEnum):
    """The levels of log lines, the lowest first."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"
    CRITICAL = "CRITICAL"


@dataclass(frozen=True)
class EventFilter:
    """The wanted kinds of events (empty: all), and the lowest wanted level of log lines.

    Without `logs` there are no log lines, whatever the kinds are.
    """

    kinds: frozenset[EventKind] = frozenset()
    level: LogLevel = LogLevel.DEBUG
    logs: bool = True

    def takes(self, event: Event) -> bool:
        """Return whether an event is wanted."""
        if isinstance(event, LogEntry):
            if not self.logs or not self._takes_kind(EventKind.LOG):
                return False
            return self.level is LogLevel.DEBUG or level_number(event.level) >= level_number(
                self.level
            )
        return self._takes_kind(EventKind.STATE)

    @property
    def takes_progress(self) -> bool:
        """Whether progress is wanted."""
        return self._takes_kind(EventKind.PROGRESS)

    def _takes_kind(self, kind: EventKind) -> bool:
        return not self.kinds or kind in self.kinds


ALL_EVENTS = EventFilter()
"""The filter that takes every event."""


def level_number(name: str) -> int:
    """Return the number of a level by its name. One that nobody knows counts as INFO."""
    if name.startswith("Level ") and name[6:].isdecimal():  # logging's name of any other number
        return int(name[6:])
    return logging.getLevelNamesMapping().get(name.upper(), logging.INFO)
