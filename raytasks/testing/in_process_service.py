"""A service in this process, of real parts: database, tracker, API, and one runner. No Ray."""

import asyncio
import math
import tempfile
from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any, TypeVar

import httpx
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from starlette.types import ASGIApp

from raytasks.api.app import create_app
from raytasks.artifacts.large_submissions import change_with_payload, submit_with_payloads
from raytasks.handling.callback_delivery import Post, callback_spec, masked
from raytasks.handling.change_checks import check_changes
from raytasks.handling.registry import Registry
from raytasks.handling.submission import PayloadBounds
from raytasks.model.changes import TaskChanges
from raytasks.model.retry import PermanentError
from raytasks.model.states import OutcomeKind
from raytasks.model.tasks import AttemptRecord, Duplicate, NewTask, Task, TaskNotFound
from raytasks.protocol.commands import Command
from raytasks.protocol.queries import KnownTasks, RepeatedSubmissions, TaskDetail, TasksById
from raytasks.settings import Settings, sqlite_url
from raytasks.store.store import Store
from raytasks.testing.bench import Bench
from raytasks.testing.clock import FakeClock
from raytasks.testing.loop import LoopThread
from raytasks.testing.notes import AttemptRun
from raytasks.testing.runner import PATIENCE, InProcessRunner
from raytasks.tracker.core import Tracker
from raytasks.tracker.outlook import FleetOutlook
from raytasks.tracker.service_terms import outbox_terms_of

Answer = TypeVar("Answer")

_TURNS = 20
_LOOK_SECONDS = 0.001
_LEASE_SECONDS = 1e9
"""Leases never end: the tracker works only on request, wherever the clock moves."""


class KitSettings(Settings):
    """Settings that come only from the test: neither the environment nor `.env` is read."""

    model_config = SettingsConfigDict(extra="forbid")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        *_others: Any,
        **_more: Any,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the only source."""
        return (init_settings,)


class InProcessService:
    """A service that runs until it is closed. Then its files are deleted, too.

    It runs tasks only on request. For a task's id, `losses` lists the next attempts in which the
    process dies: each entry is the number of checkpoints before.
    """

    def __init__(
        self,
        registry: Registry,
        clock: FakeClock,
        *,
        seed: int | None,
        callback_receiver: Post | None = None,
        **settings: Any,
    ) -> None:
        checked = KitSettings(**settings)
        self.registry = registry
        self.all_handlers = _with_callbacks(registry, checked, callback_receiver or _no_receiver)
        self.losses: defaultdict[str, list[int]] = defaultdict(list)
        self._died: set[str] = set()
        self._clock = clock
        self._folder = tempfile.TemporaryDirectory(prefix="raytasks-")
        folder = Path(self._folder.name)
        file = folder / "tasks.db"
        file.write_bytes(_empty_database())
        places = {"database_url": sqlite_url(file), "artifacts_url": str(folder / "artifacts")}
        self.settings = checked.model_copy(update=places)
        self.payload_bounds = PayloadBounds(
            self.settings.max_payload_bytes, self.settings.max_depth
        )
        self.store = _PreparedStore(
            self.settings.database_url, priority_step=self.settings.priority_step_seconds
        )
        self.bench = Bench(
            self.settings.artifacts_url,
            clock,
            seed,
            offload_bytes=self.settings.offload_bytes,
            max_result_bytes=self.settings.max_result_bytes,
        )
        self.tracker = Tracker(
            self.store,
            lease_seconds=_LEASE_SECONDS,
            max_crashes=self.settings.max_crashes,
            max_backlog=self.settings.max_backlog,
            clock=clock,
        )
        self.tracker.outbox.terms = outbox_terms_of(self.settings)
        self.tracker.set_handlers(self.all_handlers.infos())
        observer = self.tracker.observer
        observer.outlook = FleetOutlook(self.tracker.fleet, self.all_handlers.task_types)
        observer.wait_seconds = self.settings.health_wait_seconds
        observer.stall_seconds = self.settings.health_stall_seconds
        self.has_writers = False
        """Whether others may write into the outbox."""
        self._loop = LoopThread("raytasks-testing")
        self.runner = InProcessRunner(self.tracker, self.bench, self._loop)
        self._loop.call(self._start(), PATIENCE)
        self.bench.workplace.middleware = registry.middleware
        self.bench.workplace.namespace_of = self._namespace_of
        self.runner.begin(self.all_handlers.task_types)

    @cached_property
    def app(self) -> ASGIApp:
        """The API. It is made at its first use, as that takes longer than most tests."""
        return create_app(self.tracker, self.registry, self.settings, clock=self._clock)

    def call(self, call: Coroutine[Any, Any, Answer], seconds: float | None = PATIENCE) -> Answer:
        """Make a call to the tracker or the API. Raises what it raises, and `TimeoutError`.

        On return, the tracker's orders to its runner (e.g. to stop) have arrived.
        """
        if self._loop.closed:
            call.close()
            raise RuntimeError("this queue is closed")
        return self._loop.call(_and_its_orders(call), seconds)

    async def bulks_done(self) -> None:
        """Wait until the tracker has done all bulk operations, which it does in the background."""
        while self.store.open_bulks():  # noqa: ASYNC110 - nothing tells of their end
            await asyncio.sleep(_LOOK_SECONDS)

    def submit_all(self, tasks: Sequence[NewTask]) -> dict[str, Duplicate]:
        """Store tasks, all or none; return the duplicates. Raises `BacklogFull`."""
        submit = submit_with_payloads(self.bench.values, tasks, self.tracker.submit, self._known)
        return self.call(submit)[1]

    def repeated(self, tasks: Sequence[NewTask]) -> dict[str, Duplicate]:
        """Return those of the tasks whose idempotency keys are taken."""
        return self.call(self.tracker.read(RepeatedSubmissions(tasks)))

    async def _known(self, task_ids: Sequence[str]) -> set[str]:
        return await self.tracker.read(KnownTasks(task_ids))

    def checked_changes(self, task_id: str, changes: Mapping[str, Any]) -> TaskChanges:
        """Return the changes that a request asks for. Raises `InvalidSubmission`."""
        task, _ = self.task(task_id)
        return check_changes(
            changes,
            task,
            self.registry.require(task.task_type),
            now=self._clock(),
            bounds=self.payload_bounds,
            old_payload=self.bench.values.load_payload(task),
        )

    def change(
        self,
        task_id: str,
        changes: TaskChanges,
        command: Callable[[TaskChanges], Command[Task]],
    ) -> None:
        """Have the tracker change a task, by the command for its changes."""

        async def send(sent: TaskChanges) -> Task:
            return await self.tracker.execute(command(sent))

        async def known(_task_id: str) -> Task | None:
            return (await self.tracker.read(TasksById([task_id]))).get(task_id)

        self.call(change_with_payload(self.bench.values, task_id, changes, send, known))

    def task(self, task_id: str) -> tuple[Task, list[AttemptRecord]]:
        """Return a task with its ended attempts. Raises `TaskNotFound`."""
        found = self.call(self.tracker.read(TaskDetail(task_id)))
        if found is None:
            raise TaskNotFound(f"there is no task {task_id}")
        return found

    def _namespace_of(self, task_id: str) -> str | None:
        task = self.call(self.tracker.read(TasksById([task_id]))).get(task_id)
        return None if task is None else task.namespace

    def run_next(self) -> list[AttemptRun]:
        """Run the attempt that is due first; there must be one. On return its end is on disk.

        With a handler of batches, run as many in one call as are due now. If its process has died
        before, each runs alone, as suspects do.
        """
        if self.runner.current:
            raise RuntimeError("a handler cannot run tasks, nor wait for them, in a test's queue")
        claims = [self.runner.claim()]
        spec = self.all_handlers.require(claims[0].task_type)
        if spec.batch is not None and spec.task_type not in self._died:
            while len(claims) < spec.batch.size and self._has_open([spec.task_type]):
                claims.append(self.runner.claim(spec.task_type))
        losses = [self.losses[claim.task_id] for claim in claims]
        runs = self.runner.run(
            [self.bench.attempt(spec, claim) for claim in claims],
            [after.pop(0) if after else None for after in losses],
        )
        if any(run.outcome is OutcomeKind.LOST for run in runs):
            self._died.add(spec.task_type)
        return runs

    @property
    def due(self) -> bool:
        """Whether a task is due now, and may begin."""
        if self.has_writers:
            self.call(self.tracker.outbox.take_all())
        while min(self._next_tick() or math.inf, self.next_scheduled()) <= self._clock():
            # Any command has a tick, which fires, makes tasks ready, and lets others expire.
            self.call(self.tracker.prune((), 0.0))
        return self._has_open(self.all_handlers.task_types)

    def _has_open(self, task_types: Sequence[str]) -> bool:
        work = self.call(self.tracker.demand(task_types))
        return any(item.open for item in work.values())

    def _next_tick(self) -> float | None:
        """Return when a task becomes due or expires; None if none does."""
        times = (self.store.next_due(), self.store.next_expiry())
        return min((time for time in times if time is not None), default=None)

    def next_time(self) -> float | None:
        """Return when a task becomes due or expires, a pause ends or a limit opens; None: never."""
        ends = self.tracker.ticker.steering.next_end(self._clock())
        times = [time for time in (self._next_tick(), ends) if time is not None]
        opens = self.tracker.ticker.ledger.claims.limits.next_time  # the two clocks are one here
        return min([*times, *([opens] if opens < math.inf else [])], default=None)

    def next_scheduled(self) -> float:
        """Return when the next schedule fires; infinite if there is none."""
        return self.tracker.ticker.schedules.next_time

    def is_held_back(self) -> bool:
        """Return whether tasks are due that may not begin."""
        return self.store.any_ready(self.all_handlers.task_types)

    def close(self) -> None:
        """End all parts."""
        if self._loop.closed:
            return
        self.bench.close()
        self._loop.call(self._stop(), PATIENCE)
        self._loop.close()
        self._folder.cleanup()

    async def _start(self) -> None:
        await self.tracker.start()
        self._ticks = asyncio.ensure_future(self.tracker.run())
        await self.tracker.ticker.background.schedules.in_force.wait()

    async def _stop(self) -> None:
        self._ticks.cancel()
        await asyncio.gather(self._ticks, return_exceptions=True)
        await self.tracker.close()


def _with_callbacks(registry: Registry, settings: Settings, post: Post) -> Registry:
    """Return the handlers of a test together with that of callbacks."""
    specs = map(registry.require, registry.task_types)
    return Registry([*specs, callback_spec(settings.callback_secrets, (), post)])


def _no_receiver(request: httpx.Request) -> httpx.Response:
    """Refuse to post a callback: a test sends nothing over the network by itself."""
    raise PermanentError(
        f"{masked(request.url)}: the queue of a test posts no callbacks; give it a "
        "callback_receiver, such as lambda request: httpx.Response(204)"
    )


class _PreparedStore(Store):
    """A store on a database that already has our tables."""

    def upgrade(self) -> None:
        """Do nothing."""


async def _and_its_orders(call: Coroutine[Any, Any, Answer]) -> Answer:
    answer = await call
    for _ in range(_TURNS):  # orders under way need some turns of the loop
        await asyncio.sleep(0)
    return answer


@cache
def _empty_database() -> bytes:
    """Return an SQLite file with our tables.

    It is cached: making them takes longer than most tests.
    """
    with tempfile.TemporaryDirectory(prefix="raytasks-") as folder:
        file = Path(folder) / "tasks.db"
        store = Store(sqlite_url(file))
        store.upgrade()
        store.close()
        return file.read_bytes()
