"""The place where the attempts of one process run: what they share, and what parts them."""

import asyncio
import contextvars
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from raytasks.artifacts.artifact_store import ArtifactStore
from raytasks.artifacts.large_values import MAX_RESULT_BYTES, OFFLOAD_BYTES, LargeValues
from raytasks.model.times import steady_time
from raytasks.runner.handler_loop import HandlerLoop
from raytasks.runner.home import Home
from raytasks.runner.surroundings import Surroundings

log = logging.getLogger(__name__)

Value = TypeVar("Value")


class Children(Protocol):
    """The work that an attempt has started elsewhere; see `raytasks.runner.on_ray.children`."""

    def mark(self) -> None:
        """Note where the attempt begins."""

    def cancel(self) -> None:
        """Cancel what was started since the mark. Called from any thread."""


@dataclass
class Workplace:
    """What the attempts of one process share; they run one after the other.

    Each attempt has context variables of its own, and finds the process as it was: what it has
    changed is put back when it has ended. With `own_process` nobody else changes anything there.
    """

    artifacts: ArtifactStore | None = None
    offload_bytes: int = OFFLOAD_BYTES
    max_result_bytes: int = MAX_RESULT_BYTES
    clock: Callable[[], float] = steady_time
    monotonic: Callable[[], float] = time.monotonic
    random_source: random.Random = field(default_factory=random.Random)
    node_id: str | None = None
    worker_id: str | None = None
    make_children: Callable[[], Children] | None = None
    children: Children | None = None
    own_process: bool = False
    puts_back: bool = True
    unfit: Callable[[], str | None] = lambda: None
    home: Home = field(default_factory=Home)
    handler_loop: HandlerLoop = field(default_factory=HandlerLoop)
    _surroundings: Surroundings | None = None
    _ahead: float = 0.0

    def __post_init__(self) -> None:
        self._ahead = self.clock() - self.monotonic()

    def now(self) -> float:
        """Return the time in seconds since the epoch, by the clock as it was at the beginning.

        It goes on by the monotonic clock: nothing that is measured by it changes when the clock
        is set.
        """
        return self.monotonic() + self._ahead

    @property
    def values(self) -> LargeValues:
        """Where large payloads and results are."""
        return LargeValues(self.artifacts, self.offload_bytes, self.max_result_bytes)

    @property
    def _runner(self) -> asyncio.Runner | None:
        """What has the event loop of async handlers, if there is one; a test closes it."""
        return self.handler_loop.runner

    def enter(self) -> None:
        """Called once in the thread that runs the attempts, before the first of them."""
        if self.make_children is not None:
            self.children = self.make_children()

    def run_async(self, awaitable: Awaitable[Any], tell: Callable[[str], object]) -> Any:
        """Run what an async handler returned on this thread's event loop, and keep the loop.

        `tell` hears of tasks that were left on it; they have been ended.
        """
        return self.handler_loop.run(awaitable, tell)

    def apart(self, attempt: Callable[[], Value]) -> Value:
        """Run an attempt so that nothing it leaves reaches the next one, as far as that can be."""
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
