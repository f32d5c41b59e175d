"""A concurrent runner with a real tracker core, real threads and a real event loop: no Ray."""

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from raytasks.handling.context import Context
from raytasks.handling.declaration import handler
from raytasks.model.controls import Pool
from raytasks.model.retry import RetryPolicy
from raytasks.model.states import OutcomeKind, State
from raytasks.runner import concurrent_work
from tests.runner.concurrent_bench import PATIENCE, ConcurrentBench, until

ONCE = RetryPolicy(max_attempts=1)


class Meeting:
    """A place where as many attempts as were agreed on wait for each other."""

    def __init__(self, size: int) -> None:
        self._missing = size
        self._all_here = asyncio.Event()

    async def join(self) -> None:
        self._missing -= 1
        if not self._missing:
            self._all_here.set()
        await self._all_here.wait()


async def test_a_thousand_attempts_run_at_the_same_time(
    bench: Callable[..., ConcurrentBench],
) -> None:
    """How long a thousand waits of a second take is measured by the benchmark `side_by_side`."""
    meeting = Meeting(1000)

    @handler("wait", concurrency=1000)
    async def wait(payload: int) -> int:
        await meeting.join()
        return payload

    async with bench(wait).running() as running:
        tasks = await running.ends(await running.submit("wait", *range(1000)))
        assert {task.result for task in tasks} == {str(number) for number in range(1000)}


async def test_attempts_on_the_loop_have_their_own_context_progress_and_log(
    bench: Callable[..., ConcurrentBench],
) -> None:
    present: contextvars.ContextVar[int] = contextvars.ContextVar("present", default=-1)
    meeting = Meeting(5)

    @handler("own", concurrency=5)
    async def own(payload: int, context: Context) -> list[Any]:
        before = present.get()
        present.set(payload)
        context.log.info("line of %s", payload)
        context.progress(payload / 10)
        await asyncio.to_thread(context.checkpoint, {"of": payload})
        await meeting.join()
        return [before, present.get(), context.last_checkpoint["of"], context.task_id]

    async with bench(own).running() as running:
        ids = await running.submit("own", *range(5))
        for number, task in enumerate(await running.ends(ids)):
            assert task.result == f'[-1,{number},{number},"{ids[number]}"]'


async def test_plain_functions_run_in_as_many_threads(
    bench: Callable[..., ConcurrentBench],
) -> None:
    together = threading.Barrier(4)

    @handler("plain", concurrency=4)
    def plain(payload: int) -> int:
        together.wait(PATIENCE)
        return threading.get_ident()

    async with bench(plain).running() as running:
        tasks = await running.ends(await running.submit("plain", *range(8)))
        assert len({task.result for task in tasks}) == 4


async def test_class_handlers_are_one_instance(bench: Callable[..., ConcurrentBench]) -> None:
    made: list[str] = []
    together = threading.Barrier(3)

    @handler("plain_class", concurrency=3, actors=(1, 1))
    class Plain:
        def __init__(self) -> None:
            made.append("plain")

        def __call__(self, payload: int) -> int:
            together.wait(PATIENCE)
            return id(self)

    meeting = Meeting(3)

    @handler("async_class", concurrency=3, actors=(1, 1))
    class Async:
        def __init__(self) -> None:
            made.append("async")

        async def __call__(self, payload: int) -> int:
            await meeting.join()
            return id(self)

    async with bench(Plain, Async).running() as running:
        one = await running.ends(await running.submit("plain_class", *range(3)))
        two = await running.ends(await running.submit("async_class", *range(3)))
        assert len({task.result for task in one}) == len({task.result for task in two}) == 1
        assert sorted(made) == ["async", "plain"]


async def test_each_type_of_a_pool_has_its_own_slots(
    bench: Callable[..., ConcurrentBench],
) -> None:
    pool = Pool("mixed")
    gate, running_now, most = threading.Event(), [0], [0]

    @handler("single", pool=pool)
    def single(payload: int) -> None:
        running_now[0] += 1
        most[0] = max(most[0], running_now[0])
        gate.wait(PATIENCE)
        running_now[0] -= 1

    @handler("many", pool=pool, concurrency=3)
    async def many(payload: int) -> None:
        return None

    async with bench(single, many).running() as running:
        slow = await running.submit("single", 1, 2)
        tasks = await running.ends(await running.submit("many", *range(10)))
        assert {task.state for task in tasks} == {State.COMPLETED}  # behind no slow one
        gate.set()
        await running.ends(slow)
        assert most == [1]


async def test_what_an_attempt_leaves_ends_with_it_and_not_with_others(
    bench: Callable[..., ConcurrentBench],
) -> None:
    ended: list[str] = []
    others = asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def background(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(name)

    @handler("leaves", concurrency=2)
    async def leaves(payload: str) -> str:
        loops.append(asyncio.get_running_loop())
        task = asyncio.create_task(background(payload))
        asyncio.get_running_loop().call_later(0.05, ended.append, f"timer of {payload}")
        await asyncio.sleep(0)
        if payload == "long":
            await others.wait()
            assert not task.done()
            await asyncio.sleep(0.1)
        return payload

    async with bench(leaves).running() as running:
        [long] = await running.submit("leaves", "long")
        await running.ends(await running.submit("leaves", "short"))
        assert "short" in ended
        assert not {"long", "timer of short"} & {*ended}
        loops[0].call_soon_threadsafe(others.set)
        [task] = await running.ends([long])
        assert task.state is State.COMPLETED
        assert "timer of long" in ended
        assert "timer of short" not in ended
        assert ended[-1] == "long"


@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_a_timeout_and_a_cancel_stop_one_attempt_only(
    bench: Callable[..., ConcurrentBench], kind: str
) -> None:
    gate = threading.Event()
    begun: list[int] = []

    @handler("stops_async", concurrency=3, retry=ONCE)
    async def stops_async(payload: int) -> str:
        begun.append(payload)
        await (asyncio.to_thread(gate.wait, PATIENCE) if payload == 2 else asyncio.Event().wait())
        return "done"

    @handler("stops_thread", concurrency=3, retry=ONCE)
    def stops_thread(payload: int) -> str:
        begun.append(payload)
        while payload < 2 or not gate.is_set():
            time.sleep(0.01)
        return "done"

    async with bench(stops_async, stops_thread).running() as running:
        late = await running.submit(f"stops_{kind}", 0, timeout_seconds=0.2)
        cancelled = await running.submit(f"stops_{kind}", 1)
        other = await running.submit(f"stops_{kind}", 2)
        await until(lambda: len(begun) == 3)
        await running.cancel(cancelled[0])
        states = [task.state for task in await running.ends([*late, *cancelled])]
        assert states == [State.FAILED, State.CANCELLED]
        assert await running.outcomes(late[0]) == [OutcomeKind.TIMED_OUT]
        gate.set()
        [task] = await running.ends(other)
        assert task.state is State.COMPLETED
        assert running.lives == 1


@pytest.mark.untraced  # Python 3.11 hangs while an interrupt waits for a thread that is in C
@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_what_cannot_be_interrupted_ends_with_its_process_after_the_others(
    bench: Callable[..., ConcurrentBench], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(concurrent_work, "ASK_SECONDS", 0.1)
    monkeypatch.setattr(concurrent_work, "INTERRUPT_SECONDS", 0.2)
    gate, other_gate = threading.Event(), threading.Event()
    tries: list[str] = []

    @handler("stuck_async", concurrency=2)
    async def stuck_async(payload: str) -> None:
        tries.append(payload)
        while not (gate if payload == "stuck" else other_gate).is_set():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue

    @handler("stuck_thread", concurrency=2)
    def stuck_thread(payload: str) -> None:
        tries.append(payload)
        (gate if payload == "stuck" else other_gate).wait(PATIENCE)

    async with bench(stuck_async, stuck_thread).running() as running:
        [other] = await running.submit(f"stuck_{kind}", "other")
        [stuck] = await running.submit(f"stuck_{kind}", "stuck", timeout_seconds=0.2)
        await until(lambda: running.work._drains_since is not None)
        assert await running.outcomes(stuck) == []  # its retry must not begin beside it
        other_gate.set()
        [task] = await running.ends([other])
        assert task.state is State.COMPLETED
        await until(lambda: running.lives > 1)
        gate.set()
        [task] = await running.ends([stuck])
        assert task.state is State.COMPLETED
        assert await running.outcomes(stuck) == [OutcomeKind.TIMED_OUT, OutcomeKind.SUCCEEDED]
        assert tries.count("other") == 1


async def test_a_blocked_loop_is_the_fault_of_who_blocks_it(
    bench: Callable[..., ConcurrentBench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(concurrent_work, "STUCK_SECONDS", 0.1)
    monkeypatch.setattr(concurrent_work, "BLOCKED_SECONDS", 0.3)
    gate = threading.Event()
    waits = threading.Event()

    @handler("blocks", concurrency=4, retry=ONCE)
    async def blocks(payload: str) -> str:
        if payload == "blocks":
            gate.wait(PATIENCE)
        elif running.lives == 1:
            waits.set()
            await asyncio.Event().wait()
        return "done"

    async with bench(blocks).running() as running:
        [innocent] = await running.submit("blocks", "waits")
        assert await asyncio.to_thread(waits.wait, PATIENCE)
        [guilty] = await running.submit("blocks", "blocks")
        [one, two] = await running.ends([innocent, guilty])
        gate.set()
        assert one.state is State.COMPLETED
        assert one.crashes == 0
        assert two.state is State.FAILED
        assert two.error is not None
        assert "has blocked the event loop" in two.error


async def test_the_stack_of_an_attempt_is_its_own(bench: Callable[..., ConcurrentBench]) -> None:
    meeting = Meeting(3)
    gate = threading.Event()

    async def inner() -> None:
        await meeting.join()
        await asyncio.Event().wait()

    @handler("stack_async", concurrency=2)
    async def stack_async(payload: int) -> None:
        await (inner() if payload else meeting.join())

    @handler("stack_thread", concurrency=2)
    def stack_thread(payload: int) -> None:
        gate.wait(PATIENCE)

    async with bench(stack_async, stack_thread).running() as running:
        ids = await running.submit("stack_async", 0, 1)
        [thread] = await running.submit("stack_thread", 0)
        await until(lambda: "gate.wait" in (running.work.stack(thread, 1) or ""))
        text = running.work.stack(thread, 1) or ""
        one = running.work.stack(ids[1], 1) or ""
        assert "await meeting.join()" in one
        assert "in inner" in one
        assert "in inner" not in (running.work.stack(ids[0], 1) or "")
        assert "raytasks/runner" not in one + text
        gate.set()
