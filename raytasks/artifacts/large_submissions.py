"""Submissions with large payloads: their files are written first, and deleted if refused."""

import asyncio
from collections.abc import Awaitable, Callable, Container, Mapping, Sequence
from typing import Any, TypeVar

from raytasks.artifacts.large_values import LargeValues
from raytasks.model.tasks import NewTask, RaytasksError, StoreUnavailable

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
    submitted, and the duplicates. Raises `ArtifactsUnavailable`, and what `submit` raises.
    """
    if not any(values.is_large(task.payload) for task in tasks):
        return tasks, await submit(tasks)
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
