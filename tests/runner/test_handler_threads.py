"""The threads that handlers start: their attempt ends with them, else their process does."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from raytasks.handling.context import Context
from raytasks.handling.declaration import handler
from raytasks.model.retry import RetryPolicy
from raytasks.model.states import OutcomeKind, State
from raytasks.runner import attempt_loop, concurrent_work, handler_loop, warm_work
from raytasks.runner.handler_threads import HandlerThreads, ThreadWork
from tests.runner.concurrent_bench import PATIENCE, ConcurrentBench, until
from tests.runner.test_warm_work import Bench

AT_ONCE = RetryPolicy(max_attempts=2, initial_delay_seconds=0)

Make = Callable[..., Bench | ConcurrentBench]


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (attempt_loop, handler_loop):
        monkeypatch.setattr(module, "THREADS_SECONDS", 0.3)
    for module in (concurrent_work, warm_work):
        monkeypatch.setattr(module, "ASK_SECONDS", 0.1)


@pytest.fixture(params=["serial", "concurrent"])
def make(request: pytest.FixtureRequest, sqlite_url: str, tmp_path: Path) -> Make:
    """Make a runner of each kind."""
    kind = Bench if request.param == "serial" else ConcurrentBench

    def make(*targets: Callable[..., Any]) -> Bench | ConcurrentBench:
        return kind(sqlite_url, tmp_path, *targets)

    return make


async def submit(bench: Bench | ConcurrentBench, task_type: str, payload: Any) -> str:
    """Submit a task, and return its id."""
    found = await bench.submit(task_type, payload)
    return found if isinstance(found, str) else found[0]


async def end(bench: Bench | ConcurrentBench, task_id: str) -> State:
    """Return the state of a task that has ended."""
    task = (
        await bench.end(task_id) if isinstance(bench, Bench) else (await bench.ends([task_id]))[0]
    )
    return task.state


async def test_a_retry_runs_in_a_process_without_the_thread_that_hangs(
    make: Make, gate: threading.Event
) -> None:
    lives: list[int] = []

    @handler("io", concurrency=2, timeout=0.3, retry=AT_ONCE)
    async def io(payload: str) -> str:
        lives.append(bench.lives)
        if bench.lives == 1:
            await asyncio.to_thread(gate.wait, PATIENCE)
        return "done"

    bench = make(io)
    async with bench.running():
        hung = await submit(bench, "io", "x")
        assert await end(bench, hung) is State.COMPLETED
        assert await bench.outcomes(hung) == [OutcomeKind.TIMED_OUT, OutcomeKind.SUCCEEDED]
        assert lives == [1, 2]


async def test_threads_that_hang_take_none_from_the_tasks_to_come(
    make: Make, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt_loop, "EXECUTOR_THREADS", 2)

    @handler("io", concurrency=2, timeout=0.3, retry=RetryPolicy(max_attempts=1))
    async def io(payload: str) -> str:
        waits = gate.wait if payload == "hangs" else bool
        await asyncio.gather(*(asyncio.to_thread(waits, PATIENCE) for _ in range(40)))
        return "done"

    bench = make(io)
    async with bench.running():
        hung = await submit(bench, "io", "hangs")
        assert await end(bench, hung) is State.FAILED
        assert await end(bench, await submit(bench, "io", "works")) is State.COMPLETED


async def test_a_result_waits_for_a_thread_that_ends_soon(
    make: Make, gate: threading.Event
) -> None:
    """It is the result that counts, not that there was a thread."""
    order: list[str] = []
    started = threading.Event()

    def write() -> None:
        started.set()
        gate.wait(PATIENCE)
        order.append("written")

    @handler("leaves", concurrency=2)
    async def leaves(payload: str) -> str:
        asyncio.get_running_loop().run_in_executor(None, write)
        await asyncio.to_thread(started.wait, PATIENCE)
        threading.Timer(0.05, gate.set).start()
        return "done"

    bench = make(leaves)
    async with bench.running():
        assert await end(bench, await submit(bench, "leaves", "x")) is State.COMPLETED
        order.append("completed")
        assert order == ["written", "completed"]
        assert bench.lives == 1


async def test_a_result_stands_though_a_thread_is_left(make: Make, gate: threading.Event) -> None:
    @handler("leaves", concurrency=2)
    async def leaves(payload: str) -> str:
        asyncio.get_running_loop().run_in_executor(None, gate.wait, PATIENCE)
        return "done"

    bench = make(leaves)
    async with bench.running():
        left = await submit(bench, "leaves", "x")
        assert await end(bench, left) is State.COMPLETED
        assert await bench.outcomes(left) == [OutcomeKind.SUCCEEDED]
        await until(lambda: bench.lives == 2)


async def test_a_plain_handler_that_returns_a_coroutine_is_held_to_it_too(
    sqlite_url: str, tmp_path: Path, gate: threading.Event
) -> None:
    async def hangs() -> None:
        await asyncio.to_thread(gate.wait, PATIENCE)

    @handler("plain", concurrency=2, timeout=0.3, retry=AT_ONCE)
    def plain(payload: str) -> Any:
        return hangs() if bench.lives == 1 else "done"

    bench = ConcurrentBench(sqlite_url, tmp_path, plain)
    async with bench.running():
        [hung] = await bench.submit("plain", "x")
        assert await end(bench, hung) is State.COMPLETED
        assert await bench.outcomes(hung) == [OutcomeKind.TIMED_OUT, OutcomeKind.SUCCEEDED]
        assert bench.lives == 2


async def test_on_failure_has_a_thread_though_handlers_keep_all_of_theirs(
    sqlite_url: str, tmp_path: Path, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt_loop, "EXECUTOR_THREADS", 2)
    told: list[str] = []

    def on_failure(payload: str, error: BaseException, context: Context) -> None:
        told.append(str(error))

    @handler("io", concurrency=4, retry=RetryPolicy(max_attempts=1), on_failure=on_failure)
    async def io(payload: str) -> None:
        if payload == "keeps":
            await asyncio.to_thread(gate.wait, PATIENCE)
        else:
            raise ValueError("it fails")

    bench = ConcurrentBench(sqlite_url, tmp_path, io)
    async with bench.running():
        keeping = await bench.submit("io", "keeps", "keeps")
        await until(lambda: len(bench.work._calls) == 2)
        assert await end(bench, await submit(bench, "io", "fails")) is State.FAILED
        assert told == ["it fails"]
        gate.set()
        assert {task.state for task in await bench.ends(keeping)} == {State.COMPLETED}


async def test_what_no_thread_has_begun_is_dropped(gate: threading.Event) -> None:
    work, begun = ThreadWork(), threading.Event()

    def hangs() -> None:
        begun.set()
        gate.wait(PATIENCE)

    with HandlerThreads(lambda: work, 1) as threads:
        running: Future[Any] = threads.submit(hangs)
        waiting = threads.submit(begun.set)
        assert await asyncio.to_thread(begun.wait, PATIENCE)
        assert work.count == 2
        assert not await work.end(0.01)
        assert waiting.cancelled()
        assert work.count == 1
        gate.set()
        assert await work.end(PATIENCE)
        assert running.done()
