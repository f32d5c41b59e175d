"""Calls between processes: late, lost, doubled, out of order, and cut off by the death of one side.

When a process dies, a call on its way to it fails for the caller, or reaches the next life. Ray,
too, sends open calls of an actor again when the actor is back.
"""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

from tests.simulation.kinds import Fault, Swarm
from tests.simulation.loop import Process, SimulatedLoop, present_process

Serve = Callable[[], Awaitable[Any]]


class CallFailed(Exception):
    """The other side died or was not reached: the call may have been carried out or not."""


class Network:
    """Carries calls. All times are virtual seconds."""

    def __init__(self, loop: SimulatedLoop, random: Random, swarm: Swarm) -> None:
        self._loop = loop
        self._random = random
        self._swarm = swarm
        self._open: dict[Process, dict[asyncio.Future[Any], None]] = {}
        self._newest: dict[tuple[Process, Process], float] = {}

    async def call(self, target: Process, serve: Serve, *, once: bool = False) -> Any:
        """Have `serve` run in the target process, and return what it returns.

        With `once` it is not doubled on the way, as a request over HTTP. Raises what it raises, or
        `CallFailed`.
        """
        caller = present_process()
        if caller.cut_off or target.cut_off:
            await asyncio.sleep(self._random.uniform(0.5, 2.0))
            raise CallFailed("cut off")
        if target.dead:
            await asyncio.sleep(0.01)
            raise CallFailed(f"{target.name} is dead")
        answer: asyncio.Future[Any] = self._loop.create_future()
        calls = self._open.get(target)
        if calls is None:
            calls = self._open[target] = {}
            target.on_death.append(lambda: self._break_off(target))
        calls[answer] = None
        try:
            self._send(caller, target, serve, answer, once)
            return await answer
        finally:
            calls.pop(answer, None)

    def _send(
        self,
        caller: Process,
        target: Process,
        serve: Serve,
        answer: asyncio.Future[Any],
        once: bool,
    ) -> None:
        draw, strikes = self._random, self._swarm.strikes
        delay = draw.uniform(0.0002, 0.002)
        if strikes(Fault.CALL_LOST, draw):
            self._fail_later(answer, draw.uniform(0.05, 1.0))
            return
        if strikes(Fault.CALL_LATE, draw):
            delay += draw.choice((0.1, 1.0, 3.0)) * draw.random()
        arrives = self._loop.time() + delay
        way = (caller, target)
        if strikes(Fault.CALLS_REORDERED, draw):
            arrives += draw.uniform(0.005, 0.1)  # later ones overtake it
        else:
            # As on one connection: nothing overtakes what was sent before.
            arrives = self._newest[way] = max(arrives, self._newest.get(way, 0.0) + 1e-6)
        self._deliver(arrives, caller, target, serve, answer)
        if not once and strikes(Fault.CALL_DOUBLED, draw):
            again = arrives + draw.choice((0.001, 0.05, 1.0, 6.0)) * draw.random()
            self._deliver(again, caller, target, serve, answer)

    def _deliver(
        self,
        when: float,
        caller: Process,
        target: Process,
        serve: Serve,
        answer: asyncio.Future[Any],
    ) -> None:
        def begin() -> None:
            if caller.cut_off or target.cut_off:
                self._fail_later(answer, 1.0)
                return
            task = self._loop.create_task(serve())
            task.add_done_callback(lambda done: self._answer(done, caller, target, answer))

        self._loop.call_at(when, begin, context=target.context)

    def _answer(
        self,
        done: "asyncio.Task[Any]",
        caller: Process,
        target: Process,
        answer: asyncio.Future[Any],
    ) -> None:
        if done.cancelled():
            error: BaseException | None = CallFailed("the call was cancelled there")
        else:
            error = done.exception()
        draw, strikes = self._random, self._swarm.strikes
        if caller.cut_off or target.cut_off or strikes(Fault.ANSWER_LOST, draw):
            self._fail_later(answer, draw.uniform(0.05, 1.0))
            return
        delay = draw.uniform(0.0002, 0.002)
        if strikes(Fault.ANSWER_LATE, draw):
            delay += draw.choice((0.1, 1.0, 3.0)) * draw.random()

        def fulfil() -> None:
            if answer.done():
                return
            if error is not None:
                answer.set_exception(error)
                answer.exception()  # maybe nobody waits for it any more
            else:
                answer.set_result(done.result())

        self._loop.call_later(delay, fulfil, context=self._loop.outside.context)

    def _break_off(self, target: Process) -> None:
        for answer in self._open.get(target, {}):
            self._fail_later(answer, self._random.uniform(0.001, 0.2))

    def _fail_later(self, answer: asyncio.Future[Any], seconds: float) -> None:
        def fail() -> None:
            if not answer.done():
                answer.set_exception(CallFailed("the connection was lost"))
                answer.exception()

        self._loop.call_later(seconds, fail, context=self._loop.outside.context)
