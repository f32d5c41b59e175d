"""A full backlog: what repeats is answered, what fits is taken, and bulk retries wait."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from raytasks.api.submitter import Submitter
from raytasks.model.bulk_operations import BulkFilter, BulkOperation, NewBulk
from raytasks.model.states import WAITING, State
from raytasks.model.tasks import Accepted, BacklogFull, Duplicate, NewTask
from raytasks.protocol.commands import CancelTask, SetNamespace, StartBulk
from raytasks.protocol.queries import BulkById, BulkList, TasksById
from raytasks.tracker import bulk_turns as bulk_module
from raytasks.tracker.core import Tracker
from tests.making import bulk_filter, ids, new_task, task_id
from tests.tracking import PATIENCE, FaultyStore, ScriptedRunner, tracker_on

MOST = 5


@pytest.fixture
async def tracker(store: FaultyStore, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Tracker]:
    monkeypatch.setattr(bulk_module, "_PAUSE_SECONDS", 0.05)
    async with tracker_on(store, max_backlog=MOST) as tracker:
        yield tracker


@pytest.fixture
async def tracker_anywhere(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Tracker]:
    """A tracker on a database of each kind."""
    monkeypatch.setattr(bulk_module, "_PAUSE_SECONDS", 0.05)
    async with tracker_on(FaultyStore(store_url)) as tracker:
        yield tracker


def keyed(number: int, key: str) -> NewTask:
    return new_task(number, idempotency_key=key, request_digest="d")


class TestSubmissions:
    async def test_what_repeats_a_key_is_answered(self, tracker: Tracker) -> None:
        await tracker.submit([keyed(number, f"k{number}") for number in range(MOST)])
        assert await tracker.submit([keyed(100, "k1")]) == {
            task_id(100): Duplicate(task_id(1), same=True)
        }
        with pytest.raises(BacklogFull):
            await tracker.submit([keyed(101, "new")])
        with pytest.raises(BacklogFull):
            await tracker.submit([keyed(102, "k2"), keyed(103, "new")])

    async def test_what_ray_sends_again_is_done_already(self, tracker: Tracker) -> None:
        await tracker.submit([new_task(number) for number in range(MOST)])
        assert await tracker.submit([new_task(number) for number in range(MOST)]) == {}
        assert tracker.backlog == MOST

    async def test_what_is_on_its_way_counts(self, tracker: Tracker) -> None:
        sent = [tracker.submit([new_task(number)]) for number in range(2 * MOST)]
        done = await asyncio.gather(*sent, return_exceptions=True)
        assert sum(isinstance(answer, BacklogFull) for answer in done) == MOST
        assert tracker.backlog == MOST

    async def test_a_task_is_not_refused_for_a_strangers_batch(self, tracker: Tracker) -> None:
        """They are sent in one call, which is all or nothing."""
        await tracker.submit([keyed(0, "known")])
        gate = asyncio.Event()

        async def send(tasks: Sequence[NewTask]) -> Accepted:
            await gate.wait()
            return await tracker.submit(tasks)

        submitter = Submitter(send)
        first = asyncio.ensure_future(submitter.submit([new_task(1)]))
        await asyncio.sleep(0)
        big = [new_task(number) for number in range(10, 10 + MOST)]
        sent = [asyncio.ensure_future(submitter.submit(tasks)) for tasks in
                (big, [new_task(2)], [keyed(3, "known")])]  # fmt: skip
        await asyncio.sleep(0)
        gate.set()
        answers = await asyncio.gather(first, *sent, return_exceptions=True)
        assert isinstance(answers[1], BacklogFull)
        told = [answer for answer in answers[2:] if not isinstance(answer, BaseException)]
        assert [set(answer) <= {task_id(3)} for answer in told] == [True, True]
        assert told[1] == {task_id(3): Duplicate(task_id(0), same=True)}
        assert set(await tracker.read(TasksById(ids([1, 2, 3])))) == set(ids([1, 2]))


async def test_a_bulk_retry_waits_until_there_is_room(tracker: Tracker) -> None:
    for start in (0, 4):
        numbers = range(start, start + 4)
        await tracker.submit([new_task(number) for number in numbers])
        for number in numbers:
            await tracker.execute(CancelTask(task_id(number)))
    await tracker.submit([new_task(number, task_type="other") for number in (20, 21)])
    asked = bulk_filter("retry", state=State.CANCELLED)
    bulk_id = task_id(900)
    await tracker.execute(StartBulk(NewBulk(bulk_id, asked, created_at=tracker._clock())))
    async with asyncio.timeout(3 * PATIENCE):
        while not tracker.ticker.bulk.held:
            await tracker.ticker.access.read(lambda: None)
        assert tracker.backlog == MOST
        found = await tracker.read(BulkById(bulk_id, "default"))
        assert found is not None
        assert (found.finished_at, found.changed, found.held_by) == (None, 3, "backlog_full")
        [listed] = await tracker.read(BulkList("default"))
        assert listed.held_by == "backlog_full"
        runner = ScriptedRunner(tracker, short=256)
        tracker.fleet.averages.add("short", 0.0001)
        while (await tracker.read(BulkById(bulk_id, "default"))).finished_at is None:  # type: ignore[union-attr]
            assert tracker.backlog <= MOST
            orders = runner.send()
            await asyncio.wait([orders], timeout=0.05)
        await runner.hang_up()
    tasks = (await tracker.read(TasksById(ids(range(8))))).values()
    assert all(task.state is State.RUNNING or task.state in WAITING for task in tasks)
    assert (await tracker.read(BulkById(bulk_id, "default"))).held_by is None  # type: ignore[union-attr]


async def test_a_bulk_cancel_goes_on_where_a_retry_waits(tracker: Tracker) -> None:
    await tracker.submit([new_task(1)])
    await tracker.execute(CancelTask(task_id(1)))
    await tracker.submit([new_task(number, task_type="other") for number in range(20, 20 + MOST)])
    retry = bulk_filter("retry", state=State.CANCELLED, task_type="short")
    cancel = bulk_filter("cancel", task_type="other")
    await tracker.execute(StartBulk(NewBulk(task_id(900), retry, created_at=tracker._clock())))
    await tracker.execute(StartBulk(NewBulk(task_id(901), cancel, created_at=tracker._clock())))
    async with asyncio.timeout(3 * PATIENCE):
        for bulk_id in (task_id(901), task_id(900)):
            while (await tracker.read(BulkById(bulk_id, "default"))).finished_at is None:  # type: ignore[union-attr]
                await tracker.ticker.access.read(lambda: None)
        while tracker.backlog != 1:  # what was committed is known in memory a moment later
            await tracker.ticker.access.read(lambda: None)


class TestNamespaceBounds:
    async def test_a_namespace_has_a_bound_of_its_own(self, tracker: Tracker) -> None:
        await tracker.execute(SetNamespace("shop", 1.0, 2))
        await tracker.submit([keyed(1, "k1"), new_task(2, namespace="shop")])
        await tracker.submit([new_task(3, namespace="shop")])
        with pytest.raises(BacklogFull, match="namespace shop is full: its max_backlog has room"):
            await tracker.submit([new_task(4, namespace="shop")])
        with pytest.raises(BacklogFull):  # all or none
            await tracker.submit([new_task(5), new_task(6, namespace="shop")])
        assert tracker.backlog == 3
        await tracker.submit([new_task(5)])
        await tracker.execute(CancelTask(task_id(2)))
        await tracker.submit([new_task(7, namespace="shop")])
        assert set(await tracker.read(TasksById(ids(range(9))))) == set(ids([1, 2, 3, 5, 7]))

    async def test_what_repeats_needs_no_room(self, tracker: Tracker) -> None:
        await tracker.submit([new_task(1, namespace="shop"), new_task(2, namespace="shop")])
        await tracker.execute(SetNamespace("shop", 1.0, 0))
        assert await tracker.submit([new_task(1, namespace="shop")]) == {}
        with pytest.raises(BacklogFull):
            await tracker.submit([new_task(3, namespace="shop")])

    async def test_what_is_on_its_way_counts(self, tracker: Tracker) -> None:
        await tracker.execute(SetNamespace("shop", 1.0, 2))
        sent = [tracker.submit([new_task(number, namespace="shop")]) for number in range(4)]
        done = await asyncio.gather(*sent, return_exceptions=True)
        assert sum(isinstance(answer, BacklogFull) for answer in done) == 2

    async def test_the_bound_survives_the_tracker(
        self, tracker: Tracker, store: FaultyStore
    ) -> None:
        await tracker.execute(SetNamespace("shop", 1.0, 1))
        await tracker.submit([new_task(1, namespace="shop")])
        await tracker.close()
        async with tracker_on(FaultyStore(str(store._database.url))) as again:
            with pytest.raises(BacklogFull):
                await again.submit([new_task(2, namespace="shop")])


async def begin_bulk(tracker: Tracker, number: int, asked: BulkFilter) -> str:
    """Begin a bulk operation, and return its id."""
    bulk_id = task_id(number)
    await tracker.execute(StartBulk(NewBulk(bulk_id, asked, created_at=tracker._clock())))
    return bulk_id


async def bulk(tracker: Tracker, bulk_id: str, namespace: str) -> BulkOperation:
    """A bulk operation, as it is now."""
    found = await tracker.read(BulkById(bulk_id, namespace))
    assert found is not None
    return found


async def until_done(tracker: Tracker, bulk_id: str, namespace: str) -> BulkOperation:
    """Wait until a bulk operation is done."""
    async with asyncio.timeout(PATIENCE):
        while (found := await bulk(tracker, bulk_id, namespace)).finished_at is None:
            await tracker.ticker.access.read(lambda: None)
    return found


async def cancelled(tracker: Tracker, numbers: Sequence[int], namespace: str) -> None:
    """Submit tasks, and cancel them."""
    await tracker.submit([new_task(number, namespace=namespace) for number in numbers])
    for number in numbers:
        await tracker.execute(CancelTask(task_id(number)))


class TestBulkInANamespace:
    """A bulk retry in a namespace that has a bound of its own."""

    async def test_it_keeps_to_the_bound_and_goes_on_with_room(
        self, tracker_anywhere: Tracker
    ) -> None:
        tracker = tracker_anywhere
        await cancelled(tracker, range(4), "shop")
        await tracker.execute(SetNamespace("shop", 1.0, 3))
        await tracker.submit([new_task(20, task_type="other", namespace="shop")])
        asked = bulk_filter("retry", state=State.CANCELLED, namespace="shop")
        bulk_id = await begin_bulk(tracker, 900, asked)
        async with asyncio.timeout(PATIENCE):
            while (found := await bulk(tracker, bulk_id, "shop")).held_by is None:
                assert found.finished_at is None
                await tracker.ticker.access.read(lambda: None)
        assert (found.finished_at, found.changed, found.held_by) == (None, 2, "namespace_full")
        assert tracker.ticker.ledger.backlogs["shop"] == 3
        [listed] = await tracker.read(BulkList("shop"))
        assert listed.held_by == "namespace_full"
        await tracker.execute(CancelTask(task_id(20)))  # makes room for one
        async with asyncio.timeout(PATIENCE):
            while (await bulk(tracker, bulk_id, "shop")).changed < 3:
                await tracker.ticker.access.read(lambda: None)
        await tracker.execute(SetNamespace("shop", 1.0, None))
        found = await until_done(tracker, bulk_id, "shop")
        assert (found.changed, found.held_by) == (4, None)

    @pytest.mark.parametrize("action", ["retry", "cancel", "delete"])
    async def test_others_begin_at_once(
        self, store: FaultyStore, action: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Also one that comes while it waits. A retry that waits says so all the time."""
        monkeypatch.setattr(bulk_module, "_PAUSE_SECONDS", 10 * PATIENCE)
        async with tracker_on(store) as tracker:
            await cancelled(tracker, [1], "shop")
            await cancelled(tracker, [2, 3], "other")
            await tracker.execute(SetNamespace("shop", 1.0, 0))
            asked = bulk_filter("retry", state=State.CANCELLED, namespace="shop")
            held = await begin_bulk(tracker, 900, asked)
            async with asyncio.timeout(PATIENCE):
                while not tracker.ticker.bulk.held:
                    await tracker.ticker.access.read(lambda: None)
            state = None if action == "cancel" else State.CANCELLED
            other = bulk_filter(action, state=state, namespace="other")
            done = await until_done(tracker, await begin_bulk(tracker, 901, other), "other")
            assert (done.changed, done.held_by) == (0 if action == "cancel" else 2, None)
            assert (await bulk(tracker, held, "shop")).held_by == "namespace_full"

    async def test_what_is_on_its_way_counts(self, store: FaultyStore) -> None:
        """Tasks that a tick is storing take their room already."""
        async with tracker_on(store) as tracker:
            await tracker.execute(SetNamespace("shop", 1.0, 2))
            with tracker._backlog.submitting([new_task(1, namespace="shop")]):
                room = tracker._backlog.now()
            assert (room.of("shop"), room.held_by("shop")) == (1, None)
            assert tracker._backlog.now().of("shop") == 2
