"""The part of the client for asyncio that changes single tasks: update, retry, delete."""

from abc import abstractmethod
from typing import TypeVar, Unpack

from raytasks.client import change_requests as calls
from raytasks.client.api import Api
from raytasks.client.documents import ChangeOptions, TaskDocument
from raytasks.client.steps import Steps

T = TypeVar("T")


class AsyncChanges:
    """The methods of `AsyncClient` that change single tasks."""

    _api: Api

    @abstractmethod
    async def _run(self, steps: Steps[T]) -> T:
        """Make the requests of some steps, and return their result."""

    async def update(
        self, task_id: str, *, revision: int, **changes: Unpack[ChangeOptions]
    ) -> TaskDocument:
        """Change a task that waits, if it still has this `revision`, and return it.

        The `changes` are those of `PATCH /tasks/{task_id}`: `priority`, `max_attempts`,
        `timeout_seconds`, `delay_seconds` or `run_at`, `payload`, `tags`, `limit_values`,
        `expires_seconds` or `expires_at`. Raises `RevisionChanged` if the task has changed since,
        and `Conflict` if it runs or has ended.
        """
        task: TaskDocument = await self._run(
            self._api.ask(calls.update_call(task_id, revision, changes))
        )
        return task

    async def retry(
        self, task_id: str, *, revision: int | None = None, **changes: Unpack[ChangeOptions]
    ) -> TaskDocument:
        """Run a FAILED or CANCELLED task again, and return it.

        With `changes`, some of its values are others from then on; see `update`. With its
        `revision` the request is sent again if the connection breaks, and retries the task once. It
        raises `RevisionChanged` if the task has changed since.
        """
        task: TaskDocument = await self._run(
            self._api.ask(calls.retry_call(task_id, revision, changes))
        )
        return task

    async def delete(self, task_id: str) -> None:
        """Delete a task that has ended, with its attempts, log lines and files.

        Raises `Conflict` if it has not ended.
        """
        await self._run(calls.delete_steps(self._api, task_id))
