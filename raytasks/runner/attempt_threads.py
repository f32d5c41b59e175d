"""The threads of a concurrent runner: each runs one call of a handler at a time."""

import contextvars
import threading
from collections.abc import Callable, Sequence
from typing import Any

from raytasks.handling.context import Channel
from raytasks.handling.declaration import HandlerSpec
from raytasks.protocol.messages import Claim
from raytasks.runner.attempt import Attempt
from raytasks.runner.handler_call import Answer, HandlerCall, drive
from raytasks.runner.handler_instances import HandlerInstances
from raytasks.runner.handler_loop import HandlerLoop
from raytasks.runner.interrupt import AttemptStopped, interrupt_thread, take_interrupt
from raytasks.runner.workplace import Children, Workplace

MakeCall = Callable[[HandlerSpec, Sequence[Attempt]], HandlerCall]
"""Makes the call for some attempts of a type."""


class AttemptThread:
    """One thread. It calls `ended` with each call that has ended, when it is free again.

    All methods may be called from any thread.
    """

    def __init__(
        self,
        instances: HandlerInstances,
        workplace: Workplace,
        channel: Callable[[Attempt], Channel],
        ended: Callable[["AttemptThread", HandlerCall], None],
    ) -> None:
        self._instances = instances
        self._workplace = workplace
        self._channel = channel
        self._ended = ended
        self._loop = HandlerLoop()
        self._children: Children | None = None
        self._border = threading.Lock()
        self._given = threading.Condition()
        self._call: HandlerCall | None = None
        self._interruptible = False
        self._interrupted = False
        self._thread = threading.Thread(target=self._run, name="attempt", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the thread still works."""
        return self._thread.is_alive()

    @property
    def thread_id(self) -> int | None:
        """Python's id of the thread."""
        return self._thread.ident

    def workplace(self) -> Workplace:
        """Return a workplace for an attempt in this thread."""
        return self._workplace.beside(None, self._loop)

    def begin(self, call: HandlerCall) -> None:
        """Run a call; the thread must be free."""
        with self._given:
            self._call = call
            self._given.notify()

    def interrupt(self, call: HandlerCall, step: int) -> None:
        """Throw an exception into the handler, if it still runs in this step of this call."""
        with self._border:
            if self._call is not call or call.step != step or not self._interruptible:
                return
            if self._children is not None:
                self._children.cancel()  # the handler may wait for them
            task = self._loop.task
            if task is not None:
                task.get_loop().call_soon_threadsafe(task.cancel)
            elif self._thread.ident is not None:
                self._interrupted = True
                interrupt_thread(self._thread.ident)

    def _run(self) -> None:
        if self._workplace.make_children is not None:
            self._children = self._workplace.make_children()
        while True:
            with self._given:
                while self._call is None:
                    self._given.wait()
                call = self._call
            contextvars.copy_context().run(self._do, call)
            if self._loop.threads.count:
                call.stuck = True
                self._loop.threads.join()
                call.stuck = False
            self._call = None
            self._ended(self, call)
            del call

    def _do(self, call: HandlerCall) -> None:
        if self._children is not None:
            self._children.mark()
        for attempt in call.attempts:
            attempt.workplace.children = self._children
        try:
            handler = self._instances.of(call.spec)
        except BaseException as error:
            call.fail(error, self._channel)
            call.call_on_failure()
            return

        def invoke(arguments: Sequence[Any]) -> Answer:
            first = call.attempts[0]
            answer = self._invoke(call.wrapped(handler), arguments, first.collected)
            self._workplace.home.leave_if_copy(answer[1])
            return answer

        drive(call.steps(self._channel), invoke)

    def _invoke(
        self,
        handler: Callable[..., Any],
        arguments: Sequence[Any],
        collected: Callable[[Any], Any],
    ) -> Answer:
        try:
            try:
                with self._border:
                    self._interruptible = True
                return collected(handler(*arguments)), None
            except BaseException as error:
                return None, error
            finally:
                with self._border:
                    self._interruptible = False
                    interrupted, self._interrupted = self._interrupted, False
                    if interrupted:
                        take_interrupt()
        except AttemptStopped as error:  # thrown just as the handler ended
            self._interruptible = self._interrupted = False
            return None, error


class AttemptThreads:
    """As many threads as run calls at the same time; a free one is used again.

    `ended` gets each call that has ended, in its thread. All methods belong to one thread.
    """

    def __init__(
        self,
        instances: HandlerInstances,
        workplace: Workplace,
        channel: Callable[[Attempt], Channel],
        ended: Callable[[HandlerCall], None],
    ) -> None:
        self._instances = instances
        self._workplace = workplace
        self._channel = channel
        self._ended = ended
        self._free: list[AttemptThread] = []
        self._busy: dict[int, AttemptThread] = {}

    @property
    def is_alive(self) -> bool:
        """Whether all threads that run a call still work."""
        return all(thread.is_alive for thread in [*self._busy.values()])

    def begin(self, spec: HandlerSpec, claims: Sequence[Claim], make: MakeCall) -> HandlerCall:
        """Begin a call for these claims in a free thread, and return it."""
        try:
            thread = self._free.pop()
        except IndexError:
            thread = AttemptThread(self._instances, self._workplace, self._channel, self._end)
        call = make(spec, [Attempt(spec, claim, thread.workplace()) for claim in claims])
        self._busy[id(call)] = thread
        thread.begin(call)
        return call

    def interrupt(self, call: HandlerCall, step: int) -> None:
        """Throw an exception into the handler, if it still runs in this step of this call."""
        thread = self._busy.get(id(call))
        if thread is not None:
            thread.interrupt(call, step)

    def thread_id(self, call: HandlerCall) -> int | None:
        """Return Python's id of the thread that runs a call; None if none does."""
        thread = self._busy.get(id(call))
        return None if thread is None else thread.thread_id

    def _end(self, thread: AttemptThread, call: HandlerCall) -> None:
        self._busy.pop(id(call), None)
        self._free.append(thread)
        self._ended(call)
