"""The backend of the API: the tracker, as the Ray actor's handle or as the core itself."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from raytasks.model.tasks import Accepted, NewTask
from raytasks.protocol.commands import Command
from raytasks.protocol.messages import Feed, FeedPart
from raytasks.protocol.queries import Reader

Answer = TypeVar("Answer")


class Backend(Reader, Protocol):
    """The tracker as the API calls it; see `raytasks.tracker.core.Tracker` for each method."""

    async def submit(self, tasks: Sequence[NewTask]) -> Accepted:
        """Store new tasks, all or none; return by id those whose idempotency key is taken.

        Raises `BacklogFull`, `StoreUnavailable`.
        """

    async def execute(self, command: Command[Answer]) -> Answer:
        """Carry out a command.

        Raises `StoreUnavailable`, and the errors that the command's class names.
        """

    async def changes(
        self, epoch: int, after: int, seconds: float, part: FeedPart = FeedPart.CHANGES
    ) -> Feed:
        """Return the entries of a part of the feed after a number."""
