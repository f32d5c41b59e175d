"""A concurrent runner's care for its process: what it puts back, and when it leaves."""

import asyncio
import os
import threading
from collections.abc import Callable

import pytest

from raytasks.handling.attempt_waits import waiting_for
from raytasks.handling.declaration import handler
from raytasks.model.states import State
from raytasks.runner import concurrent_work
from tests.runner.concurrent_bench import PATIENCE, ConcurrentBench, until

NAME = "RAYTASKS_TEST_LEFT_BEHIND"


async def test_what_attempts_change_is_put_back_when_none_runs(
    bench: Callable[..., ConcurrentBench],
) -> None:
    gate = threading.Event()

    @handler("changes", concurrency=2)
    def changes(payload: str) -> str | None:
        if payload == "sets":
            os.environ[NAME] = "set"
        elif payload == "waits":
            gate.wait(PATIENCE)
        return os.environ.get(NAME)

    async with bench(changes).running() as running:
        waits = await running.submit("changes", "waits")
        [one] = await running.ends(await running.submit("changes", "sets"))
        [two] = await running.ends(await running.submit("changes", "looks"))
        assert (one.result, two.result) == ('"set"', '"set"')  # one still runs
        gate.set()
        await running.ends(waits)
        [three] = await running.ends(await running.submit("changes", "looks"))
        assert three.result == "null"


async def test_a_used_up_runner_lets_its_attempts_end_and_leaves(
    bench: Callable[..., ConcurrentBench],
) -> None:
    gate = threading.Event()

    @handler("short", concurrency=4)
    async def short(payload: int) -> int:
        if payload < 0:
            await asyncio.to_thread(gate.wait, PATIENCE)
        return payload

    async with bench(short).running(max_tasks=5) as running:
        long = await running.submit("short", -1)
        await running.ends(await running.submit("short", *range(5)))
        later = await running.submit("short", 9)
        assert running.lives == 1  # it waits for the long one
        gate.set()
        tasks = await running.ends([*long, *later])
        assert [(task.state, task.crashes) for task in tasks] == [(State.COMPLETED, 0)] * 2
        assert running.lives == 2


async def test_a_runner_says_that_all_its_attempts_wait_for_tasks(
    bench: Callable[..., ConcurrentBench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(concurrent_work, "NOTICE_SECONDS", 0.0)
    gates = [threading.Event(), threading.Event()]

    @handler("parent", concurrency=2)
    def parent(payload: int) -> None:
        if payload:
            with waiting_for("child"):
                gates[1].wait(PATIENCE)
        else:
            gates[0].wait(PATIENCE)
            with waiting_for("child"):
                gates[1].wait(PATIENCE)

    async with bench(parent).running() as running:
        ids = await running.submit("parent", 0, 1)
        await until(lambda: len(running.work._calls) == 2)
        running.work.look()
        assert running.work.waits_for() is None  # one of them works
        gates[0].set()
        await until(lambda: running.work.waits_for() == "child")
        gates[1].set()
        await running.ends(ids)
        await until(lambda: running.work.waits_for() is None)


async def test_a_process_of_no_use_leaves(
    bench: Callable[..., ConcurrentBench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(concurrent_work, "end_process", lambda *_: None)

    @handler("last", concurrency=2)
    async def last(payload: int) -> int:
        return payload

    async with bench(last).running() as running:
        await running.ends(await running.submit("last", 1))
        running.work._workplace.unfit = lambda: "its node is gone"
        await running.ends(await running.submit("last", 2))
        await until(lambda: running.lives == 2)
        [task] = await running.ends(await running.submit("last", 3))
        assert task.crashes == 0


async def test_a_class_that_cannot_be_loaded_fails_its_attempts(
    bench: Callable[..., ConcurrentBench],
) -> None:
    @handler("broken", concurrency=2)
    class Broken:
        def __init__(self) -> None:
            raise OSError("no weights")

        async def __call__(self, payload: int) -> None: ...

    async with bench(Broken).running() as running:
        [task] = await running.ends(await running.submit("broken", 1, max_attempts=1))
        assert task.state is State.FAILED
        assert "no weights" in (task.error or "")
