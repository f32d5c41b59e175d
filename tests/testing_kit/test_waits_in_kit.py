"""Waits in the kit: their timeouts are by the clock that the kit moves."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import raytasks
from raytasks.client import AsyncClient, Client, WaitTimeout
from raytasks.testing import Queue
from raytasks.testing.clock import START


def by_task(queue: Queue, seconds: float, delay: float) -> Any:
    task = raytasks.submit("coroutine", 7, delay_seconds=delay)
    return task.wait(timeout_seconds=seconds)


def by_client(queue: Queue, seconds: float, delay: float) -> Any:
    with Client(queue.url, transport=queue.transport) as client:
        return client.run("coroutine", 7, delay_seconds=delay, wait_timeout_seconds=seconds)[
            "result"
        ]


def by_client_wait(queue: Queue, seconds: float, delay: float) -> Any:
    task = queue.submit("coroutine", 7, delay_seconds=delay)
    with Client(queue.url, transport=queue.transport) as client:
        return client.wait(task.task_id, timeout_seconds=seconds)["result"]


def by_async_client(queue: Queue, seconds: float, delay: float) -> Any:
    async def run() -> Any:
        async with AsyncClient(queue.url, transport=queue.transport) as client:
            done = await client.run(
                "coroutine", 7, delay_seconds=delay, wait_timeout_seconds=seconds
            )
            return done["result"]

    return asyncio.run(run())


WAYS = [by_task, by_client, by_client_wait, by_async_client]


@pytest.mark.parametrize("wait", WAYS)
@pytest.mark.parametrize("seconds", [0.5, 5, 200])
def test_a_wait_ends_on_the_clock(queue: Queue, wait: Callable[..., Any], seconds: float) -> None:
    with pytest.raises((TimeoutError, WaitTimeout)):
        wait(queue, seconds, 3600)
    assert queue.clock() == pytest.approx(START + seconds)
    assert queue.runs == []


@pytest.mark.parametrize("wait", WAYS)
@pytest.mark.parametrize("delay", [0, 5, 199])
def test_what_is_due_before_runs(queue: Queue, wait: Callable[..., Any], delay: float) -> None:
    assert wait(queue, 200, delay) == 7
    assert queue.clock() == pytest.approx(START + delay)


@pytest.mark.parametrize("wait", WAYS)
def test_a_pause_does_not_hold_a_wait_up(queue: Queue, wait: Callable[..., Any]) -> None:
    queue.http.post("/pause", json={})
    with pytest.raises((TimeoutError, WaitTimeout)):
        wait(queue, 100, 0)
    assert queue.clock() == pytest.approx(START + 100)


def test_no_time_at_all(queue: Queue) -> None:
    task = raytasks.submit("coroutine", 7, delay_seconds=1)
    for seconds in (0, -1):
        with pytest.raises(TimeoutError, match=r"not within -?[01] seconds of the test's clock"):
            task.wait(timeout_seconds=seconds)
    assert queue.clock() == START
    assert task.wait() == 7
