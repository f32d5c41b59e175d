"""Middleware and contexts in each kind of runner, with a tracker's claims."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from raytasks import Batch, Context, Invocation, handler, middleware
from raytasks.handling.context import LocalChannel
from raytasks.handling.declaration import handler_of
from raytasks.handling.middleware import middleware_of
from raytasks.handling.registry import Registry
from raytasks.model.states import State
from raytasks.protocol.messages import Claim
from raytasks.runner.worker import Worker
from raytasks.runner.workplace import Workplace
from raytasks.testing import Queue
from tests.runner.concurrent_bench import PATIENCE, ConcurrentBench

KINDS = ("thread", "loop", "batch")


def shown(context: Context) -> list[Any]:
    return [context.priority, list(context.tags), context.namespace]


def shows(kind: str) -> Callable[..., Any]:
    """Return a handler that returns what its context shows."""

    @handler("thread", concurrency=4)
    def in_thread(_: Any, context: Context) -> Any:
        return shown(context)

    @handler("loop", concurrency=4)
    async def on_loop(_: Any, context: Context) -> Any:
        await asyncio.sleep(0)
        return shown(context)

    @handler("batch", batch=Batch(2, seconds=5))
    def batch(payloads: list[Any], contexts: list[Context]) -> list[Any]:
        return [shown(context) for context in contexts]

    found: dict[str, Callable[..., Any]] = {
        "thread": in_thread,
        "loop": on_loop,
        "batch": batch,
    }
    return found[kind]


@pytest.mark.parametrize("kind", KINDS)
async def test_each_runner_shows_the_context_and_calls_middleware(
    sqlite_url: str, tmp_path: Path, kind: str
) -> None:
    calls: list[Invocation] = []

    @middleware
    def notes(invocation: Invocation) -> Iterator[None]:
        calls.append(invocation)
        yield

    bench = ConcurrentBench(sqlite_url, tmp_path, shows(kind))
    bench.registry.add_middleware(middleware_of(notes))
    async with bench.running():
        ids = await bench.submit_all(
            [
                {"task_type": kind, "payload": 1, "priority": 7, "tags": ["a", "b"]},
                {"task_type": kind, "payload": 2},
            ]
        )
        tasks = await bench.ends(ids)
    assert [task.state for task in tasks] == [State.COMPLETED] * 2
    assert [task.result for task in tasks] == ['[7,["a","b"],"default"]', '[0,[],"default"]']
    seen = sorted((call.payload, [one.task_id for one in call.contexts]) for call in calls)
    if kind == "batch":
        assert seen == [([1, 2], ids)]
    else:
        assert seen == [(1, ids[:1]), (2, ids[1:])]


def test_a_queue_calls_middleware_that_it_is_given() -> None:
    calls: list[Invocation] = []

    @middleware
    def notes(invocation: Invocation) -> Iterator[None]:
        calls.append(invocation)
        yield

    with Queue([shows("thread"), shows("batch"), notes]) as queue:
        tasks = [queue.submit(name, 1, priority=3) for name in ("thread", "batch", "batch")]
        queue.run_until_idle()
        assert [task.result for task in tasks] == [[3, [], "default"]] * 3
    assert sorted((call.task_type, len(call.contexts)) for call in calls) == [
        ("batch", 2),
        ("thread", 1),
    ]


def test_a_serial_runner_calls_the_middleware_of_its_registry() -> None:
    calls: list[Invocation] = []
    ended = threading.Event()

    @middleware
    def notes(invocation: Invocation) -> Iterator[None]:
        calls.append(invocation)
        yield

    registry = Registry([handler_of(shows("thread"))])
    registry.add_middleware(middleware_of(notes))
    worker = Worker(registry, Workplace(), lambda _: LocalChannel(), ended.set)
    claim = Claim("t1", "thread", 1, "5", 0, 3, None, None, namespace="mine", tags='["a"]')
    worker.add([claim])
    worker.start()
    while not (outcomes := worker.take_outcomes()):
        assert ended.wait(PATIENCE)
        ended.clear()
    assert outcomes[0].result == '[0,["a"],"mine"]'
    assert [(call.payload, call.context.namespace) for call in calls] == [(5, "mine")]
