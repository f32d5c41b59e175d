"""A process that is given up ends, whatever it holds; and each attempt in it has an outcome."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from raytasks.handling.context import Context
from raytasks.handling.declaration import handler
from raytasks.model.controls import Batch
from raytasks.model.retry import RetryPolicy
from raytasks.model.states import OutcomeKind, State
from raytasks.protocol.messages import Exchange, Orders
from raytasks.runner import concurrent_work
from tests.runner.concurrent_bench import PATIENCE, ConcurrentBench, until

ONCE = RetryPolicy(max_attempts=1)


async def test_a_loop_that_nobody_knows_to_block_ends_with_its_process(
    bench: Callable[..., ConcurrentBench], gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A callback blocks it: no asyncio task runs then, so no attempt can be named."""
    monkeypatch.setattr(concurrent_work, "STUCK_SECONDS", 0.1)
    monkeypatch.setattr(concurrent_work, "ASK_SECONDS", 0.1)
    monkeypatch.setattr(concurrent_work, "INTERRUPT_SECONDS", 0.2)

    @handler("blocks", concurrency=4, timeout=0.3)
    async def blocks(payload: str) -> str:
        if running.lives == 1:
            asyncio.get_running_loop().call_soon(gate.wait, PATIENCE)
            await asyncio.sleep(PATIENCE)
        return "done"

    async with bench(blocks).running() as running:
        [guilty] = await running.submit("blocks", "x")
        [task] = await running.ends([guilty])
        gate.set()
        assert task.state is State.COMPLETED
        assert await running.outcomes(guilty) == [OutcomeKind.LOST, OutcomeKind.SUCCEEDED]
        assert running.lives == 2


async def test_what_is_on_its_way_to_a_process_that_is_given_up_is_released(
    bench: Callable[..., ConcurrentBench], gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(concurrent_work, "ASK_SECONDS", 0.1)
    monkeypatch.setattr(concurrent_work, "INTERRUPT_SECONDS", 0.2)
    begun: list[int] = []

    @handler("stuck", concurrency=2, timeout=0.3, retry=ONCE)
    def stuck(payload: int) -> None:
        gate.wait(PATIENCE)

    @handler("later", concurrency=2, retry=ONCE)
    def later(payload: int) -> str:
        begun.append(running.lives)
        return "done"

    async with bench(stuck, later).running() as running:
        [held] = await running.submit("stuck", 1)
        await until(lambda: running.work._calls)
        work, call = running.work, running._call

        async def slow(exchange: Exchange) -> Orders:
            orders = await call(exchange)
            if orders.claims:
                await until(lambda: work._over)
            return orders

        assert work._exchange is not None
        work._exchange._call = slow
        work._exchange.changed()
        [crossing] = await running.submit("later", 2)
        ended = await running.ends([held, crossing])
        assert [task.state for task in ended] == [State.FAILED, State.COMPLETED]
        assert await running.outcomes(crossing) == [OutcomeKind.RELEASED, OutcomeKind.SUCCEEDED]
        assert begun == [2]


@pytest.mark.parametrize("is_async", [True, False])
async def test_stop_iteration_of_a_class_is_its_failure(
    bench: Callable[..., ConcurrentBench], is_async: bool
) -> None:
    """One way to raise it is `next(…)` without a default, over an empty configuration."""

    class Lazy:
        def __init__(self) -> None:
            next(iter(()))

    @handler("lazy_async", concurrency=2, retry=ONCE)
    class LazyAsync(Lazy):
        async def __call__(self, payload: int) -> None: ...

    @handler("lazy_thread", concurrency=2, retry=ONCE)
    class LazyThread(Lazy):
        def __call__(self, payload: int) -> None: ...

    async with bench(LazyAsync, LazyThread).running() as running:
        kind = "lazy_async" if is_async else "lazy_thread"
        [task] = await running.ends(await running.submit(kind, 1))
        assert task.state is State.FAILED
        assert task.error is not None
        assert '"type":"StopIteration"' in task.error


@pytest.mark.parametrize("is_async", [True, False])
async def test_an_interrupt_of_a_batch_does_not_reach_the_rest_of_it(
    bench: Callable[..., ConcurrentBench], is_async: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call ends by itself just when it is interrupted, and goes on with the others."""
    monkeypatch.setattr(concurrent_work, "ASK_SECONDS", 0.1)
    interrupted = threading.Event()
    calls: list[list[str]] = []

    def work(payloads: list[str], contexts: list[Context]) -> list[str]:
        calls.append(payloads)
        if "late" in payloads:
            assert interrupted.wait(PATIENCE)
            for context in contexts:
                context.raise_if_cancelled()
        return ["ok"] * len(payloads)

    @handler("batch_async", batch=Batch(2, 0.3), retry=ONCE)
    async def batch_async(payloads: list[str], contexts: list[Context]) -> list[str]:
        done = work(payloads, contexts)
        await asyncio.sleep(0.05)
        return done

    @handler("batch_thread", batch=Batch(2, 0.3), retry=ONCE)
    def batch_thread(payloads: list[str], contexts: list[Context]) -> list[str]:
        done = work(payloads, contexts)
        time.sleep(0.05)
        return done

    local = bench(batch_async, batch_thread)
    local.queued = True
    async with local.running() as running:
        await until(lambda: hasattr(running, "work"))
        place = running.work._async if is_async else running.work._threads
        interrupt = place.interrupt

        def interrupt_late(call: Any, *step: int) -> None:
            if is_async:  # it is in the loop's queue before the handler goes on
                interrupt(call, *step)
                interrupted.set()
            else:  # the next step has begun before it is thrown
                interrupted.set()
                while len(calls) < 2:
                    time.sleep(0.001)
                interrupt(call, *step)

        monkeypatch.setattr(place, "interrupt", interrupt_late)
        kind = "batch_async" if is_async else "batch_thread"
        tasks = await running.submit_all(
            [
                {"task_type": kind, "payload": "late", "timeout_seconds": 0.2},
                {"task_type": kind, "payload": "innocent"},
            ]
        )
        late, innocent = await running.ends(tasks)
        assert late.state is State.FAILED
        assert innocent.state is State.COMPLETED, innocent.error
        assert calls == [["late", "innocent"], ["innocent"]]
