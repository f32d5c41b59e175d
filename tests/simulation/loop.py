"""A deterministic event loop in virtual time, on which several processes live side by side.

Each callback belongs to a `Process`. Callbacks of one process run in the order in which they became
ready, as in any event loop; which process goes next is drawn. Time passes only while nothing is
ready, so a schedule of minutes takes milliseconds.
"""

import asyncio
import contextlib
import heapq
import itertools
from collections import deque
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from random import Random
from typing import Any

_PROCESS: "ContextVar[Process]" = ContextVar("process")

MAX_STEPS_AT_ONCE = 50_000
"""How many callbacks may run while no time passes. More mean that something turns in circles."""


MAX_STEPS = 150_000
"""How many callbacks may run in all: fifty times what a schedule takes."""

MAX_SECONDS = 1000.0
"""How much time may pass in all, in virtual seconds."""


class Stuck(Exception):
    """Nothing can go on any more, or something goes on without end while no time passes."""


class Process:
    """A simulated process: its work runs, freezes and dies together.

    `skew` is how far its wall clock is ahead (seconds). One that is `cut_off` reaches nobody, and
    nobody reaches it.
    """

    def __init__(self, loop: "SimulatedLoop", name: str) -> None:
        self.name = name
        self.skew = 0.0
        self.dead = False
        self.frozen = False
        self.cut_off = False
        self.changed_at = 0.0
        """When it was frozen or thawed last."""
        self.on_death: list[Callable[[], object]] = []
        self.ready: deque[asyncio.Handle] = deque()
        self.queued = False
        self._loop = loop
        context = Context()
        context.run(_PROCESS.set, self)
        self._context = context

    @property
    def context(self) -> Context:
        """A context of its own for a callback that is to run in this process."""
        return self._context.copy()

    @property
    def runs(self) -> bool:
        """Whether it is neither dead nor frozen."""
        return not (self.dead or self.frozen)

    def start(self, work: Any) -> "asyncio.Task[Any]":
        """Begin a coroutine in this process."""
        task: asyncio.Task[Any] = self._context.copy().run(self._loop.create_task, work)
        return task

    def freeze(self) -> None:
        """Let nothing of it run until it is thawed (SIGSTOP)."""
        self.frozen = True
        self.changed_at = self._loop.time()

    def thaw(self) -> None:
        """Let it go on (SIGCONT): what came in meanwhile is there at once."""
        self.frozen = False
        self.changed_at = self._loop.time()
        self._loop.note_ready(self)

    def kill(self) -> None:
        """End it at once (SIGKILL): nothing of it runs any more, no `finally` either."""
        if self.dead:
            return
        self.dead = True
        self.ready.clear()
        for call in self.on_death:
            call()


def present_process() -> Process:
    """Return the process whose callback runs."""
    return _PROCESS.get()


class _NumberedFuture(asyncio.Future[Any]):
    """A future with a hash that does not come from its address: sets have the same order again."""

    number = 0

    def __hash__(self) -> int:
        return self.number


class _NumberedTask(asyncio.Task[Any]):
    """A task with a hash that does not come from its address."""

    number = 0

    def __hash__(self) -> int:
        return self.number


class SimulatedLoop(asyncio.BaseEventLoop):
    """The loop. `random` decides whose turn it is; `executor` runs what goes to threads elsewhere.

    `run_in_executor` gives the call to `executor(call, future)`, which is to fulfil the future, in
    the process that asks.
    """

    def __init__(self, random: Random) -> None:
        super().__init__()
        self.set_debug(False)
        self.steps = 0
        self.executor: Callable[[Callable[[], Any], asyncio.Future[Any]], None] | None = None
        self._random = random
        self._now = 0.0
        self._numbers = itertools.count()
        self._active: list[Process] = []
        self._timers: list[tuple[float, int, asyncio.TimerHandle, Process]] = []
        self._tasks: list[_NumberedTask] = []
        self.outside = Process(self, "outside")

    def time(self) -> float:
        """Return the virtual time, in seconds since the loop was made."""
        return self._now

    # What asyncio asks of a loop

    def create_future(self) -> asyncio.Future[Any]:
        """Return a new future."""
        future = _NumberedFuture(loop=self)
        future.number = next(self._numbers)
        return future

    def create_task(self, coro: Any, *, name: Any = None, context: Any = None) -> Any:
        """Begin a coroutine, in the process of the caller or of the context."""
        number = next(self._numbers)
        # asyncio puts the task into a set of its own at once, so that its class has the number.
        _NumberedTask.number = number
        task = _NumberedTask(coro, loop=self, name=str(number), context=context)
        task.number = number
        self._tasks.append(task)
        return task

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:  # type: ignore[override]
        """Have a callback run in its turn; one of a dead process never runs."""
        if context is None:
            context = copy_context()
        handle = asyncio.Handle(callback, args, self, context)
        process = context.get(_PROCESS, self.outside)
        if not process.dead:
            process.ready.append(handle)
            if not process.queued and not process.frozen:
                process.queued = True
                self._active.append(process)
        return handle

    def call_soon_threadsafe(self, callback: Any, *args: Any, context: Any = None) -> Any:  # type: ignore[override]
        """Do as `call_soon` does: there are no threads."""
        return self.call_soon(callback, *args, context=context)

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        """Have a callback run after so many seconds."""
        return self.call_at(self._now + max(0.0, delay), callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        """Have a callback run at a time."""
        if context is None:
            context = copy_context()
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        process = context.get(_PROCESS, self.outside)
        if not process.dead:
            heapq.heappush(self._timers, (when, next(self._numbers), handle, process))
        return handle

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        """Have a call made as by a thread of the executor."""
        future = self.create_future()
        assert self.executor is not None
        self.executor((lambda: func(*args)) if args else func, future)
        return future

    def _process_events(self, event_list: Any) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """There is nobody to wake."""

    # The heart

    def note_ready(self, process: Process) -> None:
        """Note that a process may have something to do."""
        if process.ready and process.runs and not process.queued:
            process.queued = True
            self._active.append(process)

    def _run_once(self) -> None:
        active = self._active
        at_once = 0
        while not self._stopping:  # type: ignore[attr-defined]
            if not active:
                at_once = 0
                if self.steps > MAX_STEPS or self._now > MAX_SECONDS:
                    raise Stuck(f"no end after {self.steps} steps and {self._now:.0f} s")
                self._pass_time()
                continue
            at_once += 1
            if at_once > MAX_STEPS_AT_ONCE:
                raise Stuck("callbacks run without end, and no time passes")
            place = int(self._random.random() * len(active)) if len(active) > 1 else 0
            process = active[place]
            if process.runs and process.ready:
                handle = process.ready.popleft()
                if not handle.cancelled():
                    self.steps += 1
                    handle._run()
                if process.runs and process.ready:
                    continue
            process.queued = False
            # The list may have grown at its end meanwhile; the place is still the process's.
            active[place] = active[-1]
            active.pop()

    def _pass_time(self) -> None:
        """Go on to the time of the next timer."""
        timers = self._timers
        while timers and (timers[0][2].cancelled() or timers[0][3].dead):
            heapq.heappop(timers)
        if not timers:
            raise Stuck("nobody waits for anything that could still come")
        self._now = max(self._now, timers[0][0])
        while timers and timers[0][0] <= self._now:
            _, _, handle, process = heapq.heappop(timers)
            if not handle.cancelled() and not process.dead:
                process.ready.append(handle)
                self.note_ready(process)

    def end(self) -> None:
        """Put an end to everything, whatever it was at, and close the loop."""
        self.set_exception_handler(lambda *_: None)
        for process in {entry[3] for entry in self._timers} | set(self._active):
            process.dead = True
        for task in self._tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            if task.done():
                if not task.cancelled():
                    task.exception()  # so that nobody says that it was never looked at
                continue
            with contextlib.suppress(BaseException):  # what it does then counts no more
                task.get_coro().close()
        self._timers.clear()
        self._active.clear()
        self.close()
