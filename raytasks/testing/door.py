"""The door of the test kit: `raytasks.submit` and the like go to the queue, not to a cluster."""

from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from raytasks.driver.submission_checks import carry_out, check_one
from raytasks.handling.duplicates import answered_places, owners_of
from raytasks.handling.registry import Registry
from raytasks.handling.terms import DriverTerms
from raytasks.model.states import State
from raytasks.model.tasks import Duplicate, NewTask, TaskFailed
from raytasks.testing.clock import MAX_SECONDS, FakeClock
from raytasks.testing.in_process_service import InProcessService
from raytasks.testing.isolation import NO_CLUSTER, done
from raytasks.testing.task import QueuedTask

Answer = TypeVar("Answer")


class KitRef:
    """The `task.ref` of the test kit: it can be awaited, and has `future()`. It needs no Ray."""

    def __init__(self, get: Callable[[], Any]) -> None:
        self._get = get

    def __await__(self) -> Generator[Any, None, Any]:
        return self._result().__await__()

    async def _result(self) -> Any:
        return self._get()

    def __reduce__(self) -> NoReturn:
        raise RuntimeError(f"a reference of the test kit cannot leave the process: {NO_CLUSTER}")


class QueueDoor:
    """The queue of a test, as `raytasks.submit` sees it.

    `pass_time` runs a task to its end, within so many seconds of the clock.
    """

    def __init__(
        self, service: InProcessService, pass_time: Callable[[str, float], None], clock: FakeClock
    ) -> None:
        self._service = service
        self._pass_time = pass_time
        self._seconds: float | None = None
        self.clock = clock

    @property
    def registry(self) -> Registry:
        """The handlers of the queue."""
        return self._service.registry

    def call(self, coroutine: Coroutine[Any, Any, Answer], seconds: float | None = None) -> Answer:
        """Run a coroutine of this door.

        What it waits for has `seconds` of the clock. Raises `TimeoutError` after that.
        """
        before, self._seconds = self._seconds, seconds
        try:
            return done(coroutine)
        finally:
            self._seconds = before

    async def call_async(self, coroutine: Coroutine[Any, Any, Answer]) -> Answer:
        """Run a coroutine of this door."""
        return await coroutine

    async def terms(self) -> DriverTerms:
        """Return the terms that the settings of the queue give."""
        service = self._service
        return DriverTerms(
            service.bench.values,
            service.payload_bounds,
            service.settings.max_batch_bytes,
            callbacks=service.settings.callback_terms,
        )

    def submit_one(
        self, request: Mapping[str, Any], idempotency_key: str | None
    ) -> tuple[str, bool]:
        """Submit a task; return its id, or the id of the task that holds one of its keys.

        Return also whether that is the holder of its unique key. Raises the errors of
        `raytasks.submit`.
        """
        checked = carry_out(self, check_one(self, request, idempotency_key, done(self.terms())))
        duplicates = checked.accepted
        if duplicates is None:
            duplicates = self._service.submit_all(checked.tasks)
        [task_id] = owners_of(checked.tasks, duplicates)
        return task_id, bool(answered_places(checked.tasks, duplicates))

    async def submit(self, tasks: Sequence[NewTask]) -> dict[str, Duplicate]:
        """Store tasks, all or none."""
        return self._service.submit_all(tasks)

    async def repeated(self, tasks: Sequence[NewTask]) -> dict[str, Duplicate]:
        """Return those of the tasks whose idempotency keys are taken."""
        return self._service.repeated(tasks)

    async def result(self, task_id: str) -> Any:
        """Run the queue until the task has ended. Do not call it within a handler."""
        return self._result(task_id)

    def ref(self, task_id: str) -> KitRef:
        """Return an awaitable reference to the task's result."""
        return KitRef(lambda: self._result(task_id))

    def _result(self, task_id: str) -> Any:
        task = QueuedTask(self._service, task_id)
        if not task.state.final:
            bound = self._seconds
            self._pass_time(task_id, MAX_SECONDS if bound is None else max(bound, 0.0))
            if bound is not None and not task.state.final:
                raise TimeoutError(f"not within {bound:g} seconds of the test's clock")
        if task.state is not State.COMPLETED:
            error = task.error
            told = "" if error is None else f": {error['type']}: {error['message']}"
            raise TaskFailed(f"task {task_id} is {task.state}{told}")
        return task.result
