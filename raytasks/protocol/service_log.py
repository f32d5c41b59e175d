"""The lines of the service's log, as the tracker keeps them and others read them."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

RANKS: Mapping[str, int] = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}
"""The levels, with the numbers of Python's logging."""

_UNKNOWN_RANK = RANKS["INFO"]

MAX_LINES = 1000
"""Maximum number of lines of one answer."""


class ServiceLine(Struct, frozen=True, omit_defaults=True, gc=False):
    """A line of the log. Its `number` counts the lines of one process of the tracker from 1.

    The time `at` is in seconds since the epoch (UTC).
    """

    number: int
    at: float
    level: str
    message: str
    fields: Mapping[str, str | int | float | bool] = {}

    @property
    def rank(self) -> int:
        """The number of the level; that of INFO for a level of somebody's own."""
        return RANKS.get(self.level, _UNKNOWN_RANK)


class LogFilter(Struct, frozen=True, omit_defaults=True):
    """The lines that are asked for. None: any.

    - `level`: the lowest level.
    - `namespace`: lines about another namespace are left out; those about none are not.
    """

    level: str | None = None
    task_type: str | None = None
    namespace: str | None = None

    def takes(self, line: ServiceLine) -> bool:
        """Return whether a line is asked for."""
        if self.level is not None and line.rank < RANKS.get(self.level, 0):
            return False
        if self.task_type is not None and line.fields.get("task_type") != self.task_type:
            return False
        return self.namespace is None or self.namespace == line.fields.get(
            "namespace", self.namespace
        )


class LogPage(Struct, frozen=True, omit_defaults=True):
    """Lines of the log, in order, up to number `last`.

    - `stream`: names the process of the tracker. Numbers of another one mean nothing in this one.
    - `gap`: lines between the place that was asked for and these are gone.
    - `more`: further lines can be had at once.
    """

    stream: int
    last: int
    lines: Sequence[ServiceLine] = ()
    gap: bool = False
    more: bool = False
