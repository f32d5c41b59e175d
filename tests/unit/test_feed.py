"""The event feed and those who wait for the end of a task."""

import asyncio

import pytest

from raytasks.models import Feed, StateChange
from raytasks.states import State
from raytasks.tracker.feed import FeedRing, Waiters


def publish(ring: FeedRing, *task_ids: str) -> None:
    ring.publish(StateChange(task_id, "short", State.PENDING, 0) for task_id in task_ids)


def names(feed: Feed) -> list[str]:
    return [change.task_id for change in feed.changes]


async def begun(task: "asyncio.Task[object]") -> None:
    """Let a task run up to where it waits."""
    for _ in range(3):
        await asyncio.sleep(0)
    assert not task.done()


class TestSince:
    def test_changes_are_numbered_and_told_in_order(self) -> None:
        ring = FeedRing(7)
        publish(ring, "a", "b")
        publish(ring, "c")
        feed = ring.since(7, 0)
        assert (feed.epoch, feed.last, feed.gap) == (7, 3, False)
        assert [(change.number, change.task_id) for change in feed.changes] == [
            (1, "a"),
            (2, "b"),
            (3, "c"),
        ]

    @pytest.mark.parametrize(("after", "told"), [(0, "abc"), (1, "bc"), (2, "c"), (3, "")])
    def test_only_what_came_after_is_told(self, after: int, told: str) -> None:
        ring = FeedRing(7)
        publish(ring, *"abc")
        feed = ring.since(7, after)
        assert ("".join(names(feed)), feed.last, feed.gap) == (told, 3, False)

    @pytest.mark.parametrize(
        ("after", "told", "gap"), [(0, "def", True), (2, "def", True), (3, "def", False)]
    )
    def test_what_is_gone_is_a_gap(self, after: int, told: str, gap: bool) -> None:
        ring = FeedRing(7, size=3)
        publish(ring, *"abcdef")
        feed = ring.since(7, after)
        assert ("".join(names(feed)), feed.gap) == (told, gap)

    @pytest.mark.parametrize(("epoch", "after"), [(6, 1), (8, 0), (7, 4), (0, 0)])
    def test_another_epoch_or_a_number_of_the_future_is_a_gap(self, epoch: int, after: int) -> None:
        ring = FeedRing(7)
        publish(ring, *"abc")
        assert ring.since(epoch, after) == Feed(7, 3, (), gap=True)


class TestNews:
    def test_they_are_told_after_the_place_and_a_task_once(self) -> None:
        ring = FeedRing(7)
        publish(ring, "a")
        ring.tell(["a", "b", "a"])
        publish(ring, "c")
        ring.tell(["b"])
        feed = ring.since(7, 0)
        assert (names(feed), feed.gap, feed.last) == (["a", "c"], False, 4)
        assert sorted(feed.news or ()) == ["a", "b"]
        assert ring.since(7, 2).news == ("b",)
        assert ring.since(7, 4).news == ()

    def test_they_push_no_change_out_of_the_ring(self) -> None:
        ring = FeedRing(7, size=3)
        publish(ring, "a")
        for _ in range(10):
            ring.tell(["x", "y"])
        feed = ring.since(7, 0)
        assert (names(feed), feed.gap) == (["a"], False)

    def test_where_there_were_too_many_it_may_be_any(self) -> None:
        ring = FeedRing(7, size=3)
        publish(ring, "a")
        ring.tell(["b"])
        ring.tell("cdef")
        assert (ring.since(7, 1).news, ring.since(7, 1).gap) == (None, False)
        assert ring.since(7, 3).news == ()

    def test_after_a_break_there_is_a_gap(self) -> None:
        ring = FeedRing(7)
        ring.tell("a")
        ring.break_off()
        assert ring.since(7, 1).gap
        assert not ring.since(7, 2).gap

    async def test_they_wake_those_who_wait(self) -> None:
        ring = FeedRing(7)
        waiting = asyncio.ensure_future(ring.wait(7, 0, 60.0))
        await begun(waiting)
        ring.tell(["a"])
        assert (await asyncio.wait_for(waiting, 5)).news == ("a",)


class TestWait:
    async def test_what_is_there_is_told_at_once(self) -> None:
        ring = FeedRing(7)
        publish(ring, "a")
        assert names(await ring.wait(7, 0, 60.0)) == ["a"]

    async def test_another_epoch_is_told_at_once(self) -> None:
        assert (await FeedRing(7).wait(6, 0, 60.0)).gap

    async def test_a_change_wakes_all_who_wait(self) -> None:
        ring = FeedRing(7)
        publish(ring, "a")
        waiting = [asyncio.ensure_future(ring.wait(7, 1, 60.0)) for _ in range(3)]
        await begun(waiting[0])
        publish(ring, "b")
        feeds = await asyncio.wait_for(asyncio.gather(*waiting), 5)
        assert [names(feed) for feed in feeds] == [["b"]] * 3

    async def test_one_who_begins_to_wait_does_not_put_another_to_sleep(self) -> None:
        ring = FeedRing(7)
        first = asyncio.ensure_future(ring.wait(7, 0, 60.0))
        await begun(first)
        publish(ring, "a")
        second = asyncio.ensure_future(ring.wait(7, 1, 60.0))
        assert names(await asyncio.wait_for(first, 5)) == ["a"]
        await begun(second)
        publish(ring, "b")
        assert names(await asyncio.wait_for(second, 5)) == ["b"]

    async def test_no_change_wakes_nobody(self) -> None:
        ring = FeedRing(7)
        waiting = asyncio.ensure_future(ring.wait(7, 0, 60.0))
        await begun(waiting)
        ring.publish([])
        await begun(waiting)
        waiting.cancel()

    async def test_without_a_change_the_feed_is_empty_in_the_end(self) -> None:
        assert await FeedRing(7).wait(7, 0, 0.001) == Feed(7, 0)


class TestWaiters:
    async def test_all_who_wait_for_a_task_are_answered_and_others_wait_on(self) -> None:
        waiters: Waiters[int] = Waiters()
        both = [asyncio.ensure_future(waiters.wait("a", None)) for _ in range(2)]
        other = asyncio.ensure_future(waiters.wait("b", None))
        await begun(other)
        assert len(waiters) == 3
        waiters.answer("a", 5)
        assert await asyncio.wait_for(asyncio.gather(*both), 5) == [5, 5]
        assert "a" not in waiters
        assert "b" in waiters
        waiters.answer_all(6)
        assert await asyncio.wait_for(other, 5) == 6
        assert len(waiters) == 0

    async def test_nobody_is_kept_after_giving_up(self) -> None:
        waiters: Waiters[int] = Waiters()
        assert await waiters.wait("a", 0.001) is None
        gone = asyncio.ensure_future(waiters.wait("a", None))
        await begun(gone)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        assert (len(waiters), "a" in waiters) == (0, False)

    async def test_a_second_answer_is_harmless(self) -> None:
        waiters: Waiters[int] = Waiters()
        waiting = asyncio.ensure_future(waiters.wait("a", None))
        await begun(waiting)
        waiters.answer("a", 1)
        waiters.answer("a", 2)
        waiters.answer("never asked for", 3)
        assert await waiting == 1
        assert "never asked for" not in waiters
