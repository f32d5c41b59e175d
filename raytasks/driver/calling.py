"""The door of a process in the cluster: a thread that calls the tracker to submit and to wait.

The thread has its own event loop. So callers may be plain code, or on any event loop.
"""

import asyncio
import os
import threading
import time
import warnings
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import ray

from raytasks import __version__
from raytasks.artifacts.large_submissions import submit_with_payloads
from raytasks.driver.ends import ResultWatch
from raytasks.driver.results import TrackerCalls, make_results
from raytasks.handling import attempt_waits
from raytasks.handling.terms import DriverTerms
from raytasks.model.errors import NoService
from raytasks.model.tasks import Duplicate, NewTask
from raytasks.runner.identity import RAY_NAMESPACE
from raytasks.runner.on_ray.tracker_client import TRACKER_NAME

Answer = TypeVar("Answer")

TERMS_SECONDS = 30.0
"""How long the service's settings are cached, in seconds."""

_LOOK_SECONDS = 0.2
"""How often a waiting thread wakes, in seconds, so that a runner can interrupt it."""

_LIVE_SECONDS = 1.0


class ServiceDoor:
    """The door to the service of the cluster that this process has joined."""

    registry = None
    clock = None

    def __init__(self) -> None:
        self._calls = TrackerCalls()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="raytasks-driver", daemon=True)
        self._thread.start()
        self._ready.wait()
        self._watch: ResultWatch | None = None
        self._terms: tuple[float, DriverTerms] | None = None
        self._results = _Results()
        self._warned = False

    def call(self, coroutine: Coroutine[Any, Any, Answer], seconds: float | None = None) -> Answer:
        """Run a coroutine of this door, and return its result. Raises `TimeoutError`."""
        deadline = None if seconds is None else time.monotonic() + seconds
        running = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            while True:
                left = None if deadline is None else deadline - time.monotonic()
                look = _LOOK_SECONDS if left is None else max(0.0, min(left, _LOOK_SECONDS))
                try:
                    return running.result(look)
                except TimeoutError:
                    if running.done():
                        raise
                    if left is not None and left <= look:
                        raise TimeoutError(f"not within {seconds:g} seconds") from None
        finally:
            running.cancel()

    async def call_async(self, coroutine: Coroutine[Any, Any, Answer]) -> Answer:
        """Run a coroutine of this door, and await it on the caller's event loop."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self._loop))

    async def terms(self) -> DriverTerms:
        """Return what a submission must keep to, as the service says.

        It may be from the cache.
        """
        known = self._terms
        now = time.monotonic()
        if known is None or now - known[0] > TERMS_SECONDS:
            known = self._terms = (now, await self._calls.terms())
            self._compare(known[1].version)
        return known[1]

    def _compare(self, theirs: str) -> None:
        """Warn, once, of a service that is of another version of raytasks."""
        if theirs != __version__ and not self._warned:
            self._warned = True
            warnings.warn(
                f"the service is raytasks {theirs or 'of an unknown version'}, and this driver has "
                f"{__version__}: install the same version in both",
                stacklevel=2,
            )

    async def submit(self, tasks: Sequence[NewTask]) -> dict[str, Duplicate]:
        """Submit tasks in one call, all or none. Large payloads go to the artifact store first.

        Raises `BacklogFull`, `StoreUnavailable`.
        """
        values = (await self.terms()).values
        _, duplicates = await submit_with_payloads(
            values, tasks, self._calls.submit, self._calls.stored
        )
        return duplicates

    async def repeated(self, tasks: Sequence[NewTask]) -> dict[str, Duplicate]:
        """Return those of the tasks whose idempotency keys are taken. Raises `StoreUnavailable`."""
        return await self._calls.repeated(tasks)

    async def result(self, task_id: str) -> Any:
        """See `ResultWatch.result`."""
        if self._watch is None:
            self._watch = ResultWatch(self._calls)
        return await self._watch.result(task_id)

    def ref(self, task_id: str) -> Any:
        """Return a Ray object reference to the result of a task."""
        ref = self._results.actor().result.remote(task_id)
        waits = attempt_waits.present()
        if waits is not None:
            waits.watch(task_id, _still_pending(ref))
        return ref

    def close(self) -> None:
        """End the thread, and the connection. All waits are cancelled."""
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            self._loop = runner.get_loop()
            self._end = asyncio.Event()
            self._ready.set()
            runner.run(self._until_closed())

    async def _until_closed(self) -> None:
        await self._end.wait()
        await self._calls.close()


class _Results:
    """The results actor of this process.

    It is made at the first reference, and again when it is gone.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._actor: Any = None
        self._life: Any = None
        self._looked_at = 0.0

    def actor(self) -> Any:
        with self._lock:
            now = time.monotonic()
            if self._actor is not None and now - self._looked_at > _LIVE_SECONDS:
                self._looked_at = now
                gone, _ = ray.wait([self._life], timeout=0)
                if gone:
                    self._actor = None
            if self._actor is None:
                # In a separate thread: else the actor would be a child of the attempt that runs
                # here, and be cancelled with it.
                with ThreadPoolExecutor(1) as apart:
                    self._actor, self._life = apart.submit(_made).result()
                self._looked_at = now
            return self._actor


def _made() -> tuple[Any, Any]:
    """Make the actor. Return it, and the reference of a call that lasts as long as the actor."""
    actor = make_results()
    return actor, actor.live.remote()


def _still_pending(ref: Any) -> Callable[[], bool]:
    return lambda: not ray.wait([ref], timeout=0, fetch_local=False)[0]


_doors_lock = threading.Lock()
_door: tuple[tuple[Any, ...], ServiceDoor] | None = None


def service_door() -> ServiceDoor:
    """Return the door to the service. It stays the same while this process is in one cluster.

    Raises `NoService`.
    """
    global _door  # noqa: PLW0603 - a process is in one cluster at a time
    with _doors_lock:
        if _door is not None and ray.is_initialized() and _door[0] == _session():
            return _door[1]
        try:
            ray.get_actor(TRACKER_NAME, RAY_NAMESPACE)
        except ValueError:
            raise NoService(
                "no raytasks service runs in this Ray cluster; start one with 'raytasks up' "
                "or 'serve run raytasks.serve_app:app'"
            ) from None
        if _door is not None and _door[0][0] == os.getpid():
            _door[1].close()
        door = ServiceDoor()
        _door = (_session(), door)
        return door


def _session() -> tuple[Any, ...]:
    context = ray.get_runtime_context()
    return os.getpid(), context.get_job_id(), context.get_node_id()
