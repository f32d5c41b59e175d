"""Parents that wait for tasks of their own pool are noticed, and the pool gets room for them."""

import asyncio
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from raytasks.handling import attempt_waits
from raytasks.handling.attempt_waits import AttemptWaits
from raytasks.runner.attempt import Attempt
from raytasks.runner.nested import (
    MAX_EXTRA,
    NOTICE_SECONDS,
    NestedWaits,
    WaitingCall,
    WaitNotice,
    most_with_waiting,
    stands_still,
)


@pytest.mark.parametrize(
    ("most", "size", "waiting", "allowed"),
    [
        (1, 1, 0, 1),
        (1, 1, 1, 2),  # all wait: one more
        (1, 2, 1, 2),  # the extra one is kept while the parent waits
        (1, 2, 2, 3),  # it waits, too: a chain
        (1, 2, 0, 1),  # nobody waits any more
        (4, 4, 3, 4),  # one works: its end is the progress
        (4, 3, 3, 4),  # within its own limit
        (4, 4, 4, 5),
        (4, 6, 3, 6),
        (1, 0, 0, 1),
        (1, 1 + MAX_EXTRA, 1 + MAX_EXTRA, 1 + MAX_EXTRA),  # the limit
        (2, 30, 30, 2 + MAX_EXTRA),
    ],
)
def test_how_many_runners_a_pool_may_have(most: int, size: int, waiting: int, allowed: int) -> None:
    assert most_with_waiting(most, size, waiting) == allowed


def test_what_health_says() -> None:
    nested = NestedWaits(lambda: 5.0)
    nested.most("shared", 4, 4, 2)
    assert nested.report() == []  # two of four work: no news
    nested.most("class.a", 1, 1, 1)
    nested.most("class.b", 1, 1 + MAX_EXTRA, 1 + MAX_EXTRA)
    first, second = nested.report()
    assert (first["pool"], first["waiting_for_tasks"], first["extra"]) == ("class.a", 1, 0)
    assert (second["pool"], second["extra"]) == ("class.b", MAX_EXTRA)
    assert "stands still" in second["message"]
    assert "stands still" not in first["message"]
    assert [(reason["code"], reason["since"], reason["count"]) for reason in nested.reasons()] == [
        ("pool_waits", 5.0, 1),
        ("pool_stands_still", 5.0, 1 + MAX_EXTRA),
    ]
    nested.most("class.a", 1, 2, 0)
    nested.most("class.b", 1, 1, 0)
    assert nested.report() == nested.reasons() == []


class Parent:
    """An attempt in a thread of its own, that waits as a handler might."""

    def __init__(self, wait: Callable[["Parent"], None]) -> None:
        self.waits = AttemptWaits()
        self.begun = threading.Event()
        self.end = threading.Event()
        self._wait = wait
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Parent":
        self._thread.start()
        assert self.begun.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self.end.set()
        self._thread.join(10)

    @property
    def attempt(self) -> Attempt:
        return cast("Attempt", self)

    def seen(self) -> str | None:
        """Return what is noticed within a time that is long enough."""
        notice = WaitNotice()
        assert not notice.look(self.attempt, self._thread.ident, 100.0)
        assert notice.of(self.attempt) is None  # too short a time
        news = notice.look(self.attempt, self._thread.ident, 100.0 + NOTICE_SECONDS)
        found = notice.of(self.attempt)
        assert news == (found is not None)
        assert notice.of(cast("Attempt", object())) is None
        return found

    def _run(self) -> None:
        with attempt_waits.noting(self.waits):
            self._wait(self)


def by_wait(parent: Parent) -> None:
    with attempt_waits.waiting_for("child"):
        parent.begun.set()
        parent.end.wait()


def by_reference(parent: Parent) -> None:
    """Wait as `ray.get` does: in a function of that name, in that module."""
    parent.waits.watch("child", lambda: not parent.end.is_set())
    space = {"__name__": "ray._private.worker", "parent": parent}
    exec("def get(refs):\n    parent.begun.set()\n    parent.end.wait()", space)
    cast("Any", space["get"])(["ref"])


def on_a_loop(parent: Parent) -> None:
    """Wait as `await ref` does."""
    parent.waits.watch("child", lambda: not parent.end.is_set())

    async def wait() -> None:
        loop = asyncio.get_running_loop()
        # It is set in the thread's own time, so the test may look a moment before it waits.
        loop.call_soon(parent.begun.set)
        while not parent.end.is_set():  # noqa: ASYNC110 - a thread of the test ends it
            await asyncio.sleep(0.01)

    asyncio.run(wait())


@pytest.mark.parametrize("wait", [by_wait, by_reference])
def test_a_wait_is_noticed(wait: Callable[[Parent], None]) -> None:
    with Parent(wait) as parent:
        assert parent.seen() == "child"
    assert parent.seen() is None


def test_a_wait_on_a_loop_is_noticed() -> None:
    with Parent(on_a_loop) as parent:
        while parent.seen() is None:
            pass
    assert parent.seen() is None


def test_who_has_a_reference_and_works_does_not_wait() -> None:
    def work(parent: Parent) -> None:
        parent.waits.watch("child", lambda: True)
        parent.begun.set()
        while not parent.end.is_set():
            sum(range(100))

    with Parent(work) as parent:
        assert parent.seen() is None


def test_a_reference_that_has_a_value_is_no_wait() -> None:
    def wait(parent: Parent) -> None:
        parent.waits.watch("child", lambda: False)
        space = {"__name__": "ray._private.worker", "parent": parent}
        exec("def get(refs):\n    parent.begun.set()\n    parent.end.wait()", space)
        cast("Any", space["get"])(["ref"])

    with Parent(wait) as parent:
        assert parent.seen() is None
        assert not parent.waits.has_references


def test_another_attempt_begins_from_nothing() -> None:
    notice = WaitNotice()
    first, second = (cast("Attempt", SimpleNamespace(waits=AttemptWaits())) for _ in range(2))
    with first.waits.waiting("a"):
        notice.look(first, None, 1.0)
        assert notice.look(first, None, 3.0)
    with second.waits.waiting("b"):
        assert not notice.look(second, None, 3.1)
        assert notice.of(second) is None
        assert notice.look(second, None, 4.2)
        assert notice.of(second) == "b"
        assert not notice.look(second, None, 5.2)
    assert notice.look(second, None, 5.3)
    assert notice.of(second) is None


def call(task_type: str, task: str, awaited: str | None = None) -> WaitingCall:
    return WaitingCall(task_type, frozenset([task]), awaited)


@pytest.mark.parametrize(
    ("calls", "full", "found"),
    [
        ([call("tree", "a", "x"), call("tree", "b", "y")], ["tree"], "x"),
        ([call("tree", "a", "x"), call("tree", "b", "y")], [], None),
        ([call("tree", "a", "x"), call("tree", "b")], ["tree"], None),
        # A call of another type goes on, which helps nobody here.
        ([call("tree", "a", "x"), call("feed", "f")], ["tree", "feed"], "x"),
        ([call("tree", "a", "x"), call("feed", "f")], ["feed"], None),
        # What they wait for goes on here, at once or behind another one.
        ([call("parent", "a", "c"), call("child", "c")], ["parent", "child"], None),
        ([call("top", "a", "b"), call("mid", "b", "c"), call("low", "c")], ["top", "mid"], None),
        ([call("top", "a", "b"), call("mid", "b", "x"), call("low", "c")], ["top", "low"], "b"),
        # Each waits for the other.
        ([call("tree", "a", "b"), call("tree", "b", "a")], ["tree"], "b"),
        ([], ["tree"], None),
    ],
)
def test_a_type_stands_still_when_all_its_calls_wait(
    calls: list[WaitingCall], full: list[str], found: str | None
) -> None:
    assert stands_still(calls, full) == found
