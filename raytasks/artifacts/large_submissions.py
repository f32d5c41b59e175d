"""Submissions and changes with large payloads: files are written first, and deleted if refused."""

import asyncio
from collections.abc import Awaitable, Callable, Container, Mapping, Sequence
from typing import Any, TypeVar

from msgspec import UNSET
from msgspec.structs import replace

from raytasks.artifacts.large_values import LargeValues
from raytasks.model.changes import TaskChanges
from raytasks.model.errors import FieldError, InvalidSubmission
from raytasks.model.json_places import pointer
from raytasks.model.tasks import NewTask, RaytasksError, StoreUnavailable, Task
from raytasks.model.uniqueness import OnConflict, decode_unique

Duplicates = TypeVar("Duplicates", bound=Mapping[str, Any])


async def submit_with_payloads(
    values: LargeValues,
    tasks: Sequence[NewTask],
    submit: Callable[[Sequence[NewTask]], Awaitable[Duplicates]],
    known: Callable[[Sequence[str]], Awaitable[Container[str]]],
) -> tuple[Sequence[NewTask], Duplicates]:
    """Submit tasks, with large payloads written to files before, and deleted again if refused.

    The call `submit` stores tasks, all or none, and returns the duplicates among them by id. The
    call `known` returns which of some ids are ids of tasks. Returns the tasks as they were
    submitted, and the duplicates. Raises `ArtifactsUnavailable`, and what `submit` raises. Raises
    `InvalidSubmission` for a large payload that is to replace another.
    """
    large = [(place, task) for place, task in enumerate(tasks) if values.is_large(task.payload)]
    if not large:
        return tasks, await submit(tasks)
    _refuse_replacing(large, values.offload_bytes)
    sent = await asyncio.to_thread(values.externalize_payloads, tasks)
    try:
        duplicates = await submit(sent)
    except StoreUnavailable:  # the tasks may be stored nevertheless
        raise
    except RaytasksError:
        # Ray may have sent the call twice: the first was accepted, and the second refused.
        stored = await known([task.task_id for task in sent])
        await asyncio.to_thread(values.delete_payloads, sent, stored)
        raise
    refused = [task for task in sent if task.task_id in duplicates]
    if refused:
        await asyncio.to_thread(values.delete_payloads, refused)
    return sent, duplicates


def _refuse_replacing(large: Sequence[tuple[int, NewTask]], most: int) -> None:
    """Refuse large payloads that may replace the payload of another task.

    A file belongs to the task under whose id it is written, and that would be another one.
    """
    errors = [
        FieldError(
            pointer("tasks", place, "payload") if task.batch is not None else "/payload",
            f"with on_conflict replace it must be at most {most} bytes (RAYTASKS_OFFLOAD_BYTES)",
        )
        for place, task in large
        if task.unique_spec is not None
        and decode_unique(task.unique_spec).on_conflict is OnConflict.REPLACE
    ]
    if errors:
        raise InvalidSubmission("the payload is too large to replace another", errors)


async def change_with_payload(
    values: LargeValues,
    task_id: str,
    changes: TaskChanges,
    send: Callable[[TaskChanges], Awaitable[Task]],
    known: Callable[[str], Awaitable[Task | None]],
) -> Task:
    """Change a task, with a large payload written to a file before, and deleted again if refused.

    The call `send` changes the task, and returns it as it is then. The call `known` returns a task
    as it is stored. Raises `ArtifactsUnavailable`, and what `send` raises.
    """
    if changes.payload is UNSET or not values.is_large(changes.payload):
        return await send(changes)
    ref = await asyncio.to_thread(values.externalize_new_payload, task_id, changes.payload)
    try:
        after: Task | None = await send(replace(changes, payload="null", payload_ref=ref))
    except StoreUnavailable:  # it may be changed nevertheless
        raise
    except RaytasksError:
        # Ray may have sent the call twice: the first was accepted, and the second refused.
        after = await known(task_id)
        if after is None or after.payload_ref != ref:
            await asyncio.to_thread(values.delete_new_payload, task_id, ref)
        raise
    assert after is not None, "a change without its task"
    if after.payload_ref != ref:  # the same change was made before, with a file of its own
        await asyncio.to_thread(values.delete_new_payload, task_id, ref)
    return after
