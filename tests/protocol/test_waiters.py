"""Waiters for a task: they look at the right times, and leave nothing behind."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from raytasks.protocol.waiters import Waiters


class Looking:
    """Looks at what the test says; the last one is looked at again and again."""

    def __init__(self, *found: str) -> None:
        self.found = list(found)
        self.looks = 0

    async def __call__(self) -> str:
        self.looks += 1
        await asyncio.sleep(0)
        return self.found.pop(0) if len(self.found) > 1 else self.found[0]


def begin(
    waiters: Waiters,
    look: Callable[[], Awaitable[str]],
    task_id: str = "a",
    seconds: float | None = None,
) -> "asyncio.Task[str]":
    return asyncio.ensure_future(
        waiters.look_until(task_id, look, lambda found: found == "ended", seconds)
    )


async def let_run() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_what_has_ended_is_looked_at_once() -> None:
    waiters, look = Waiters(), Looking("ended")
    assert await begin(waiters, look) == "ended"
    assert (look.looks, len(waiters)) == (1, 0)


async def test_each_answer_is_a_look_and_others_wait_on() -> None:
    waiters, look, other = Waiters(), Looking("open", "open", "ended"), Looking("open")
    both = [begin(waiters, look), begin(waiters, Looking("open", "ended"))]
    third = begin(waiters, other, "b")
    await let_run()
    assert (len(waiters), "a" in waiters, "c" in waiters) == (3, True, False)
    assert waiters.answer("a")
    await let_run()
    assert (both[0].done(), both[1].done(), look.looks, other.looks) == (False, True, 2, 1)
    assert waiters.answer("a")
    assert await both[0] == "ended"
    assert not waiters.answer("a")
    assert not waiters.answer("never asked for")
    assert (len(waiters), "a" in waiters, "b" in waiters) == (1, False, True)
    third.cancel()


async def test_an_answer_during_a_look_is_another_look() -> None:
    waiters = Waiters()
    found = ["open", "ended"]

    async def look() -> str:
        now = found.pop(0)
        waiters.answer("a")
        waiters.answer("a")
        return now

    assert await asyncio.wait_for(begin(waiters, look), 5) == "ended"


@pytest.mark.parametrize(("seconds", "looks"), [(0.0, 1), (0.001, 2)])
async def test_in_the_end_it_is_what_it_is_then(seconds: float, looks: int) -> None:
    waiters, look = Waiters(), Looking("open", "later")
    found = await begin(waiters, look, seconds=seconds)
    assert (found, look.looks, len(waiters)) == (("open", "later")[looks - 1], looks, 0)


async def test_nobody_is_kept_who_has_gone_or_failed() -> None:
    async def fail() -> str:
        raise OSError("away")

    waiters = Waiters()
    gone = begin(waiters, Looking("open"), seconds=60)
    await let_run()
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    with pytest.raises(OSError, match="away"):
        await begin(waiters, fail)
    assert (len(waiters), "a" in waiters) == (0, False)


async def test_all_are_answered_some_at_a_time() -> None:
    waiters = Waiters()
    looks = [Looking("open") for _ in range(230)]
    waits = [begin(waiters, look, str(number % 200)) for number, look in enumerate(looks)]
    await let_run()
    waiters.answer_all()
    await asyncio.sleep(0)
    assert 0 < sum(look.looks > 1 for look in looks) < 200
    await let_run()
    assert {look.looks for look in looks} == {2}
    for wait in waits:
        wait.cancel()
