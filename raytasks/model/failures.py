"""The groups of FAILED tasks, by their type and the class of their error. Data only.

Times are in seconds since the epoch (UTC).
"""

from collections.abc import Sequence

from msgspec import Struct

HOUR_SECONDS = 3600.0

SERIES_HOURS = 24
"""Number of hours of a group's series."""


class ErrorGroup(Struct, frozen=True):
    """The tasks of a type that are FAILED now, with one class of error.

    - `first_at`, `last_at`: when the first and the last of them failed.
    - `newest_task_id`, `message`: the task that failed last, and the message of its error.
    - `hours`: how many of them failed in each of the last hours, the present one last.
    """

    task_type: str
    error_type: str
    count: int
    first_at: float
    last_at: float
    newest_task_id: str
    message: str
    hours: Sequence[int]


class ErrorGroups(Struct, frozen=True):
    """The groups of a namespace, the largest first. The first hour of their series is `since`.

    Of more groups than are shown, the smallest are left out; their number is `omitted`.
    """

    since: float
    groups: Sequence[ErrorGroup]
    omitted: int = 0
