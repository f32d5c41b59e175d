"""The tasks that became final in one transaction, and whose end has consequences.

A task is followed if it has a unique key, which its end gives free, or a callback, which its end
sends. Other tasks are not collected, so they cost nothing.
"""

from typing import Protocol


class MaybeFollowed(Protocol):
    """A task, as far as the consequences of its end are concerned."""

    @property
    def unique_spec(self) -> str | None:
        """Its unique key, as JSON; None without one."""

    @property
    def callback_url(self) -> str | None:
        """Who hears of its end; None for nobody."""


def is_followed(task: MaybeFollowed) -> bool:
    """Return whether the end of a task has consequences."""
    return task.unique_spec is not None or task.callback_url is not None


class Finals:
    """The followed tasks that became final in a transaction, by their ids.

    Every path to a final state adds to it: a settled attempt, a cancel by a person, a step of a
    bulk operation, an expiry.
    """

    def __init__(self) -> None:
        self.ids: list[str] = []
