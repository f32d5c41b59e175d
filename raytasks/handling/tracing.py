"""The trace context of submissions: each task keeps the one it was submitted in."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from msgspec.structs import replace

from raytasks.model.tasks import NewTask
from raytasks.observe.traces import sending


@contextmanager
def sent(tasks: Sequence[NewTask], context: str | None = None) -> Iterator[Sequence[NewTask]]:
    """Record the submission of tasks within the block; the value is the tasks to be sent.

    `context` is the trace context of the request; without it, the present span counts.
    """
    types, ids = [task.task_type for task in tasks], [task.task_id for task in tasks]
    with sending(types, ids, context) as kept:
        yield tasks if kept is None else [replace(task, trace_context=kept) for task in tasks]
