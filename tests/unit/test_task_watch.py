"""Who follows the feed for many: what comes in it wakes whom it concerns."""

import asyncio

import pytest

from raytasks.models import Attempt, Feed, StateChange, Task
from raytasks.states import State
from raytasks.tracker.watch import FeedQueue, TaskWatch


class Scripted:
    """A tracker whose feed is what the test says."""

    def __init__(self) -> None:
        self.feeds: asyncio.Queue[Feed] = asyncio.Queue()
        self.asked: asyncio.Queue[tuple[int, int]] = asyncio.Queue()

    async def task(self, task_id: str) -> tuple[Task, list[Attempt]] | None:
        return None

    async def polls(self, number: int) -> list[tuple[int, int]]:
        """Wait for so many polls, and return from where they went on."""
        async with asyncio.timeout(5):
            return [await self.asked.get() for _ in range(number)]

    async def changes(self, epoch: int, after: int, seconds: float) -> Feed:
        self.asked.put_nowait((epoch, after))
        return await self.feeds.get()


def change(task_id: str, state: State = State.RUNNING, number: int = 1) -> StateChange:
    return StateChange(task_id, "short", state, 1, number=number)


@pytest.mark.parametrize(
    ("feed", "woken"),
    [
        (Feed(1, 1, gap=True), "ab"),
        (Feed(1, 1, news=None), "ab"),
        (Feed(1, 1, news=("a", "x")), "a"),
        (Feed(1, 1, (change("b"),)), "b"),
        (Feed(1, 1, (change("x"),), news=("y",)), ""),
    ],
)
async def test_who_listens_is_woken_by_what_concerns_its_task(feed: Feed, woken: str) -> None:
    tracker = Scripted()
    watch = TaskWatch(tracker)
    with watch.listening("a") as first, watch.listening("b") as second:
        tracker.feeds.put_nowait(feed)
        assert await tracker.polls(2) == [(0, -1), (1, 1)]
        events = {"a": first, "b": second}
        assert "".join(name for name, event in events.items() if event.is_set()) == woken
        assert watch.watched == 2
    assert watch.watched == 0


async def test_who_follows_all_gets_pieces_with_changes_and_gaps_alone() -> None:
    tracker = Scripted()
    watch = TaskWatch(tracker)
    pieces = [Feed(1, 1, gap=True), Feed(1, 2, news=("a",)), Feed(1, 3, (change("a", number=3),))]
    with watch.following() as queue:
        for piece in pieces:
            tracker.feeds.put_nowait(piece)
        await tracker.polls(4)
        assert await queue.get() == [pieces[0], pieces[2]]


async def test_a_queue_that_nobody_empties_becomes_a_gap() -> None:
    queue = FeedQueue(size=2)
    for number in range(1, 4):
        queue.put(Feed(7, number, (change("a", number=number),)))
    assert await queue.get() == [Feed(7, 3, gap=True)]
    queue.put(Feed(7, 4, (change("a", number=4),)))
    assert len(await queue.get()) == 1
