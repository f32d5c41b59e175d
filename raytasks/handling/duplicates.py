"""The answer to a submission of which some tasks were not stored: whose tasks answer it."""

from collections.abc import Mapping, Sequence

from raytasks.model.json_places import pointer
from raytasks.model.tasks import Duplicate, KeyConflict, NewTask, UniqueConflict
from raytasks.model.uniqueness import OnConflict

_NAMED = 10


def owners_of(
    new: Sequence[NewTask], duplicates: Mapping[str, Duplicate], *, first: int | None = None
) -> list[str]:
    """Return the ids of the tasks that answer a submission, in its order.

    That is the task itself, or the one that holds one of its keys. In a batch, `first` is the place
    of the first of these tasks.

    Raises `KeyConflict` if an idempotency key was used for another request. Raises
    `UniqueConflict` if a unique key is held, and its holder cannot be the answer.
    """
    if not duplicates:
        return [task.task_id for task in new]
    refused: list[tuple[int, Duplicate]] = []
    owners = []
    for place, task in enumerate(new):
        found = duplicates.get(task.task_id)
        if found is None:
            owners.append(task.task_id)
        elif found.same:
            owners.append(found.task_id)
        elif found.unique is None:
            made = f", which made task {found.task_id}" if found.task_id else ""
            raise KeyConflict(
                f"the idempotency key was used for another request{made}; "
                "use a new key for a new request"
            )
        elif found.task_id:
            refused.append((place, found))
    if refused:
        raise _conflict(refused, {task.task_id: place for place, task in enumerate(new)}, first)
    return owners


def answered_places(new: Sequence[NewTask], duplicates: Mapping[str, Duplicate]) -> list[int]:
    """Return the places of the tasks that were answered with the holder of their unique key."""
    if not duplicates:
        return []
    found = enumerate(duplicates.get(task.task_id) for task in new)
    return [place for place, one in found if one is not None and one.unique is not None]


def _conflict(
    refused: Sequence[tuple[int, Duplicate]], own: Mapping[str, int], first: int | None
) -> UniqueConflict:
    """Return the error; a task of the refused batch itself, `own`, has only a place."""
    holder = refused[0][1]
    why = (
        "and has begun, so it cannot be replaced"
        if holder.unique is OnConflict.REPLACE
        else "which has not ended"
    )
    if first is None:
        return UniqueConflict(
            f"the unique key is held by the task {holder.task_id}, {why}", ["/unique"]
        )
    places = [first + place for place, _ in refused]
    named = ", ".join(map(str, places[:_NAMED])) + (", …" if len(places) > _NAMED else "")
    by = f"the task {holder.task_id}, {why}"
    if holder.task_id in own:
        by = f"the task {first + own[holder.task_id]} of the batch itself"
    return UniqueConflict(
        f"nothing of the batch was accepted: the unique keys of its tasks {named} are held; "
        f"the first one by {by}",
        [pointer("tasks", place, "unique") for place in places],
    )
