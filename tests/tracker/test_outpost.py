"""A cluster that another one on the same database has superseded: nothing is lost or run twice."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from sqlalchemy import delete

from raytasks.model.handler_info import EARLIER_REMOTE_POOL, REMOTE_POOL, SHARED_POOL
from raytasks.model.states import OutcomeKind, State
from raytasks.model.tasks import BacklogFull, OtherProtocol, StoreUnavailable, TaskNotFound
from raytasks.protocol import codec as wire
from raytasks.protocol import protocol_version
from raytasks.protocol.commands import CancelTask
from raytasks.protocol.messages import Claim, Exchange, FeedQuery, Orders
from raytasks.protocol.metrics_data import MetricsData
from raytasks.protocol.queries import Health, LogLines, Metrics, Readiness, TaskDetail
from raytasks.runner.exchange_loop import ExchangeLoop
from raytasks.runner.identity import Identity
from raytasks.store.outpost_tables import outpost_calls
from raytasks.store.store import Store
from raytasks.store.transaction import Superseded
from raytasks.tracker.core import Tracker
from raytasks.tracker.doors import Doors
from raytasks.tracker.outpost import QUIET_SECONDS
from tests.making import new_task, outcome, task_id
from tests.tracking import PATIENCE

QUICK = 1.5
"""A lease that a test waits for, in seconds."""


class Cluster:
    """A tracker with its doors, as its actor keeps it, and the task in which it lives.

    Whatever its `clock` shows, real time passes: clusters look for each other from time to time.
    """

    def __init__(self, store: Store, owner: str, lease: float, **options: Any) -> None:
        options = {"monotonic": time.monotonic, **options}
        self.tracker = Tracker(
            store, owner=owner, host=f"host of {owner}", lease_seconds=lease, **options
        )
        self.doors = Doors(self.tracker)
        self.life: asyncio.Task[None] | None = None

    async def live(self, *, again: bool = False) -> None:
        """Be a tracker until its process is to end."""
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
        """Wait until it knows that it is superseded, and by whom. It is made to look at once."""
        await self.tracker.predecessors.look()
        await self.until(lambda: ", epoch" in self.tracker.outpost.words)

    @contextmanager
    def without_database(self) -> Iterator[None]:
        """Have all that it asks of the database fail until the block ends."""

        def away() -> Any:
            raise StoreUnavailable("it is away in this test")

        database: Any = self.tracker.ticker.store._database
        database.reading = database.writing = away
        try:
            yield
        finally:
            del database.reading, database.writing

    async def kill(self) -> None:
        """End it as by SIGKILL: it says nothing more."""
        if self.life is not None:
            self.life.cancel()
            with suppress(asyncio.CancelledError):
                await self.life
        self.life = None


class LoopedRunner:
    """The real loop of a runner's exchanges; the test says how its attempts end."""

    def __init__(self, cluster: Cluster, pool: str, capacity: int) -> None:
        self._doors = cluster.doors
        self._capacity = capacity
        self.runner_id = f"{cluster.tracker.ticker.cluster.owner}.r1"
        self.claims: list[Claim] = []
        self.stopped: list[tuple[str, int]] = []
        self._came = asyncio.Event()
        identity = Identity(self.runner_id, "r1", pool, "g", node_id="n", worker_id="w")
        self.loop = ExchangeLoop(identity, self, self._call)
        self.life = asyncio.ensure_future(self.loop.run())

    def capacity_by_type(self) -> Mapping[str, int]:
        """See `Work.capacity_by_type`."""
        return {"short": self._capacity}

    def capacity(self) -> int:
        """See `Work.capacity`."""
        return self._capacity

    def start(self, claims: Sequence[Claim]) -> None:
        """See `Work.start`."""
        self.claims += claims
        self._came.set()

    def stop(self, task_id: str, attempt: int) -> None:
        """See `Work.stop`."""
        self.stopped.append((task_id, attempt))
        self._came.set()

    async def claim(self) -> Claim:
        """Return the next claim."""
        await self._until(lambda: bool(self.claims))
        return self.claims.pop(0)

    async def until_stopped(self, claim: Claim) -> None:
        """Wait until an attempt is to stop."""
        await self._until(lambda: (claim.task_id, claim.attempt) in self.stopped)

    def end(self, claim: Claim, kind: OutcomeKind = OutcomeKind.SUCCEEDED, **more: Any) -> None:
        """Say how an attempt has ended."""
        self.loop.finished([outcome(claim, kind, **more)])

    async def _until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._came.clear()
                await self._came.wait()

    async def _call(self, exchange: Exchange) -> Orders:
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
Runners = Callable[..., LoopedRunner]


@pytest.fixture
async def runner_of() -> AsyncIterator[Callable[..., LoopedRunner]]:
    """Begins runners that call a cluster's tracker until the test ends."""
    begun: list[LoopedRunner] = []

    def begin(cluster: Cluster, *, pool: str = SHARED_POOL, capacity: int = 16) -> LoopedRunner:
        begun.append(LoopedRunner(cluster, pool, capacity))
        return begun[-1]

    yield begin
    for runner in begun:
        runner.life.cancel()
        with suppress(asyncio.CancelledError):
            await runner.life


async def submit(cluster: Cluster, *numbers: int, **changes: Any) -> dict[str, Any]:
    """Submit tasks at a cluster."""
    tasks = wire.encode([new_task(number, **changes) for number in numbers])
    return wire.duplicates_of(await cluster.doors.submit(tasks))


async def detail(cluster: Cluster, number: int) -> Any:
    """Return a task and its ended attempts."""
    query = TaskDetail(task_id(number))
    return wire.answer_of(query, await cluster.doors.read(wire.encode(query)))


async def metrics(cluster: Cluster) -> MetricsData:
    """Return the metrics that a cluster tells."""
    return wire.answer_of(Metrics(), await cluster.doors.read(wire.encode(Metrics())))


async def until_ended(cluster: Cluster, number: int) -> Any:
    """Return a task and its attempts once it has ended."""
    async with asyncio.timeout(PATIENCE):
        while not (found := await detail(cluster, number))[0].state.final:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return found


class TestRunningWork:
    async def test_what_runs_in_the_earlier_cluster_ends_there_once(
        self, clusters: Begin, runner_of: Runners
    ) -> None:
        first = await clusters("first")
        runner = runner_of(first)
        await submit(first, 1)
        claim = await runner.claim()
        second = await clusters("second")
        await first.until_outpost()
        await submit(second, 2)
        assert (await runner_of(second).claim()).task_id == task_id(2)
        assert (await detail(second, 1))[0].state is State.RUNNING
        runner.end(claim)
        task, attempts = await until_ended(second, 1)
        assert task.state is State.COMPLETED
        assert [item.attempt for item in attempts] == [1]

    async def test_it_claims_nothing_more_there(self, clusters: Begin, runner_of: Runners) -> None:
        first = await clusters("first")
        runner = runner_of(first)
        await submit(first, 1)
        claim = await runner.claim()
        second = await clusters("second")
        await first.until_outpost()
        await submit(first, 2)
        runner.end(claim)
        await until_ended(second, 1)
        assert not runner.claims
        assert (await runner_of(second).claim()).task_id == task_id(2)

    async def test_a_cancel_reaches_a_task_that_runs_there(
        self, clusters: Begin, runner_of: Runners
    ) -> None:
        first = await clusters("first")
        runner = runner_of(first)
        await submit(first, 1)
        claim = await runner.claim()
        second = await clusters("second")
        await first.until_outpost()
        await second.doors.execute(wire.encode(CancelTask(task_id(1))))
        await runner.until_stopped(claim)
        runner.end(claim, OutcomeKind.CANCELLED)
        assert (await until_ended(second, 1))[0].state is State.CANCELLED

    async def test_what_fails_there_is_tried_again_here(
        self, clusters: Begin, runner_of: Runners
    ) -> None:
        first = await clusters("first")
        runner = runner_of(first)
        await submit(first, 1)
        claim = await runner.claim()
        second = await clusters("second")
        await first.until_outpost()
        runner.end(claim, OutcomeKind.FAILED, retryable=True)
        again = await runner_of(second).claim()
        assert (again.task_id, again.attempt) == (task_id(1), 2)

    async def test_a_checkpoint_is_kept(self, clusters: Begin, runner_of: Runners) -> None:
        first = await clusters("first")
        runner = runner_of(first)
        await submit(first, 1)
        claim = await runner.claim()
        second = await clusters("second")
        await first.until_outpost()
        async with asyncio.timeout(PATIENCE):
            await runner.loop.checkpoint(claim.task_id, claim.attempt, '"half"')
        runner.end(claim, OutcomeKind.FAILED, retryable=True)
        assert (await runner_of(second).claim()).checkpoint == '"half"'

    async def test_runners_of_one_name_in_both_clusters_are_two(
        self, clusters: Begin, runner_of: Runners
    ) -> None:
        first = await clusters("first")
        runner = runner_of(first, pool=REMOTE_POOL)
        await submit(first, 1)
        claim = await runner.claim()
        second = await clusters("second")
        await first.until_outpost()
        other = runner_of(second)
        await submit(second, 2)
        await other.claim()
        await second.doors.execute(wire.encode(CancelTask(task_id(1))))
        await runner.until_stopped(claim)  # so both have called
        found = {state.runner_id: state for state in second.tracker.runners()}
        assert len(found[runner.runner_id].held) == 1
        assert found[runner.runner_id].pool == EARLIER_REMOTE_POOL
        assert found[other.runner_id].name == "r1"
        assert found[runner.runner_id].name == "r1@first"


class TestLoss:
    async def test_what_ran_in_a_cluster_that_is_gone_begins_again_uncharged(
        self, clusters: Begin, runner_of: Runners
    ) -> None:
        first = await clusters("first", lease=QUICK)
        runner = runner_of(first)
        await submit(first, 1)
        claim = await runner.claim()
        second = await clusters("second", lease=QUICK)
        await first.until_outpost()
        await first.kill()
        again = await runner_of(second).claim()
        assert (again.task_id, again.attempt) == (claim.task_id, 2)
        [task, attempts] = await detail(second, 1)
        assert task.crashes == 0
        assert attempts[0].outcome is OutcomeKind.LOST
        await second.until(lambda: not second.tracker.has_predecessors())

    async def test_a_cluster_that_died_just_after_a_call_is_not_a_crash(
        self, clusters: Begin, runner_of: Runners
    ) -> None:
        first = await clusters("first")
        runner = runner_of(first)
        await submit(first, 1)
        await runner.claim()
        second = await clusters("second")
        await first.until_outpost()
        known, lease = second.tracker.predecessors, second.tracker.ticker.lease_seconds
        await second.until(lambda: any(state.name for state in second.tracker.runners()))
        [state] = second.tracker.runners()
        assert not known.is_cut_off(state)
        [cluster] = known._signs._heard.values()
        # It was called a third of the lease before the end of all, and its lease has just ended.
        cluster.at = second.tracker.ticker.monotonic() - lease * 2 / 3 + 2.0
        assert known.is_cut_off(state)
        cluster.at = second.tracker.ticker.monotonic() - lease * 0.4  # all were slow
        assert known.is_cut_off(state)

    async def test_a_stop_in_order_gives_back_what_runs(
        self, clusters: Begin, runner_of: Runners
    ) -> None:
        first = await clusters("first")
        runner = runner_of(first)
        await submit(first, 1)
        claim = await runner.claim()
        second = await clusters("second")
        await first.until_outpost()
        outpost = first.tracker.outpost
        outpost.is_ending = True
        await outpost.wait_until_idle(0.05)
        assert await outpost.release() == 1
        again = await runner_of(second).claim()
        assert (again.task_id, again.attempt) == (claim.task_id, 2)
        assert (await detail(second, 1))[1][0].outcome is OutcomeKind.RELEASED
        await first.kill()
        await outpost.end()
        await second.tracker.predecessors.look()
        assert not second.tracker.has_predecessors()

    async def test_a_call_that_the_successor_has_dropped_is_made_again(
        self, clusters: Begin, runner_of: Runners
    ) -> None:
        first = await clusters("first", lease=QUICK)
        runner = runner_of(first)
        await submit(first, 1)
        claim = await runner.claim()
        second = await clusters("second", lease=QUICK)
        await first.until_outpost()
        exchanges = delete(outpost_calls).where(outpost_calls.c.method == "exchange")
        dropped = 0
        async with asyncio.timeout(PATIENCE):
            while not dropped:
                await asyncio.sleep(0.01)
                with second.tracker.ticker.store.writing_own() as connection:
                    dropped = connection.execute(exchanges).rowcount
        await second.doors.execute(wire.encode(CancelTask(task_id(1))))
        await runner.until_stopped(claim)


class TestOutage:
    """An outage of the database that is longer than a lease: nobody could be heard meanwhile."""

    @pytest.fixture
    async def superseded(
        self, clusters: Begin, monkeypatch: pytest.MonkeyPatch
    ) -> tuple[Cluster, Cluster]:
        """A cluster with a short lease that another one has superseded, and this other one."""
        monkeypatch.setattr("raytasks.tracker.access._OUTAGE_DELAYS", (0.05,))
        first = await clusters("first", lease=QUICK)
        second = await clusters("second", lease=QUICK)
        await first.until_outpost()
        await submit(first, 1)
        return first, second

    async def test_it_does_not_take_the_database_back(
        self, superseded: tuple[Cluster, Cluster]
    ) -> None:
        first, second = superseded
        with second.without_database():
            with first.without_database():
                await asyncio.sleep(1.2 * QUICK)
            await asyncio.sleep(0.4 * QUICK)  # it has looked, and the other has not written yet
        await submit(second, 2)
        assert first.life is not None
        assert not first.life.done()

    async def test_an_earlier_cluster_is_not_forgotten(
        self, superseded: tuple[Cluster, Cluster]
    ) -> None:
        first, second = superseded
        with first.without_database():
            with second.without_database():
                await asyncio.sleep(1.2 * QUICK)
            await asyncio.sleep(0.4 * QUICK)
            assert second.tracker.has_predecessors()
        await submit(first, 2)

    async def test_an_unforeseen_error_does_not_end_the_watch(
        self, clusters: Begin, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, second = await clusters("first"), await clusters("second")
        await first.until_outpost()
        await submit(first, 1)
        with monkeypatch.context() as patch:
            raised = asyncio.Event()

            async def take_calls() -> None:
                raised.set()
                raise RuntimeError("not foreseen")

            patch.setattr(second.tracker.predecessors, "_take_calls", take_calls)
            await asyncio.wait_for(raised.wait(), PATIENCE)
        await submit(first, 2)
        assert await detail(second, 2) is not None


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
        asked = Health()
        report = wire.answer_of(asked, await first.doors.read(wire.encode(asked)))
        assert [reason["code"] for reason in report["reasons"]] == ["superseded"]
        assert report["database"]["ok"]
        assert report["tracker"]["epoch"] == 1

    async def test_health_says_what_is_so(
        self, clusters: Begin, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, second = await clusters("first"), await clusters("second")
        await first.until_outpost()
        monkeypatch.setattr("raytasks.tracker.doors._HEALTH_SECONDS", PATIENCE)
        query = Health()
        report = wire.answer_of(query, await first.doors.read(wire.encode(query)))
        assert [item["code"] for item in report["reasons"]].count("superseded") == 1
        assert report["database"]["ok"]
        assert report["tracker"]["epoch"] == 2
        there = wire.answer_of(query, await second.doors.read(wire.encode(query)))
        [earlier] = there["tracker"]["earlier_clusters"]
        assert (earlier["host"], earlier["epoch"]) == ("host of first", 1)
        assert "superseded" not in [item["code"] for item in there["reasons"]]

    async def test_metrics_count_what_runs_in_earlier_clusters(
        self, clusters: Begin, runner_of: Runners
    ) -> None:
        first = await clusters("first")
        runner = runner_of(first, capacity=1)
        await submit(first, 1)
        claim = await runner.claim()
        second = await clusters("second")
        await first.until_outpost()
        async with asyncio.timeout(PATIENCE):  # until its runner has called again
            while (await metrics(second)).earlier != (1, 1):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert (await metrics(first)).earlier == (1, 1)  # it passes on what the other says
        runner.end(claim)
        await until_ended(second, 1)
        assert (await metrics(second)).earlier == (1, 0)

    async def test_the_feed_has_a_gap_and_the_log_is_its_own(self, clusters: Begin) -> None:
        first, second = await clusters("first"), await clusters("second")
        await first.until_outpost()
        feed = wire.feed_of(await first.doors.changes(wire.encode(FeedQuery(1, 0, 0.0))))
        assert feed.gap
        page = LogLines()
        mine = wire.answer_of(page, await first.doors.read(wire.encode(page)))
        theirs = wire.answer_of(page, await second.doors.read(wire.encode(page)))
        assert mine != theirs

    async def test_calls_wait_for_the_doors_of_the_successor(self, clusters: Begin) -> None:
        first, second = await clusters("first"), await clusters("second")
        await first.until_outpost()
        await submit(first, 1)  # so each of them knows the other
        doors, second.tracker.predecessors.doors = second.tracker.predecessors.doors, {}
        sent = asyncio.ensure_future(submit(first, 2))
        await asyncio.wait([sent], timeout=3 * QUIET_SECONDS)  # in which a refusal would come back
        second.tracker.predecessors.doors = doors
        await sent
        assert await detail(second, 2) is not None


class TestVersions:
    """An outpost of another version: it is understood, or told what to do, and all others go on."""

    async def test_an_older_one_that_is_understood(
        self, clusters: Begin, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, second = await clusters("first"), await clusters("second")
        await first.until_outpost()
        monkeypatch.setattr("raytasks.tracker.outpost.PROTOCOL", protocol_version.NEEDS)
        await submit(first, 1)
        assert await detail(second, 1) is not None

    @pytest.mark.parametrize(
        ("place", "value", "says"),
        [
            ("outpost.PROTOCOL", -1, "speaks version -1"),
            ("outpost.NEEDS", protocol_version.PROTOCOL + 1, "which needs 2"),
        ],
        ids=["too old", "too new"],
    )
    async def test_one_that_is_not_understood_is_told_so(
        self,
        clusters: Begin,
        runner_of: Runners,
        monkeypatch: pytest.MonkeyPatch,
        place: str,
        value: int,
        says: str,
    ) -> None:
        first = await clusters("first")
        runner = runner_of(first, capacity=1)
        await submit(first, 1)
        claim = await runner.claim()
        second = await clusters("second")
        await first.until_outpost()
        with monkeypatch.context() as patch:
            patch.setattr(f"raytasks.tracker.{place}", value)
            with pytest.raises(OtherProtocol, match=says):
                await submit(first, 2)
            assert await detail(second, 2) is None
            report = wire.answer_of(Health(), await first.doors.read(wire.encode(Health())))
            [reason] = [one for one in report["reasons"] if one["code"] == "superseded"]
            assert says in reason["message"]
            assert "raytasks stop" in reason["fix"]
            # What its runner says has the runner's own version, so its work is not lost.
            runner.end(claim)
            task, [attempt] = await until_ended(second, 1)
            assert (task.state, attempt.outcome) == (State.COMPLETED, OutcomeKind.SUCCEEDED)
            await submit(second, 3)
        await submit(first, 2)
        assert await detail(second, 2) is not None
        report = wire.answer_of(Health(), await first.doors.read(wire.encode(Health())))
        assert not any(says in one["message"] for one in report["reasons"])


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
        await first.until_outpost()
        await submit(first, 3)  # so its calls are numbered again after this
        await first.kill()
        again = await clusters("first", lease=QUICK, again=True, loaded=False)
        await submit(again, 1)
        assert await detail(second, 1) is not None
        await second.kill()
        await submit(again, 2)
        await again.until_loaded()
        assert await detail(again, 2) is not None

    async def test_a_third_one_hears_of_both(self, clusters: Begin, runner_of: Runners) -> None:
        first = await clusters("first")
        runner = runner_of(first)
        await submit(first, 1)
        claim = await runner.claim()
        second = await clusters("second")
        await first.until_outpost()
        other = runner_of(second)
        await submit(second, 2)
        second_claim = await other.claim()
        third = await clusters("third")
        await second.until_outpost()
        runner.end(claim)
        other.end(second_claim)
        for number in (1, 2):
            task, attempts = await until_ended(third, number)
            assert (task.state, len(attempts)) == (State.COMPLETED, 1)

    async def test_alone_it_forgets_all_others(self, clusters: Begin) -> None:
        await clusters("first")
        second = await clusters("second", alone=True)
        assert not second.tracker.has_predecessors()
