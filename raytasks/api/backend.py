"""What the API needs of the tracker. The Ray actor's handle is behind it, or the core itself."""

from collections.abc import Sequence
from typing import Any, Protocol

from raytasks.model.bulk import BulkFilter, BulkOperation, NewBulk
from raytasks.model.events import EventPage, EventQuery
from raytasks.model.tasks import Accepted, Attempt, NewTask, Page, Task, TaskQuery
from raytasks.protocol.messages import Feed, FeedPart


class Backend(Protocol):
    """The tracker as the API calls it; see `raytasks.tracker.core.Tracker` for each method."""

    async def submit(self, tasks: Sequence[NewTask]) -> Accepted:
        """Store new tasks, all or none; return those whose key is taken, by their ids.

        Raises `BacklogFull`, `StoreUnavailable`.
        """

    async def cancel(self, task_id: str, namespace: str | None = None) -> Task:
        """Cancel a task. Raises `TaskNotFound`, `StateConflict`, `StoreUnavailable`."""

    async def retry(self, task_id: str, namespace: str | None = None) -> Task:
        """Run a task again. Raises `TaskNotFound`, `StateConflict`, `StoreUnavailable`."""

    async def task(self, task_id: str) -> tuple[Task, list[Attempt]] | None:
        """Return a task with its ended attempts. Raises `StoreUnavailable`."""

    async def tasks(self, task_ids: Sequence[str]) -> dict[str, Task]:
        """Return those of the tasks that exist, by id. Raises `StoreUnavailable`."""

    async def page(self, query: TaskQuery) -> Page:
        """Return a page of the list. Raises `StoreUnavailable`."""

    async def events(self, queries: Sequence[EventQuery]) -> list[EventPage | None]:
        """Return the events of tasks after a place. Raises `StoreUnavailable`."""

    async def changes(
        self, epoch: int, after: int, seconds: float, part: FeedPart = FeedPart.CHANGES
    ) -> Feed:
        """Return what came of a part of the feed after a number."""

    async def bulk_start(self, new: NewBulk) -> tuple[BulkOperation, bool]:
        """Begin a bulk operation; return it, and whether it is new.

        Raises `KeyConflict`, `BacklogFull`, `StoreUnavailable`.
        """

    async def bulk_count(self, asked: BulkFilter) -> int | None:
        """Return how many tasks a filter matches. Raises `StoreUnavailable`."""

    async def bulk_get(self, bulk_id: str, namespace: str) -> BulkOperation | None:
        """Return a bulk operation. Raises `StoreUnavailable`."""

    async def bulk_list(self, namespace: str) -> list[BulkOperation]:
        """Return the newest bulk operations. Raises `StoreUnavailable`."""

    async def stats(self, namespace: str) -> dict[str, Any]:
        """Return counts and statistics. Raises `StoreUnavailable`."""

    async def waiting_for(self, task_id: str) -> list[dict[str, Any]] | None:
        """Return what a claimed task waits for that has not begun."""

    async def health(self) -> dict[str, Any]:
        """Return how database, tracker, runners and Ray are."""
