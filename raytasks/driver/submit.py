"""Submit tasks and get their results, in driver scripts, handlers and Serve deployments.

Each function has a form for plain code and one for event loops. Ray is imported only when a call
goes to a cluster. Within the test kit, all calls go to its queue.
"""

import math
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from raytasks.driver.submission_checks import (
    CheckedTasks,
    Door,
    carry_out,
    carry_out_async,
    check_all,
    check_one,
)
from raytasks.handling.attempt_waits import waiting_for
from raytasks.handling.declaration import task_type_of
from raytasks.handling.duplicates import answered_places, owners_of
from raytasks.handling.handler_types import Called, Payload
from raytasks.handling.tracing import sent
from raytasks.model.tasks import Duplicate, NewTask, RaytasksError


@dataclass(frozen=True)
class SubmittedTask:
    """A task that is on disk. It can be sent to other processes.

    `await task`, `task.wait()` and `ray.get(task.ref)` return its result. All raise `TaskFailed`,
    with the remote error in its text, if the task did not complete. A `duplicate` is no new task:
    it was open, and holds the unique key of the submission.
    """

    id: str
    duplicate: bool = field(default=False, kw_only=True, compare=False)
    _refs: list[Any] = field(default_factory=list, repr=False, compare=False)

    @property
    def ref(self) -> Any:
        """A Ray object reference to the result.

        It is made when it is first read. Raises `NoService`.
        """
        if not self._refs:
            self._refs.append(_door().ref(self.id))
        return self._refs[0]

    def wait(self, timeout_seconds: float | None = None) -> Any:
        """Wait for the end of the task, and return its result. Do not call it on an event loop.

        Raises `TaskFailed`, `TaskNotFound`, `NoService`, and `TimeoutError` after
        `timeout_seconds`. Raises `ValueError` if that is NaN.
        """
        if timeout_seconds is not None and math.isnan(timeout_seconds):
            raise ValueError("the timeout_seconds are nan: give a number of seconds, or None")
        door = _door()
        with waiting_for(self.id):
            return door.call(door.result(self.id), timeout_seconds)

    def __await__(self) -> Generator[Any, None, Any]:
        return result_async(self.id).__await__()

    def __reduce__(self) -> tuple[Any, ...]:
        # A reference belongs to its process, and may not outlive it. So the other process makes its
        # own.
        return _again, (self.id, self.duplicate)


def _again(task_id: str, duplicate: bool) -> SubmittedTask:
    return SubmittedTask(task_id, duplicate=duplicate)


class PartlySubmitted(RaytasksError):
    """A call of `submit_many` failed after earlier ones had succeeded. `tasks` are on disk.

    Its `__cause__` is the error. With an idempotency key, all can be submitted again.
    """

    def __init__(self, message: str, tasks: Sequence[SubmittedTask]) -> None:
        super().__init__(message, tasks)  # all of them, so that it can be pickled
        self.tasks = tuple(tasks)

    def __str__(self) -> str:
        return str(self.args[0])


def submit(
    task_type: Called[Payload],
    payload: Payload,
    *,
    idempotency_key: str | None = None,
    **options: Any,
) -> SubmittedTask:
    """Submit a task to the raytasks service of the Ray cluster that this process has joined.

    The first argument is the function or class of the handler, or the name of its type. The
    `payload` is a JSON value, or a model. For a function or class, a type checker refuses a payload
    of another type. The `options` are those of `POST /tasks/`: `priority`, `max_attempts`,
    `timeout_seconds`, `tags`, `limit_values`, `callback_url`, `delay_seconds` or `run_at`,
    `unique`, `expires_seconds` or `expires_at`. On return the task is on disk. If an earlier
    submission had the same `idempotency_key`, its task is returned. If another task holds the
    unique key, that task is returned, unless `on_conflict` says otherwise.

    Raises `InvalidSubmission` for an unknown type or a bad payload. Raises `KeyConflict` if the
    earlier submission was a different one, and `UniqueConflict` if the unique key is held. Raises
    also `BacklogFull`, `StoreUnavailable`, and `NoService`.

    The call blocks until the service answers. On an event loop, use `submit_async`.
    """
    door = _door()
    request = {"task_type": task_type_of(task_type), "payload": payload, **options}
    checks = check_one(door, request, idempotency_key, door.call(door.terms()))
    [task] = _sent(door, carry_out(door, checks))
    return task


async def submit_async(
    task_type: Called[Payload],
    payload: Payload,
    *,
    idempotency_key: str | None = None,
    **options: Any,
) -> SubmittedTask:
    """Submit a task like `submit`, on an event loop: of an async handler, actor, or deployment."""
    door = _door()
    request = {"task_type": task_type_of(task_type), "payload": payload, **options}
    checks = check_one(door, request, idempotency_key, await door.call_async(door.terms()))
    [task] = await _sent_async(door, await carry_out_async(door, checks))
    return task


def submit_many(
    tasks: Iterable[Mapping[str, Any]], *, idempotency_key: str | None = None
) -> list[SubmittedTask]:
    """Submit any number of tasks, and return them in their order.

    Each is `{"task_type": ..., "payload": ..., ...}` with the options of `submit`. All are checked
    before the first is sent: `InvalidSubmission` names the bad ones by their index. They are sent
    in calls of up to 1,000 tasks, and up to MAX_BATCH_BYTES of payloads. Each call is all or none.
    If a call fails after others succeeded, it raises `PartlySubmitted`; else the errors of
    `submit`. With an `idempotency_key` (up to 240 printable ASCII characters), the same call can be
    repeated.
    """
    door = _door()
    checks = check_all(door, tasks, idempotency_key, door.call(door.terms()))
    done: list[SubmittedTask] = []
    for checked in carry_out(door, checks):
        try:
            done += _sent(door, checked, first=len(done))
        except RaytasksError as error:
            if not done:
                raise
            raise _in_part(error, done) from error
    return done


async def submit_many_async(
    tasks: Iterable[Mapping[str, Any]], *, idempotency_key: str | None = None
) -> list[SubmittedTask]:
    """Submit many tasks like `submit_many`, on an event loop."""
    door = _door()
    checks = check_all(door, tasks, idempotency_key, await door.call_async(door.terms()))
    done: list[SubmittedTask] = []
    for checked in await carry_out_async(door, checks):
        try:
            done += await _sent_async(door, checked, first=len(done))
        except RaytasksError as error:
            if not done:
                raise
            raise _in_part(error, done) from error
    return done


def result(task_id: str) -> Any:
    """Return a Ray object reference to the result of any task, by its id; see `SubmittedTask`.

    Raises `NoService`.
    """
    return _door().ref(task_id)


async def result_async(task_id: str) -> Any:
    """Wait, on an event loop, for the end of any task by its id, and return its result.

    Raises `TaskFailed`, `TaskNotFound`, `NoService`.
    """
    door = _door()
    with waiting_for(task_id):
        return await door.call_async(door.result(task_id))


_instead: list[Door] = []
"""The doors of tests that replace the cluster, the latest last."""


def stand_in(door: Door) -> None:
    """Send all calls of this process to a test's door, until it is taken away."""
    _instead.append(door)


def take_away(door: Door) -> None:
    """Remove the door of a test."""
    if door in _instead:
        _instead.remove(door)


def stood_in() -> bool:
    """Return whether calls go to a test's door."""
    return bool(_instead)


def _door() -> Door:
    if _instead:
        return _instead[-1]
    from raytasks.driver.calling import service_door

    return service_door()


def _sent(door: Door, checked: CheckedTasks, *, first: int | None = None) -> list[SubmittedTask]:
    """Send the tasks of one call, if they were not accepted before; return them."""
    if checked.accepted is not None:
        return _tasks(checked.tasks, checked.accepted, first=first)
    with sent(checked.tasks) as traced:
        return _tasks(checked.tasks, door.call(door.submit(traced)), first=first)


async def _sent_async(
    door: Door, checked: CheckedTasks, *, first: int | None = None
) -> list[SubmittedTask]:
    """Send the tasks of one call on an event loop."""
    if checked.accepted is not None:
        return _tasks(checked.tasks, checked.accepted, first=first)
    with sent(checked.tasks) as traced:
        return _tasks(checked.tasks, await door.call_async(door.submit(traced)), first=first)


def _tasks(
    new: Sequence[NewTask], duplicates: Mapping[str, Duplicate], *, first: int | None = None
) -> list[SubmittedTask]:
    owners = owners_of(new, duplicates, first=first)
    places = set(answered_places(new, duplicates))
    return [SubmittedTask(owner, duplicate=place in places) for place, owner in enumerate(owners)]


def _in_part(error: RaytasksError, done: Sequence[SubmittedTask]) -> PartlySubmitted:
    return PartlySubmitted(f"after {len(done)} tasks were submitted: {error}", done)
