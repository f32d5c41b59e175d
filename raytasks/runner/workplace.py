"""The workplace: the state that attempts of one process share, and how they are kept apart."""

import asyncio
import contextvars
import copy
import logging
import os
import platform
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from raytasks.artifacts.artifact_store import ArtifactStore
from raytasks.artifacts.large_values import MAX_RESULT_BYTES, OFFLOAD_BYTES, LargeValues
from raytasks.handling.middleware import Middlewares
from raytasks.model.times import steady_time
from raytasks.observe.traces import TraceParenting
from raytasks.runner.handler_loop import HandlerLoop
from raytasks.runner.home import Home
from raytasks.runner.surroundings import Surroundings

log = logging.getLogger(__name__)

Value = TypeVar("Value")


class Children(Protocol):
    """The Ray tasks that an attempt has started; see `raytasks.runner.on_ray.children`."""

    def mark(self) -> None:
        """Note where the attempt begins."""

    def cancel(self) -> None:
        """Cancel what was started since the mark. May be called from any thread."""


@dataclass
class Workplace:
    """The state that the attempts of one process share; they run one after the other.

    Each attempt has its own context variables. When it ends, its changes to the process are put
    back, so that the next one finds the process as it was. With `own_process` nobody else changes
    anything in the process.
    """

    artifacts: ArtifactStore | None = None
    offload_bytes: int = OFFLOAD_BYTES
    max_result_bytes: int = MAX_RESULT_BYTES
    clock: Callable[[], float] = steady_time
    monotonic: Callable[[], float] = time.monotonic
    random_source: random.Random = field(default_factory=random.Random)
    node_id: str | None = None
    worker_id: str | None = None
    host: str | None = field(default_factory=platform.node)
    pid: int | None = field(default_factory=os.getpid)
    make_children: Callable[[], Children] | None = None
    children: Children | None = None
    own_process: bool = False
    puts_back: bool = True
    trace_parenting: TraceParenting = TraceParenting.LINK
    middleware: Middlewares = field(default_factory=Middlewares)
    namespace_of: Callable[[str], str | None] | None = None
    unfit: Callable[[], str | None] = lambda: None
    home: Home = field(default_factory=Home)
    handler_loop: HandlerLoop = field(default_factory=HandlerLoop)
    _surroundings: Surroundings | None = None
    _ahead: float = 0.0

    def __post_init__(self) -> None:
        self._ahead = self.clock() - self.monotonic()

    def now(self) -> float:
        """Return the time in seconds since the epoch.

        It starts from `clock` as read at the beginning, and advances by the monotonic clock. So no
        measured duration changes when the wall clock is set.
        """
        return self.monotonic() + self._ahead

    def beside(self, children: Children | None, handler_loop: HandlerLoop) -> "Workplace":
        """Return the workplace of an attempt that runs beside others in this process.

        It puts nothing back, and has its own count of written files.
        """
        own = copy.copy(self)
        own.artifacts = copy.copy(self.artifacts)
        own.children, own.handler_loop, own.puts_back = children, handler_loop, False
        return own

    @property
    def values(self) -> LargeValues:
        """The store of large payloads and results."""
        return LargeValues(self.artifacts, self.offload_bytes, self.max_result_bytes)

    @property
    def _runner(self) -> asyncio.Runner | None:
        """The asyncio runner of async handlers; None if there is none. A test closes it."""
        return self.handler_loop.runner

    def enter(self) -> None:
        """Prepare the thread that runs the attempts. Call it there once, before the first one."""
        if self.make_children is not None:
            self.children = self.make_children()

    def run_async(self, awaitable: Awaitable[Any], tell: Callable[[str], object]) -> Any:
        """Run what an async handler returned on this thread's event loop, and keep the loop.

        If the handler left tasks on the loop, they are ended and `tell` is called with a message.
        """
        return self.handler_loop.run(awaitable, tell)

    def apart(self, attempt: Callable[[], Value]) -> Value:
        """Run an attempt, and keep its side effects from the next one as far as possible."""
        if not self.puts_back:
            return contextvars.copy_context().run(attempt)
        before = self._surroundings
        if before is None:
            before = Surroundings()
            if self.own_process:
                self._surroundings = before
        try:
            return contextvars.copy_context().run(attempt)
        finally:
            if changed := before.put_back():
                log.info("put back what an attempt has changed: %s", ", ".join(changed))
