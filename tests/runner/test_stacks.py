"""The stack of a running attempt: it begins with the handler, and shows what waits."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from raytasks import handler
from raytasks.runner import stacks
from raytasks.runner.stacks import StackRequests, stack_text
from tests.working import PATIENCE, Working

begun, go_on = threading.Event(), threading.Event()


def helper() -> None:
    """Wait in a function that the handler calls."""
    begun.set()
    go_on.wait(PATIENCE)


@handler("deep")
def deep(payload: Any) -> None:
    """Call a helper that waits."""
    helper()


async def inner() -> None:
    """Wait on the event loop."""
    begun.set()
    await asyncio.to_thread(go_on.wait, PATIENCE)


@handler("deep_async")
async def deep_async(payload: Any) -> None:
    """Await a coroutine that waits."""
    await inner()


@handler("busy_async")
async def busy_async(payload: Any) -> None:
    """Block the event loop."""
    helper()


@contextmanager
def running(name: str) -> Iterator[Callable[[], str]]:
    """Run an attempt until it waits; the value returns its stack."""
    begun.clear()
    go_on.clear()
    working = Working(deep, deep_async, busy_async)
    thread = threading.Thread(target=working.run, args=[name])
    thread.start()
    assert begun.wait(PATIENCE)

    def shown() -> str:
        attempt, thread_id = working.worker.current, working.worker.thread_id
        assert attempt is not None
        assert thread_id is not None
        text = stack_text(attempt, thread_id)
        assert text is not None
        return text

    yield shown
    go_on.set()
    thread.join(PATIENCE)


def functions(text: str) -> list[str]:
    """Return the names of the functions in a stack."""
    return [line.rpartition(" in ")[2] for line in text.splitlines() if '", line ' in line]


def test_the_stack_begins_with_the_handler() -> None:
    with running("deep") as shown:
        text = shown()
    assert functions(text)[:2] == ["deep", "helper"]
    assert "go_on.wait(PATIENCE)" in text


def test_a_coroutine_that_waits_is_shown_and_not_its_event_loop() -> None:
    with running("deep_async") as shown:
        deadline = threading.Event()
        while functions(text := shown())[:2] != ["deep_async", "inner"]:  # until the loop is idle
            assert not deadline.wait(0.01), text
    assert functions(text)[:2] == ["deep_async", "inner"]
    assert "select" not in functions(text)


def test_an_event_loop_that_is_blocked_shows_by_what() -> None:
    with running("busy_async") as shown:
        found = functions(shown())
    assert found[found.index("busy_async") + 1] == "helper"


def test_a_thread_that_has_ended_has_no_stack() -> None:
    with running("deep"):
        thread = threading.Thread(target=lambda: None)
        thread.start()
        thread.join()
        assert thread.ident is not None
        assert stack_text(None, thread.ident) is None  # type: ignore[arg-type]


async def test_whoever_asks_gets_the_stack_that_the_process_shows() -> None:
    requests = StackRequests()
    asked = [asyncio.ensure_future(requests.ask()) for _ in range(2)]
    assert await requests.wanted()
    requests.answer("a stack")
    assert await asyncio.gather(*asked) == ["a stack", "a stack"]


async def test_nobody_waits_for_an_attempt_that_has_ended() -> None:
    requests = StackRequests()
    asked = asyncio.ensure_future(requests.ask())
    await asyncio.sleep(0)
    requests.end()
    assert await asked is None
    assert await requests.ask() is None
    assert not await requests.wanted()


async def test_a_process_that_is_silent_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacks, "ANSWER_SECONDS", 0.01)
    assert await StackRequests().ask() is None
