"""The submissions of a tick whose key is taken: their answers, and the fate of their batch."""

from collections.abc import Sequence

from raytasks.handling.submission import is_later_in_batch
from raytasks.model.tasks import Duplicate, NewTask


def note_held(held: dict[str, Duplicate], duplicates: dict[str, Duplicate]) -> None:
    """Add the submissions whose unique key is held to the duplicates of a tick.

    A repeated request gets the answer of the first one, also if that was not stored.
    """
    for task_id, known in duplicates.items():
        duplicates[task_id] = held.get(known.task_id, known) if known.same else known
    duplicates.update(held)


def refuse_whole_batches(new: Sequence[NewTask], duplicates: dict[str, Duplicate]) -> None:
    """Refuse all tasks of a batch if the key of one of them is taken."""
    batches: list[list[NewTask]] = []
    for task in new:  # the tasks of a batch are neighbours
        if batches and task.idempotency_key is not None and is_later_in_batch(task.idempotency_key):
            batches[-1].append(task)
        else:
            batches.append([task])
    for batch in batches:
        if any(task.task_id in duplicates for task in batch):
            for task in batch:
                duplicates.setdefault(task.task_id, Duplicate("", same=False))
