"""The event loop of a concurrent runner: async handlers run on it side by side, in one thread.

What an attempt leaves on the loop ends with it, and nothing of the others does. Each asyncio task,
timer and async generator belongs to the attempt in whose context it was made.
"""

import asyncio
import contextlib
import contextvars
import logging
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from raytasks.handling.context import Channel
from raytasks.handling.declaration import HandlerSpec
from raytasks.protocol.messages import Claim
from raytasks.runner.attempt import Attempt
from raytasks.runner.attempt_threads import MakeCall
from raytasks.runner.handler_call import Answer, HandlerCall, Invoke, done, following
from raytasks.runner.handler_instances import HandlerInstances
from raytasks.runner.handler_loop import LEFT_SECONDS, HandlerLoop, told_of
from raytasks.runner.handler_threads import (
    THREADS_SECONDS,
    HandlerThreads,
    ThreadWork,
    told_of_threads,
)
from raytasks.runner.workplace import Workplace

log = logging.getLogger(__name__)

EXECUTOR_THREADS = 64
"""How many threads the loop has for what handlers give to `asyncio.to_thread`."""

_MIN_TIMERS = 64


class Belongings:
    """The asyncio tasks, timers, async generators and threads of one call of a handler."""

    def __init__(self) -> None:
        self.main: asyncio.Task[None] | None = None
        self.threads = ThreadWork()
        self.tasks: set[asyncio.Task[Any]] = set()
        self.generators: weakref.WeakSet[Any] = weakref.WeakSet()
        self._timers: list[asyncio.TimerHandle] = []
        self._most = _MIN_TIMERS

    def add_task(self, task: "asyncio.Task[Any]") -> None:
        """Note a task that was made in this call."""
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def add_timer(self, timer: asyncio.TimerHandle, now: float) -> None:
        """Note a timer that was made in this call. Old ones are forgotten now and then."""
        self._timers.append(timer)
        if len(self._timers) > self._most:
            self._timers = [one for one in self._timers if not one.cancelled() and one.when() > now]
            self._most = max(_MIN_TIMERS, 2 * len(self._timers))

    def cancel_timers(self) -> None:
        """Cancel all timers."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    async def end(self) -> list[str]:
        """Cancel the tasks, and return their names when all have ended.

        A task that refuses to end holds this up, and so does a thread.
        """
        left: list[str] = []
        await asyncio.sleep(0)  # let those end that are about to
        asked: set[asyncio.Task[Any]] = set()
        while self.tasks:
            for task in self.tasks - asked:
                code = task.get_coro()
                left.append(str(getattr(code, "__qualname__", None) or task.get_name())[:100])
                task.cancel()
            asked |= self.tasks
            ended, _ = await asyncio.wait([*self.tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.cancelled() or task.exception()  # seen, so asyncio does not complain of it
        for generator in [*self.generators]:
            with contextlib.suppress(BaseException):
                await generator.aclose()
        self.cancel_timers()
        await self.threads.end()
        return left


_present: contextvars.ContextVar[Belongings | None] = contextvars.ContextVar(
    "raytasks_belongings", default=None
)


class SharedLoop(asyncio.SelectorEventLoop):
    """An event loop that notes to which attempt its tasks, timers and generators belong."""

    def __init__(self) -> None:
        super().__init__()
        self.set_task_factory(self.make_task)

    def make_task(
        self, loop: asyncio.AbstractEventLoop, code: Any, **options: Any
    ) -> "asyncio.Task[Any]":
        """Make a task as asyncio does, and note whose it is."""
        task: asyncio.Task[Any] = asyncio.Task(code, loop=loop, **options)
        context: contextvars.Context | None = options.get("context")
        owner = _present.get() if context is None else context.get(_present)
        if owner is not None:
            owner.add_task(task)
        return task

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        """Set a timer as asyncio does, and note whose it is."""
        timer = super().call_at(when, callback, *args, context=context)
        owner = _present.get() if context is None else context.get(_present)
        if owner is not None:
            owner.add_timer(timer, self.time())
        return timer

    def _asyncgen_firstiter_hook(self, generator: Any) -> None:
        super()._asyncgen_firstiter_hook(generator)  # type: ignore[misc]
        owner = _present.get()
        if owner is not None:
            owner.generators.add(generator)


class AttemptLoop:
    """Runs calls of async handlers side by side on one event loop, in a thread of its own.

    `ended` gets each call that has ended, in that thread, with all that it has left there. The
    instances of the handlers' classes are made in that thread, before the loop begins. Then `ready`
    is called. All methods may be called from any thread.
    """

    def __init__(
        self,
        instances: HandlerInstances,
        workplace: Workplace,
        channel: Callable[[Attempt], Channel],
        ended: Callable[[HandlerCall], None],
        ready: Callable[[], None],
    ) -> None:
        self._instances = instances
        self._workplace = workplace
        self._channel = channel
        self._ended = ended
        self._ready = ready
        self._calls: dict[int, tuple[HandlerCall, Belongings]] = {}
        self._asked_at: float | None = None
        self._loop = SharedLoop()
        self._own_threads = ThreadPoolExecutor(EXECUTOR_THREADS, thread_name_prefix="raytasks")
        self._thread = threading.Thread(target=self._run, name="async attempts", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the thread still works."""
        return self._thread.is_alive()

    @property
    def thread_id(self) -> int | None:
        """Python's id of the thread."""
        return self._thread.ident

    def begin(self, spec: HandlerSpec, claims: Sequence[Claim], make: MakeCall) -> HandlerCall:
        """Begin a call for these claims, and return it."""
        call = make(
            spec,
            [Attempt(spec, claim, self._workplace.beside(None, HandlerLoop())) for claim in claims],
        )
        self._loop.call_soon_threadsafe(self._begin, call)
        return call

    def interrupt(self, call: HandlerCall, step: int) -> None:
        """Cancel the asyncio task of a call, if it is still in its handler, in this step."""
        self._loop.call_soon_threadsafe(self._cancel, call, step)

    def task_of(self, call: HandlerCall) -> "asyncio.Task[None] | None":
        """Return the asyncio task of a call that runs here."""
        _, belongings = self._calls.get(id(call), (None, None))
        return None if belongings is None else belongings.main

    def ping(self) -> None:
        """Ask the loop for a sign of life, unless it still owes one."""
        if self._asked_at is None:
            self._asked_at = time.monotonic()
            self._loop.call_soon_threadsafe(self._pong)

    @property
    def blocked_seconds(self) -> float:
        """How long the loop has owed a sign of life: something blocks it. See `ping`."""
        asked_at = self._asked_at
        return 0.0 if asked_at is None else time.monotonic() - asked_at

    def executing(self) -> HandlerCall | None:
        """Return the call whose code runs in the thread just now; None if it is not known."""
        task = asyncio.current_task(self._loop)
        for call, belongings in [*self._calls.values()]:
            if task is not None and (task is belongings.main or task in belongings.tasks):
                return call
        return None

    def _pong(self) -> None:
        self._asked_at = None

    def _run(self) -> None:
        self._loop.set_default_executor(HandlerThreads(_present_threads, EXECUTOR_THREADS))
        self._instances.load()
        self._loop.call_soon(self._ready)
        while not self._loop.is_closed():
            try:
                self._loop.run_forever()
            except BaseException as error:  # a task of a handler has raised SystemExit or so
                log.warning("an asyncio task of a handler raised %r; the loop goes on", error)

    def _begin(self, call: HandlerCall) -> None:
        belongings = Belongings()
        self._calls[id(call)] = call, belongings
        context = contextvars.Context()
        context.run(_present.set, belongings)
        belongings.main = asyncio.Task(self._do(call, belongings), loop=self._loop, context=context)

    def _cancel(self, call: HandlerCall, step: int) -> None:
        task = self.task_of(call)
        if task is not None and call.active and call.step == step:
            task.cancel()

    async def _do(self, call: HandlerCall, belongings: Belongings) -> None:
        try:
            handler = self._instances.of(call.spec)
            steps = call.steps(self._channel)
            request = following(steps)
            while request is not None:
                if isinstance(request, Invoke):
                    answer = await self._invoke(call, handler, request.arguments)
                    self._workplace.home.leave_if_copy(answer[1])
                else:
                    answer = await self._in_thread(partial(done, request, _never))
                request = following(steps, answer)
        except BaseException as error:  # of the class, when it is instantiated
            self._workplace.home.leave_if_copy(error)
            call.fail(error, self._channel)
            await self._in_thread(call.call_on_failure)
        await self._end(call, belongings)

    async def _in_thread(self, call: Callable[[], Any]) -> Any:
        """Make a call of raytasks' own. Handlers may keep all threads of `asyncio.to_thread`."""
        run = partial(contextvars.copy_context().run, call)
        return await self._loop.run_in_executor(self._own_threads, run)

    async def _invoke(
        self, call: HandlerCall, handler: Callable[..., Any], arguments: Sequence[Any]
    ) -> Answer:
        try:
            called = call.wrapped(handler)
            return await call.attempts[0].collect(called(*arguments)), None
        except BaseException as error:
            present = asyncio.current_task()
            if present is not None:
                present.uncancel()
            return None, error

    async def _end(self, call: HandlerCall, belongings: Belongings) -> None:
        """End what the call has left on the loop, and then the call."""
        late = self._loop.call_later(LEFT_SECONDS, _note_tasks, call, belongings, context=_OUTSIDE)
        later = self._loop.call_later(
            THREADS_SECONDS, _note_threads, call, belongings, context=_OUTSIDE
        )
        left = await belongings.end()
        late.cancel()
        later.cancel()
        call.stuck = False
        if self._loop.get_task_factory() != self._loop.make_task:
            log.warning("a handler of %s has set a task factory: undone", call.spec.task_type)
            self._loop.set_task_factory(self._loop.make_task)
        if left:
            call.attempts[0].context.log.warning("%s", told_of(left))
        del self._calls[id(call)]
        self._ended(call)


_OUTSIDE = contextvars.Context()


def _note_tasks(call: HandlerCall, belongings: Belongings) -> None:
    call.stuck = bool(belongings.tasks)


def _note_threads(call: HandlerCall, belongings: Belongings) -> None:
    call.stuck = True
    if count := belongings.threads.count:
        call.attempts[0].context.log.warning("%s", told_of_threads(count))


def _present_threads() -> ThreadWork | None:
    present = _present.get()
    return None if present is None else present.threads


def _never(_: Sequence[Any]) -> Answer:
    raise AssertionError("a handler is called on the loop only")
