"""The queue of a test: submissions take the real path, and run when the test says so."""

import math
import os
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Any

import httpx

from raytasks.handling.declaration import handler_of, task_type_of
from raytasks.handling.handler_types import Called, Payload
from raytasks.handling.middleware import middleware_on
from raytasks.handling.registry import Registry
from raytasks.model.states import WAITING
from raytasks.model.task_filter import TaskFilter
from raytasks.model.tasks import Task, TaskNotFound
from raytasks.model.time_text import rfc3339
from raytasks.outbox.nudges import silenced
from raytasks.protocol.queries import TaskQuery
from raytasks.settings import load_settings
from raytasks.testing.bench import raise_what_ends_tests
from raytasks.testing.clock import MAX_SECONDS, FakeClock
from raytasks.testing.door import QueueDoor
from raytasks.testing.in_process_service import InProcessService
from raytasks.testing.isolation import standing_in
from raytasks.testing.notes import AttemptRun
from raytasks.testing.runner import PATIENCE
from raytasks.testing.task import QueuedTask
from raytasks.testing.transport import URL, InProcessTransport

MAX_ATTEMPTS = 1000
_NAMED = 3


class NotIdle(AssertionError):
    """Tasks still wait, and the maximum of attempts or of time is reached.

    The text names the tasks.
    """


class Queue:
    """A whole service in this process, with these handlers. The test runs the tasks.

    `handlers` are functions and classes with `@handler`, functions with `@middleware`, and names of
    modules (of a package, all its modules). By default they are those that `raytasks up` would load
    in this directory. The `clock` is moved by the test, or by `run_for` and `run_until_idle`. With
    a `seed`, retries have the jitter of their policy; without one, they have none. Further
    `settings` of raytasks are keywords in lower case: `max_crashes=1`. Neither the environment nor
    `.env` is read.

    Callbacks run like other tasks. They are not sent over the network: the `callback_receiver` gets
    each request and returns the answer. They need a secret: `callback_secrets="default=whsec_…"`.

    Handlers run in the calling thread, one attempt after the other. A handler of batches gets all
    of its tasks that are due, up to the size of its batch. Use the queue as a context manager, or
    close it.
    """

    def __init__(
        self,
        handlers: Iterable[Callable[..., Any] | str] | None = None,
        *,
        clock: FakeClock | None = None,
        seed: int | None = None,
        callback_receiver: Callable[[httpx.Request], httpx.Response] | None = None,
        **settings: Any,
    ) -> None:
        self.clock = clock or FakeClock()
        self.runs: list[AttemptRun] = []
        self._service = InProcessService(
            _registry(handlers),
            self.clock,
            seed=seed,
            callback_receiver=callback_receiver,
            **settings,
        )
        self.url = URL
        self._door = QueueDoor(self._service, self._pass_time_for, self.clock)
        self._standing = ExitStack()
        self._standing.enter_context(standing_in(self._door))
        self._standing.enter_context(silenced())
        self.transport = InProcessTransport(self._service, self._pass_time_for, self.clock)
        self.http = httpx.Client(transport=self.transport, base_url=URL, timeout=PATIENCE)

    def __enter__(self) -> "Queue":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the service. Its database and files are deleted."""
        self._standing.close()
        self.http.close()
        self._service.close()

    @property
    def database_url(self) -> str:
        """The URL of the queue's database, for connections of SQLAlchemy.

        Code that uses `raytasks.outbox` writes into it. What it has committed is taken when the
        test runs tasks. The file is deleted with the queue.
        """
        self._service.has_writers = True
        return self._service.settings.database_url

    def submit(
        self,
        task_type: Called[Payload],
        payload: Payload,
        *,
        idempotency_key: str | None = None,
        **options: Any,
    ) -> QueuedTask:
        """Submit a task, and return it. It runs when the test says so.

        The first argument is the function or class of the handler, or the name of its type. The
        `options` are those of `POST /tasks/`: `priority`, `max_attempts`, `timeout_seconds`,
        `delay_seconds` or `run_at`, and so on. Raises `InvalidSubmission`, `KeyConflict`,
        `UniqueConflict`, `BacklogFull`.
        """
        request = {"task_type": task_type_of(task_type), "payload": payload, **options}
        task_id, duplicate = self._door.submit_one(request, idempotency_key)
        return QueuedTask(self._service, task_id, duplicate=duplicate)

    def get(self, task_id: str) -> dict[str, Any]:
        """Return a task: the JSON document of `GET /tasks/{id}`. Raises `TaskNotFound`."""
        return QueuedTask(self._service, task_id).document

    def task(self, task_id: str) -> QueuedTask:
        """Return a task that was submitted in another way, e.g. over HTTP.

        Raises `TaskNotFound`.
        """
        return QueuedTask(self._service, self._service.task(task_id)[0].task_id)

    def run_due(self, *, max_attempts: int = MAX_ATTEMPTS) -> list[AttemptRun]:
        """Run all tasks that are due now, in the order of rank; return the attempts in order.

        The clock stands still. Raises `NotIdle` if `max_attempts` are not enough.
        """
        return self._run_to(self.clock(), max_attempts)

    def run_for(self, seconds: float, *, max_attempts: int = MAX_ATTEMPTS) -> list[AttemptRun]:
        """Let `seconds` pass, and run tasks that become due, each attempt at its time.

        Schedules fire at their times.
        """
        end = self.clock() + seconds
        runs = self._run_to(end, max_attempts)
        self.clock.move_to(max(end, self.clock()))
        return runs

    def run_until_idle(
        self, *, max_seconds: float = MAX_SECONDS, max_attempts: int = MAX_ATTEMPTS
    ) -> list[AttemptRun]:
        """Run until no task waits any more, and move the clock as needed.

        Schedules fire at the times that pass meanwhile; the clock does not move for them alone.
        Raises `NotIdle` if `max_attempts`, or `max_seconds` on the clock, are not enough.
        """
        runs = self._run_to(self.clock() + max_seconds, max_attempts, is_timed=False)
        if self._service.store.next_due() is not None or self._service.is_held_back():
            raise NotIdle(f"after {max_seconds:g} seconds on the clock {self._waiting()}")
        return runs

    def _run_to(
        self,
        end: float,
        max_attempts: int,
        done: Callable[[], bool] = lambda: False,
        *,
        is_timed: bool = True,
    ) -> list[AttemptRun]:
        """Run until `done`, or until nothing is due before `end`.

        The clock stays at the last attempt. If it is not `is_timed`, a schedule fires only while
        tasks wait.
        """
        runs: list[AttemptRun] = []
        while not done():
            if self._service.due:
                if len(runs) >= max_attempts:
                    raise NotIdle(f"after {max_attempts} attempts {self._waiting()}")
                runs += self._run_next()
                continue
            next_time = self._service.next_time()
            if next_time is None and not is_timed:
                break
            next_time = min(next_time or math.inf, self._service.next_scheduled())
            if next_time > end:
                break
            self.clock.move_to(next_time)
        return runs

    def _run_next(self) -> list[AttemptRun]:
        with standing_in(self._door):  # another queue may have been opened meanwhile
            runs = self._service.run_next()
        self.runs += runs
        for run in runs:
            raise_what_ends_tests(run.exception)
        return runs

    def _pass_time_for(self, task_id: str, seconds: float) -> None:
        task, end = QueuedTask(self._service, task_id), self.clock() + seconds
        with suppress(TaskNotFound):  # the answer to the request will report it
            self._run_to(end, MAX_ATTEMPTS, lambda: task.state.final, is_timed=False)
            if not task.state.final:
                self.clock.move_to(max(end, self.clock()))

    def _waiting(self) -> str:
        service = self._service
        waiting: list[Task] = []
        for state in WAITING:
            query = TaskQuery(TaskFilter(states=(state,)), limit=_NAMED)
            waiting += service.call(service.tracker.read(query)).tasks
        named = "; ".join(
            f"{task.task_type} {task.task_id} is {task.state}, due at {rfc3339(task.run_at)}, "
            f"after {task.attempt} attempts"
            for task in waiting[:_NAMED]
        )
        return f"tasks still wait: {named}"


def _registry(handlers: Iterable[Callable[..., Any] | str] | None) -> Registry:
    if handlers is None:
        return Registry.load(load_settings().task_modules, os.getcwd())
    registry = Registry()
    for item in handlers:
        if isinstance(item, str):
            loaded = Registry.load([item], os.getcwd())
            for task_type in loaded.task_types:
                registry.add(loaded.require(task_type))
            for spec in loaded.middleware.specs:
                registry.add_middleware(spec)
        else:
            if (layer := middleware_on(item)) is None:
                registry.add(handler_of(item))
            else:
                registry.add_middleware(layer)
    registry.check_middleware()
    return registry
