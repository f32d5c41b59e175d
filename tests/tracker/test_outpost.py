"""A cluster that another one on the same database has superseded: nothing is lost or run twice."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from raytasks.model.handler_info import EARLIER_REMOTE_POOL, REMOTE_POOL
from raytasks.model.states import OutcomeKind, State
from raytasks.model.tasks import BacklogFull, StoreUnavailable, TaskNotFound
from raytasks.protocol import codec as wire
from raytasks.protocol.commands import CancelTask
from raytasks.protocol.messages import Exchange, FeedQuery, Orders
from raytasks.protocol.queries import Health, LogLines, Readiness, TaskDetail
from raytasks.store.store import Store
from raytasks.store.transaction import Superseded
from raytasks.tracker.core import Tracker
from raytasks.tracker.doors import Doors
from tests.making import new_task, outcome, task_id
from tests.tracking import PATIENCE, ScriptedRunner

QUICK = 0.6
"""A lease that a test waits for, in seconds."""


class Cluster:
    """A tracker with its doors, as its actor keeps it, and the task in which it lives."""

    def __init__(self, store: Store, owner: str, lease: float, **options: Any) -> None:
        self.tracker = Tracker(
            store, owner=owner, host=f"host of {owner}", lease_seconds=lease, **options
        )
        self.doors = Doors(self.tracker)
        self.life: asyncio.Task[None] | None = None

    async def live(self, *, again: bool = False) -> None:
        """Be a tracker until it is to begin anew."""
        await self.tracker.start(again=again)
        try:
            await self.tracker.run()
        except Superseded:
            await self.tracker.superseded()

    def begin(self, *, again: bool = False) -> None:
        """Begin to live."""
        self.life = asyncio.ensure_future(self.live(again=again))

    async def until_loaded(self) -> None:
        """Wait until it reigns."""
        assert await self.tracker.ticker.is_loaded(PATIENCE)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something holds."""
        async with asyncio.timeout(PATIENCE):
            while not condition():  # noqa: ASYNC110 - it depends on the database
                await asyncio.sleep(0.005)

    async def until_outpost(self) -> None:
        """Wait until it has noticed that it is superseded. It is made to look at once."""
        await self.tracker.predecessors.look()
        await self.until(lambda: self.tracker.outpost.active)

    async def kill(self) -> None:
        """End it as by SIGKILL: it says nothing more."""
        if self.life is not None:
            self.life.cancel()
            with suppress(asyncio.CancelledError):
                await self.life
        self.life = None


class Caller:
    """A tracker as a runner of its cluster calls it."""

    def __init__(self, cluster: Cluster) -> None:
        self._doors = cluster.doors

    async def exchange(self, exchange: Exchange) -> Orders:
        """Make an exchange, in bytes."""
        return wire.orders_of(await self._doors.exchange(wire.encode(exchange)))


@pytest.fixture
async def clusters(
    store_url: str, open_store: Callable[..., Store]
) -> AsyncIterator[Callable[..., Awaitable[Cluster]]]:
    """Begins clusters on one database of each kind, by their owners' names."""
    begun: list[Cluster] = []

    async def begin(
        owner: str, *, lease: float = 30.0, again: bool = False, loaded: bool = True, **options: Any
    ) -> Cluster:
        cluster = Cluster(open_store(store_url), owner, lease, **options)
        begun.append(cluster)
        cluster.begin(again=again)
        if loaded:
            await cluster.until_loaded()
        return cluster

    yield begin
    for cluster in begun:
        await cluster.kill()
        await cluster.tracker.close()


Begin = Callable[..., Awaitable[Cluster]]


def runner_of(cluster: Cluster, name: str = "r1", **options: Any) -> ScriptedRunner:
    """Return a runner that calls a cluster's tracker."""
    return ScriptedRunner(
        Caller(cluster), f"{cluster.tracker.ticker.cluster.owner}.{name}", name=name, **options
    )  # type: ignore[arg-type]


async def submit(cluster: Cluster, *numbers: int, **changes: Any) -> dict[str, Any]:
    """Submit tasks at a cluster."""
    tasks = wire.encode([new_task(number, **changes) for number in numbers])
    return wire.duplicates_of(await cluster.doors.submit(tasks))


async def detail(cluster: Cluster, number: int) -> Any:
    """Return a task and its ended attempts."""
    query = TaskDetail(task_id(number))
    return wire.answer_of(query, await cluster.doors.read(wire.encode(query)))


async def until_ended(cluster: Cluster, number: int) -> Any:
    """Return a task and its attempts once it has ended."""
    async with asyncio.timeout(PATIENCE):
        while not (found := await detail(cluster, number))[0].state.final:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return found


@asynccontextmanager
async def calling(runner: ScriptedRunner) -> AsyncIterator[None]:
    """Have a runner send heartbeats all the time."""

    async def call() -> None:
        while True:
            with suppress(ConnectionError, StoreUnavailable):
                await runner.exchange()

    task = asyncio.ensure_future(call())
    try:
        yield
    finally:
        task.cancel()


class TestRunningWork:
    async def test_what_runs_in_the_earlier_cluster_ends_there_once(self, clusters: Begin) -> None:
        first = await clusters("first")
        runner = runner_of(first)
        await submit(first, 1)
        [claim] = await runner.claim()
        second = await clusters("second")
        await first.until_outpost()
        await submit(second, 2)
        assert [item.task_id for item in await runner_of(second).claim()] == [task_id(2)]
        assert (await detail(second, 1))[0].state is State.RUNNING
        await runner.exchange()  # the successor asks what it holds
        runner.send([outcome(claim)])
        task, attempts = await until_ended(second, 1)
        assert task.state is State.COMPLETED
        assert [item.attempt for item in attempts] == [1]
        await runner.until_acknowledged(task_id(1), 1)
        await runner.hang_up()

    async def test_it_claims_nothing_more_there(self, clusters: Begin) -> None:
        first = await clusters("first")
        runner = runner_of(first)
        await clusters("second", lease=QUICK)
        await first.until_outpost()
        await submit(first, 1)
        for _ in range(3):
            assert (await runner.exchange()).claims == ()

    async def test_a_cancel_reaches_a_task_that_runs_there(self, clusters: Begin) -> None:
        first = await clusters("first")
        runner = runner_of(first)
        await submit(first, 1)
        [claim] = await runner.claim()
        second = await clusters("second")
        await first.until_outpost()
        async with calling(runner):
            await second.doors.execute(wire.encode(CancelTask(task_id(1))))
            async with asyncio.timeout(PATIENCE):
                while not runner.cancels:  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
        runner.send([outcome(claim, OutcomeKind.CANCELLED)])
        assert (await until_ended(second, 1))[0].state is State.CANCELLED
        await runner.hang_up()

    async def test_what_fails_there_is_tried_again_here(self, clusters: Begin) -> None:
        first = await clusters("first")
        runner = runner_of(first)
        await submit(first, 1)
        [claim] = await runner.claim()
        second = await clusters("second")
        await first.until_outpost()
        await runner.exchange()
        runner.send([outcome(claim, OutcomeKind.FAILED, retryable=True)])
        [again] = await runner_of(second).claim()
        assert (again.task_id, again.attempt) == (task_id(1), 2)
        await runner.hang_up()

    async def test_runners_of_one_name_in_both_clusters_are_two(self, clusters: Begin) -> None:
        first = await clusters("first")
        runner = runner_of(first, pool=REMOTE_POOL)
        await submit(first, 1)
        await runner.claim()
        second = await clusters("second")
        await first.until_outpost()
        await runner.exchange()
        await runner.exchange(leaving=True, number=0)
        other = runner_of(second)
        await other.exchange(leaving=True)
        found = {state.runner_id: state for state in second.tracker.runners()}
        assert len(found[runner.runner_id].held) == 1
        assert found[runner.runner_id].pool == EARLIER_REMOTE_POOL
        assert found[other.runner_id].name == "r1"


class TestLoss:
    async def test_what_ran_in_a_cluster_that_is_gone_begins_again_uncharged(
        self, clusters: Begin
    ) -> None:
        first = await clusters("first", lease=QUICK)
        runner = runner_of(first)
        await submit(first, 1)
        await runner.claim()
        second = await clusters("second", lease=QUICK)
        await first.until_outpost()
        await runner.exchange()
        assert second.tracker.has_predecessors()
        await first.kill()
        [again] = await runner_of(second).claim()
        assert (again.task_id, again.attempt) == (task_id(1), 2)
        [task, attempts] = await detail(second, 1)
        assert task.crashes == 0
        assert attempts[0].outcome is OutcomeKind.LOST
        await second.until(lambda: not second.tracker.has_predecessors())

    async def test_what_ran_is_held_for_more_than_a_lease(self, clusters: Begin) -> None:
        first = await clusters("first", lease=QUICK)
        runner = runner_of(first)
        await submit(first, 1)
        [claim] = await runner.claim()
        second = await clusters("second", lease=QUICK)
        await first.until_outpost()
        async with calling(runner):
            await asyncio.sleep(2.5 * QUICK)
            assert (await detail(second, 1))[0].state is State.RUNNING
        runner.send([outcome(claim)])
        _, attempts = await until_ended(second, 1)
        assert len(attempts) == 1
        await runner.hang_up()

    async def test_a_stop_in_order_gives_back_what_runs(self, clusters: Begin) -> None:
        first = await clusters("first")
        runner = runner_of(first)
        await submit(first, 1)
        await runner.claim()
        second = await clusters("second")
        await first.until_outpost()
        outpost = first.tracker.outpost
        outpost.is_ending = True
        await outpost.wait_until_idle(0.05)
        assert await outpost.release() == 1
        await outpost.end()
        [again] = await runner_of(second).claim()
        assert (again.task_id, again.attempt) == (task_id(1), 2)
        assert (await detail(second, 1))[1][0].outcome is OutcomeKind.RELEASED
        await second.tracker.predecessors.look()
        # It beats once more, as its process lives; the successor may see it again.
        await first.kill()


class TestRequests:
    async def test_one_key_sent_to_both_clusters_makes_one_task(self, clusters: Begin) -> None:
        first, second = await clusters("first"), await clusters("second")
        keyed = {"idempotency_key": "k", "request_digest": "d"}
        here, there = await asyncio.gather(submit(first, 1, **keyed), submit(second, 2, **keyed))
        named = [
            *(item.task_id for item in here.values()),
            *(item.task_id for item in there.values()),
        ]
        [winner] = named
        assert winner in (task_id(1), task_id(2))
        loser = task_id(2) if winner == task_id(1) else task_id(1)
        query = TaskDetail(loser)
        assert wire.answer_of(query, await second.doors.read(wire.encode(query))) is None

    async def test_nothing_is_refused_while_the_other_takes_over(self, clusters: Begin) -> None:
        first = await clusters("first")
        sent = [asyncio.ensure_future(submit(first, number)) for number in range(1, 21)]
        second = await clusters("second")
        sent += [asyncio.ensure_future(submit(first, number)) for number in range(21, 41)]
        await asyncio.wait_for(asyncio.gather(*sent), PATIENCE)
        for number in range(1, 41):
            assert (await detail(second, number)) is not None

    async def test_errors_come_back_as_they_are(self, clusters: Begin) -> None:
        first = await clusters("first")
        await clusters("second", max_backlog=1)
        await first.until_outpost()
        await submit(first, 1)
        with pytest.raises(BacklogFull):
            await submit(first, 2, 3)
        with pytest.raises(TaskNotFound):
            await first.doors.execute(wire.encode(CancelTask(task_id(9))))

    async def test_without_an_answer_the_error_names_the_successor(
        self, clusters: Begin, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = await clusters("first")
        second = await clusters("second")
        await first.until_outpost()
        await second.kill()
        with pytest.raises(StoreUnavailable, match="on host of second, epoch 2"):
            await first.tracker.outpost.call("submit", wire.encode([new_task(1)]), 0.05)
        query = Readiness()
        monkeypatch.setattr("raytasks.tracker.doors._HEALTH_SECONDS", 0.05)
        [reason] = wire.answer_of(query, await first.doors.read(wire.encode(query)))
        assert reason["code"] == "superseded"

    async def test_health_says_what_is_so(self, clusters: Begin) -> None:
        first, second = await clusters("first"), await clusters("second")
        await first.until_outpost()
        query = Health()
        report = wire.answer_of(query, await first.doors.read(wire.encode(query)))
        assert [item["code"] for item in report["reasons"]].count("superseded") == 1
        assert report["database"]["ok"]
        assert report["tracker"]["epoch"] == 2
        there = wire.answer_of(query, await second.doors.read(wire.encode(query)))
        [earlier] = there["tracker"]["earlier_clusters"]
        assert (earlier["host"], earlier["epoch"]) == ("host of first", 1)
        assert "superseded" not in [item["code"] for item in there["reasons"]]

    async def test_the_feed_has_a_gap_and_the_log_is_its_own(self, clusters: Begin) -> None:
        first, second = await clusters("first"), await clusters("second")
        await first.until_outpost()
        feed = wire.feed_of(await first.doors.changes(wire.encode(FeedQuery(1, 0, 0.0))))
        assert feed.gap
        page = LogLines()
        mine = wire.answer_of(page, await first.doors.read(wire.encode(page)))
        theirs = wire.answer_of(page, await second.doors.read(wire.encode(page)))
        assert mine != theirs


class TestSuccession:
    async def test_it_takes_the_database_back_from_one_that_is_gone(self, clusters: Begin) -> None:
        first = await clusters("first", lease=QUICK)
        second = await clusters("second", lease=QUICK)
        await first.until_outpost()
        sent = asyncio.ensure_future(submit(first, 1))
        await sent
        await second.kill()
        assert first.life is not None
        await asyncio.wait_for(first.life, PATIENCE)  # its process ends, and is started again
        again = await clusters("first", again=True)
        assert await detail(again, 1) is not None
        assert again.tracker.ticker.epoch == 4

    async def test_it_goes_on_at_once_after_one_that_stops_in_order(self, clusters: Begin) -> None:
        first = await clusters("first")
        second = await clusters("second")
        await first.until_outpost()
        await second.kill()
        await second.tracker.outpost.end()
        assert first.life is not None
        await asyncio.wait_for(first.life, PATIENCE)  # far less than the lease

    async def test_one_that_starts_again_passes_on_and_then_does_it_itself(
        self, clusters: Begin
    ) -> None:
        first = await clusters("first", lease=QUICK)
        second = await clusters("second", lease=QUICK)
        await first.kill()
        again = await clusters("first", lease=QUICK, again=True, loaded=False)
        await submit(again, 1)
        assert await detail(second, 1) is not None
        await second.kill()
        await submit(again, 2)
        await again.until_loaded()
        assert await detail(again, 2) is not None

    async def test_a_third_one_hears_of_both(self, clusters: Begin) -> None:
        first = await clusters("first")
        runner = runner_of(first)
        await submit(first, 1)
        [claim] = await runner.claim()
        second = await clusters("second")
        await first.until_outpost()
        await runner.exchange()
        other = runner_of(second)
        await submit(second, 2)
        [second_claim] = await other.claim()
        third = await clusters("third")
        await second.until_outpost()
        async with calling(runner), calling(other):
            await asyncio.sleep(0.3)
        runner.send([outcome(claim)])
        other.send([outcome(second_claim)])
        for number in (1, 2):
            task, attempts = await until_ended(third, number)
            assert (task.state, len(attempts)) == (State.COMPLETED, 1)
        await runner.hang_up()
        await other.hang_up()

    async def test_alone_it_forgets_all_others(self, clusters: Begin) -> None:
        await clusters("first")
        second = await clusters("second", alone=True)
        assert not second.tracker.has_predecessors()
