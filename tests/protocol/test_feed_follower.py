"""The follower of the feed for many: each event wakes those whom it concerns."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from raytasks.model.states import State
from raytasks.model.tasks import Task
from raytasks.protocol import feed_follower as watch_module
from raytasks.protocol.feed_follower import FeedQueue, TaskWatch
from raytasks.protocol.messages import Feed, FeedPart, StateChange
from raytasks.protocol.queries import Query, TaskDetail


class Scripted:
    """A tracker whose feed is what the test says."""

    def __init__(self) -> None:
        self.feeds: asyncio.Queue[Feed] = asyncio.Queue()
        self.asked: asyncio.Queue[tuple[int, int]] = asyncio.Queue()
        self.parts: list[FeedPart] = []
        self.looks: Counter[str] = Counter()
        self.state = State.PENDING
        self.known = True

    async def read(self, query: Query[Any]) -> Any:
        assert isinstance(query, TaskDetail)
        self.looks[query.task_id] += 1
        return (a_task(query.task_id, self.state), []) if self.known else None

    async def polls(self, number: int) -> list[tuple[int, int]]:
        """Wait for so many polls, and return from where they went on."""
        async with asyncio.timeout(5):
            return [await self.asked.get() for _ in range(number)]

    async def changes(self, epoch: int, after: int, seconds: float, part: FeedPart) -> Feed:
        self.parts.append(part)
        self.asked.put_nowait((epoch, after))
        return await self.feeds.get()


def a_task(task_id: str, state: State) -> Task:
    return Task(
        task_id, "short", state, "{}", None, None, 0, 0, 1, 0, 0, False, None, None, None,
        1.0, 1.0, None, None, 1.0,
    )  # fmt: skip


def change(task_id: str, state: State = State.RUNNING, number: int = 1) -> StateChange:
    return StateChange(task_id, "short", state, 1, number=number)


@pytest.mark.parametrize(
    ("feed", "woken"),
    [
        (Feed(1, 1, gap=True), "ab"),
        (Feed(1, 1, news=("a", "x")), "a"),
        (Feed(1, 1, news=("b", "a")), "ab"),
        (Feed(1, 1, news=("x",)), ""),
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
    pieces = [Feed(1, 1, gap=True), Feed(1, 2), Feed(1, 3, (change("a", number=3),))]
    with watch.following() as queue:
        for piece in pieces:
            tracker.feeds.put_nowait(piece)
        await tracker.polls(4)
        assert await queue.get() == [pieces[0], pieces[2]]
    assert set(tracker.parts) == {FeedPart.CHANGES}


async def test_a_queue_that_nobody_empties_becomes_a_gap() -> None:
    queue = FeedQueue(size=2)
    for number in range(1, 4):
        queue.put(Feed(7, number, (change("a", number=number),)))
    assert await queue.get() == [Feed(7, 3, gap=True)]
    queue.put(Feed(7, 4, (change("a", number=4),)))
    assert len(await queue.get()) == 1


@asynccontextmanager
async def waiting(watch: TaskWatch, *names: str) -> AsyncIterator[list[asyncio.Task[object]]]:
    """Some who wait for the ends of tasks; who waits still when the block ends is sent away."""
    waits: list[asyncio.Task[object]] = [
        asyncio.ensure_future(watch.final(name, 60)) for name in names
    ]
    try:
        yield waits
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


async def let_run() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


class TestEnds:
    async def test_who_waits_looks_at_the_beginning_and_at_the_end_and_nobody_else_does(
        self,
    ) -> None:
        tracker = Scripted()
        watch = TaskWatch(tracker)
        tracker.feeds.put_nowait(Feed(1, 5, gap=True))
        async with waiting(watch, "a", "b", "b") as (first, *others):
            assert await tracker.polls(2) == [(0, -1), (1, 5)]
            await let_run()
            tracker.looks.clear()
            tracker.state = State.COMPLETED
            tracker.feeds.put_nowait(Feed(1, 7, ends=("x", "a")))
            found = await asyncio.wait_for(first, 5)
            assert found == (a_task("a", State.COMPLETED), [])
            assert tracker.looks == {"a": 1}
            assert not any(other.done() for other in others)
            assert await tracker.polls(1) == [(1, 7)]
            async with waiting(watch, "c") as (late,):  # the feed is followed already
                assert await asyncio.wait_for(late, 5)
            assert tracker.looks == {"a": 1, "c": 1}
        assert watch.watched == 0
        assert set(tracker.parts) == {FeedPart.ENDS}

    async def test_after_a_gap_all_look_again(self) -> None:
        tracker = Scripted()
        watch = TaskWatch(tracker)
        names = [f"task {number}" for number in range(200)]
        async with waiting(watch, *names) as waits:
            tracker.feeds.put_nowait(Feed(1, 5, gap=True))
            await tracker.polls(2)
            for _ in range(20):
                await let_run()
            assert set(tracker.looks.values()) == {2}
            tracker.state = State.FAILED
            tracker.feeds.put_nowait(Feed(2, 1, gap=True))
            assert len(await asyncio.wait_for(asyncio.gather(*waits), 5)) == 200
        assert watch.watched == 0

    async def test_nobody_waits_and_nobody_asks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(watch_module, "LINGER_SECONDS", 0.0)
        tracker = Scripted()
        watch = TaskWatch(tracker)
        await let_run()
        assert tracker.parts == []
        async with waiting(watch, "a"):
            tracker.feeds.put_nowait(Feed(1, 5, gap=True))
            await tracker.polls(2)
        tracker.feeds.put_nowait(Feed(1, 6, ends=("a",)))  # the answer to the last poll
        await let_run()
        assert len(tracker.parts) == 2
        # The next one begins again, from the feed's present place.
        async with waiting(watch, "b"):
            tracker.feeds.put_nowait(Feed(1, 70, gap=True))
            assert await tracker.polls(2) == [(0, -1), (1, 70)]

    async def test_who_comes_soon_after_finds_it_followed(self) -> None:
        tracker = Scripted()
        watch = TaskWatch(tracker)
        tracker.feeds.put_nowait(Feed(1, 5, gap=True))
        async with waiting(watch, "a"):
            await tracker.polls(2)
        tracker.feeds.put_nowait(Feed(1, 9, ends=("a",)))
        assert await tracker.polls(1) == [(1, 9)]

    async def test_what_concerns_nobody_slows_the_polls_down_and_what_does_speeds_them_up(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pauses: list[float] = []
        sleep = asyncio.sleep

        async def noted(seconds: float) -> None:
            if seconds:
                pauses.append(seconds)
            await sleep(0)

        monkeypatch.setattr(asyncio, "sleep", noted)
        tracker = Scripted()
        watch = TaskWatch(tracker)
        async with waiting(watch, "a"):
            tracker.feeds.put_nowait(Feed(1, 1, gap=True))
            for number in range(2, 8):
                tracker.feeds.put_nowait(Feed(1, number, ends=("x",)))
            await tracker.polls(8)
            assert pauses == [0.002, 0.004, 0.008, 0.016, 0.02, 0.02]
            tracker.feeds.put_nowait(Feed(1, 8, ends=("a",)))
            tracker.feeds.put_nowait(Feed(1, 9, ends=("x",)))
            await tracker.polls(2)
            assert pauses[6:] == [0.002]
            tracker.feeds.put_nowait(Feed(1, 9))  # nothing, after a long time
            await tracker.polls(1)
            assert len(pauses) == 7

    async def test_an_error_of_the_feed_is_tried_again(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(watch_module, "_RETRY_SECONDS", 0.0)
        tracker = Scripted()
        watch = TaskWatch(tracker)
        changes, errors = tracker.changes, [OSError("away"), OSError("away")]

        async def failing(epoch: int, after: int, seconds: float, part: FeedPart) -> Feed:
            if errors:
                raise errors.pop()
            return await changes(epoch, after, seconds, part)

        tracker.changes = failing  # type: ignore[method-assign]
        async with waiting(watch, "a") as (first,):
            tracker.state = State.COMPLETED
            tracker.feeds.put_nowait(Feed(1, 5, gap=True))
            assert await asyncio.wait_for(first, 5)
