"""The event feed: what it tells after a place, and whom it wakes."""

import asyncio

import pytest

from raytasks.model.states import State
from raytasks.protocol.messages import Feed, FeedPart, StateChange
from raytasks.tracker.feed import FeedRing


def publish(ring: FeedRing, *task_ids: str) -> None:
    ring.publish(StateChange(task_id, "short", State.PENDING, 0) for task_id in task_ids)


def end(ring: FeedRing, *task_ids: str) -> None:
    ring.publish(StateChange(task_id, "short", State.COMPLETED, 1) for task_id in task_ids)


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
        ring.notify(["a", "b", "a"])
        publish(ring, "c")
        ring.notify(["b"])
        feed = ring.since(7, 0, FeedPart.NEWS)
        assert (feed.changes, feed.gap, feed.last) == ((), False, 4)
        assert sorted(feed.news) == ["a", "b", "c"]
        assert sorted(ring.since(7, 2, FeedPart.NEWS).news) == ["b", "c"]
        assert ring.since(7, 3, FeedPart.NEWS).news == ("b",)
        assert ring.since(7, 4, FeedPart.NEWS).news == ()

    def test_they_push_no_change_out_of_the_ring(self) -> None:
        ring = FeedRing(7, size=3)
        publish(ring, "a")
        for _ in range(10):
            ring.notify(["x", "y"])
        feed = ring.since(7, 0)
        assert (names(feed), feed.news, feed.gap) == (["a"], (), False)

    def test_where_there_were_too_many_there_is_a_gap(self) -> None:
        ring = FeedRing(7, size=3)
        publish(ring, "a")
        ring.notify(["b"])
        ring.notify("cdef")
        assert ring.since(7, 1, FeedPart.NEWS).gap
        assert not ring.since(7, 1).gap
        assert ring.since(7, 3, FeedPart.NEWS) == Feed(7, 3)

    @pytest.mark.parametrize("part", FeedPart)
    def test_after_a_break_there_is_a_gap(self, part: FeedPart) -> None:
        ring = FeedRing(7)
        ring.notify("a")
        ring.break_off()
        assert ring.since(7, 1, part).gap
        assert not ring.since(7, 2, part).gap

    @pytest.mark.parametrize("also", ["told", "changed"])
    async def test_they_wake_those_who_wait(self, also: str) -> None:
        ring = FeedRing(7)
        waiting = asyncio.ensure_future(ring.wait(7, 0, 60.0, FeedPart.NEWS))
        await begun(waiting)
        if also == "told":
            ring.notify(["a"])
        else:
            publish(ring, "a")
        assert (await asyncio.wait_for(waiting, 5)).news == ("a",)


class TestEnds:
    def test_they_are_the_ids_of_what_has_ended_in_order(self) -> None:
        ring = FeedRing(7)
        publish(ring, "a")
        end(ring, "b", "a")
        publish(ring, "c")
        assert ring.since(7, 0, FeedPart.ENDS) == Feed(7, 4, ends=("b", "a"))
        assert ring.since(7, 2, FeedPart.ENDS) == Feed(7, 4, ends=("a",))
        assert ring.since(7, 3, FeedPart.ENDS) == Feed(7, 4)

    def test_other_changes_push_none_out_of_the_ring(self) -> None:
        ring = FeedRing(7, size=3)
        end(ring, "a")
        publish(ring, *"bcdef")
        assert ring.since(7, 0, FeedPart.ENDS) == Feed(7, 6, ends=("a",))
        assert ring.since(7, 0).gap
        end(ring, *"ghi")
        feed = ring.since(7, 0, FeedPart.ENDS)
        assert (feed.ends, feed.gap) == (("g", "h", "i"), True)
        assert not ring.since(7, 1, FeedPart.ENDS).gap

    async def test_only_they_wake_those_who_wait_for_them(self) -> None:
        ring = FeedRing(7)
        waiting = asyncio.ensure_future(ring.wait(7, 0, 60.0, FeedPart.ENDS))
        await begun(waiting)
        publish(ring, "a")
        ring.notify(["a"])
        await begun(waiting)
        late = asyncio.ensure_future(ring.wait(7, 1, 60.0, FeedPart.ENDS))
        await begun(late)  # though the feed is at another number by now
        end(ring, "a")
        for wait in (waiting, late):
            assert await asyncio.wait_for(wait, 5) == Feed(7, 3, ends=("a",))

    async def test_a_break_wakes_them_too(self) -> None:
        ring = FeedRing(7)
        waiting = asyncio.ensure_future(ring.wait(7, 0, 60.0, FeedPart.ENDS))
        await begun(waiting)
        ring.break_off()
        assert (await asyncio.wait_for(waiting, 5)).gap

    async def test_other_news_wake_nobody_who_waits_for_changes(self) -> None:
        ring = FeedRing(7)
        waiting = asyncio.ensure_future(ring.wait(7, 0, 60.0))
        await begun(waiting)
        ring.notify(["a"])
        await begun(waiting)
        publish(ring, "a")
        assert names(await asyncio.wait_for(waiting, 5)) == ["a"]


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
