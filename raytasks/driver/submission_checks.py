"""The checks of submissions in drivers, handlers and Serve deployments, before they are sent.

The checks are steps: a generator that yields tasks whose idempotency keys are to be looked up, and
gets the duplicates among them. A caller carries the steps out, on an event loop or not. Only what
is refused is looked up: it may have been accepted before, and would be refused only today.
"""

import os
from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, TypeAlias, TypeVar

from raytasks.handling.declaration import task_type_of
from raytasks.handling.registry import Registry
from raytasks.handling.repeated_requests import keyed_batch, keyed_submission, were_accepted
from raytasks.handling.submission import MAX_ERRORS, check_batch, check_submission, signed
from raytasks.handling.terms import DriverTerms
from raytasks.model.bounds import MAX_IN_BATCH
from raytasks.model.errors import FieldError, InvalidSubmission
from raytasks.model.tasks import Duplicate, NewTask
from raytasks.protocol.person import person_here
from raytasks.settings import load_settings

Answer = TypeVar("Answer")


class Door(Protocol):
    """The destination of submissions: the service of the cluster, or the queue of a test.

    A test has its own handlers and clock. They are None for those of the process.
    """

    @property
    def registry(self) -> Registry | None:
        """The handlers that submissions are checked against."""

    @property
    def clock(self) -> Callable[[], float] | None:
        """The clock of a test, in seconds since the epoch; None for the real one."""

    def call(self, coroutine: Coroutine[Any, Any, Answer], seconds: float | None = None) -> Answer:
        """Run a coroutine of this door, and return its result."""

    async def call_async(self, coroutine: Coroutine[Any, Any, Answer]) -> Answer:
        """Run a coroutine of this door, and await it on the caller's event loop."""

    async def terms(self) -> DriverTerms:
        """Return what a submission must keep to."""

    async def submit(self, tasks: Sequence[NewTask]) -> dict[str, Duplicate]:
        """Submit tasks, all or none. Return the duplicates: those that existed already."""

    async def repeated(self, tasks: Sequence[NewTask]) -> dict[str, Duplicate]:
        """Return those of the tasks whose idempotency keys are taken."""

    async def result(self, task_id: str) -> Any:
        """Wait until a task has ended, and return its result."""

    def ref(self, task_id: str) -> Any:
        """Return a reference to the result of a task."""


@dataclass(frozen=True)
class CheckedTasks:
    """Tasks that are sent in one call.

    Those that were `accepted` before are not sent. For each, that says which task has its key.
    """

    tasks: Sequence[NewTask]
    accepted: Mapping[str, Duplicate] | None = None


Checks: TypeAlias = Generator[Sequence[NewTask], Mapping[str, Duplicate], Answer]
"""The steps of a check, and its result."""


def check_one(
    door: Door, request: Mapping[str, Any], idempotency_key: str | None, terms: DriverTerms
) -> Checks[CheckedTasks]:
    """Check a request. Raises `InvalidSubmission`."""
    try:
        task = check_submission(
            request,
            _registry_of(door),
            idempotency_key=idempotency_key,
            now=_now_of(door),
            bounds=terms.bounds,
            callbacks=terms.callbacks,
        )
    except InvalidSubmission:
        keyed = keyed_submission(request, idempotency_key=idempotency_key, bounds=terms.bounds)
        before = yield from _accepted_before(keyed)
        if before is None:
            raise
        return before
    return CheckedTasks(signed([task], person_here()))


def check_all(
    door: Door,
    tasks: Iterable[Mapping[str, Any]],
    idempotency_key: str | None,
    terms: DriverTerms,
) -> Checks[list[CheckedTasks]]:
    """Check any number of requests; return the tasks call by call. Raises `InvalidSubmission`."""
    asked = [_by_name(task) for task in tasks]
    checked: list[CheckedTasks] = []
    errors: list[FieldError] = []
    for begin in range(0, len(asked), MAX_IN_BATCH):
        key = idempotency_key
        if key is not None and begin:
            key = f"{key}+{begin}"
        value = {"tasks": asked[begin : begin + MAX_IN_BATCH]}
        try:
            batch = check_batch(
                value,
                _registry_of(door),
                idempotency_key=key,
                now=_now_of(door),
                bounds=terms.bounds,
                callbacks=terms.callbacks,
            )
        except InvalidSubmission as error:
            keyed = keyed_batch(value, idempotency_key=key, bounds=terms.bounds)
            before = yield from _accepted_before(keyed)
            if before is not None:
                checked.append(before)
                continue
            errors += [_moved(found, begin) for found in error.errors]
            if len(errors) >= MAX_ERRORS:
                break
        else:
            parts = _parts(signed(batch, person_here()), terms.max_batch_bytes)
            checked += [CheckedTasks(part) for part in parts]
    if errors:
        raise InvalidSubmission("nothing was submitted", errors[:MAX_ERRORS])
    return checked


def carry_out(door: Door, checks: Checks[Answer]) -> Answer:
    """Carry out the steps of a check, and return its result."""
    found: Any = None
    while True:
        try:
            keyed = checks.send(found)
        except StopIteration as stop:
            result: Answer = stop.value
            return result
        found = door.call(door.repeated(keyed))


async def carry_out_async(door: Door, checks: Checks[Answer]) -> Answer:
    """Carry out the steps of a check on an event loop."""
    found: Any = None
    while True:
        try:
            keyed = checks.send(found)
        except StopIteration as stop:
            result: Answer = stop.value
            return result
        found = await door.call_async(door.repeated(keyed))


def _accepted_before(keyed: Sequence[NewTask]) -> Checks[CheckedTasks | None]:
    """Return the tasks of a refused request if it was accepted before."""
    if not keyed:
        return None
    duplicates = yield keyed
    return CheckedTasks(keyed, duplicates) if were_accepted(keyed, duplicates) else None


def _by_name(task: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a request with the name of its type.

    An invalid request is refused later, with its index.
    """
    if not isinstance(task, Mapping) or not callable(task.get("task_type")):
        return task
    return {**task, "task_type": task_type_of(task["task_type"])}


def _moved(error: FieldError, by: int) -> FieldError:
    match error.pointer.split("/"):
        case ["", "tasks", index, *rest] if index.isdigit():
            return FieldError("/".join(["", "tasks", str(int(index) + by), *rest]), error.message)
        case _:
            return error


def _parts(batch: Sequence[NewTask], max_bytes: int) -> Iterator[list[NewTask]]:
    part: list[NewTask] = []
    size = 0
    for task in batch:
        if part and size + len(task.payload) > max_bytes:
            yield part
            part, size = [], 0
        part.append(task)
        size += len(task.payload)
    yield part


def _registry_of(door: Door) -> Registry:
    return _registry(os.getcwd()) if door.registry is None else door.registry


def _now_of(door: Door) -> float | None:
    return None if door.clock is None else door.clock()


@cache
def _registry(folder: str) -> Registry:
    return Registry.load(load_settings().task_modules, folder)
