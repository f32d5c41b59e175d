"""Tools for tests of the tracker: one that runs, a runner that does as told, a store with faults.

No Ray. The lease is so long that whatever waits for a heartbeat or a lease fails by its time limit.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

from raytasks.model.handler_info import SHARED_POOL
from raytasks.model.states import OutcomeKind, State
from raytasks.model.tasks import Running, StoreUnavailable, Task
from raytasks.protocol.feed_follower import TaskWatch
from raytasks.protocol.messages import Claim, Exchange, Orders, Outcome, Report
from raytasks.protocol.queries import TasksById
from raytasks.store.store import Counts, Store
from raytasks.store.transaction import Transaction
from raytasks.tracker.core import Tracker
from tests.making import outcome, task_id

PATIENCE = 30.0
"""How many seconds a test waits for a signal before it fails."""

LEASE = 6000.0


class FaultyStore(Store):
    """A real store; `away` makes it unavailable, and a tick can be held up or lose its answer."""

    away = False
    before_commit: Callable[[], object] | None = None
    answer_is_lost = False
    transactions = 0

    def _check(self) -> None:
        if self.away:
            raise StoreUnavailable("the server is away")

    def upgrade(self) -> None:
        self._check()
        super().upgrade()

    @contextmanager
    def transaction(self, *, now: float) -> Iterator[Transaction]:
        self._check()
        self.transactions += 1
        with super().transaction(now=now) as transaction:
            yield transaction
            if self.before_commit is not None:
                self.before_commit()
        if self.answer_is_lost:
            self.answer_is_lost = False
            raise StoreUnavailable("the connection was lost")

    def running(self) -> list[Running]:
        self._check()
        return super().running()

    def counts(self) -> Counts:
        self._check()
        return super().counts()

    def ping(self) -> None:
        self._check()
        super().ping()


@asynccontextmanager
async def tracker_on(
    store: Store, *, clock: Callable[[], float] = time.time, **options: Any
) -> AsyncIterator[Tracker]:
    """A tracker that runs until the block ends."""
    tracker = Tracker(store, clock=clock, **{"lease_seconds": LEASE, **options})
    await tracker.start()
    running = asyncio.ensure_future(tracker.run())
    try:
        with suppress(StoreUnavailable):  # a tick more writes what is counted before that
            await tracker.ticker.ledger.stats.read_back(1.0)
        yield tracker
        if running.done():
            running.result()
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await running
        await tracker.close()


async def until(tracker: Tracker, number: int, state: State, *, attempt: int | None = None) -> Task:
    """Wait until a task has been in this state, and return it as it now is."""
    after, name = 0, task_id(number)
    async with asyncio.timeout(PATIENCE):
        while True:
            feed = await tracker.changes(tracker.ticker.epoch, after, PATIENCE)
            after = feed.last
            if any(
                (change.task_id, change.state) == (name, state)
                and attempt in (None, change.attempt)
                for change in feed.changes
            ):
                return (await tracker.read(TasksById([name])))[name]


async def wait_final(tracker: Tracker, name: str, seconds: float | None = None) -> Task | None:
    """Wait until a task has ended (by its id), as an API replica does, and return it."""
    found = await TaskWatch(tracker).final(name, seconds)
    return None if found is None else found[0]


async def let_run(rounds: int = 5) -> None:
    """Let everything that is ready in this event loop run."""
    for _ in range(rounds):
        await asyncio.sleep(0)


async def until_away(tracker: Tracker) -> None:
    """Wait until the tracker has noticed that its database is away."""
    async with asyncio.timeout(PATIENCE):
        while tracker.ticker.access.error is None:
            await let_run()


class ScriptedRunner:
    """A runner that runs nothing: the test says when it calls, and how its attempts end."""

    def __init__(
        self,
        tracker: Tracker,
        runner_id: str = "r1",
        *,
        name: str = "",
        pool: str = SHARED_POOL,
        capacity: int = 256,
        **capacity_by_type: int,
    ) -> None:
        self.tracker = tracker
        self.runner_id = runner_id
        self.name = name or runner_id
        self.pool = pool
        self.capacity = capacity
        self.capacity_by_type = capacity_by_type or {"short": 256}
        self.held: dict[str, int] = {}
        self.last_batch = 0
        self.batch_epoch = 0
        self.acknowledged: list[tuple[str, int]] = []
        self.cancels: list[tuple[str, int]] = []
        self.stale: list[tuple[str, int]] = []
        self.known = False
        self.calls: list[asyncio.Task[Orders]] = []

    def build(
        self, outcomes: Sequence[Outcome] = (), reports: Sequence[Report] = (), **changes: Any
    ) -> Exchange:
        """Return what the runner would say now."""
        values: dict[str, Any] = {
            "runner_id": self.runner_id,
            "name": self.name,
            "pool": self.pool,
            "generation": "g",
            "capacity_by_type": self.capacity_by_type,
            "capacity": self.capacity,
            "last_batch": self.last_batch,
            "batch_epoch": self.batch_epoch,
            "outcomes": outcomes,
            "reports": reports,
            "held": None if self.known else tuple(self.held.items()),
        }
        return Exchange(**values | changes)

    async def exchange(self, outcomes: Sequence[Outcome] = (), **changes: Any) -> Orders:
        """Make one exchange, and take note of the orders."""
        for item in outcomes:
            self.held.pop(item.task_id, None)
        exchange = self.build(outcomes, **changes)
        self.known = True
        async with asyncio.timeout(PATIENCE):
            orders = await self.tracker.exchange(exchange)
        self.apply(orders)
        return orders

    def apply(self, orders: Orders) -> None:
        """Take note of the tracker's orders."""
        if (orders.epoch, orders.batch) > (self.batch_epoch, self.last_batch):
            self.batch_epoch, self.last_batch = orders.epoch, orders.batch
            self.held |= {claim.task_id: claim.attempt for claim in orders.claims}
        self.acknowledged += orders.acknowledged
        self.cancels += orders.cancels
        self.stale += orders.stale
        if orders.resync:
            self.known = False

    async def claim(self, outcomes: Sequence[Outcome] = (), **changes: Any) -> list[Claim]:
        """Exchange until there are claims, and return them."""
        while True:
            orders = await self.exchange(outcomes, **changes)
            if orders.claims:
                return list(orders.claims)
            outcomes = ()

    def send(self, outcomes: Sequence[Outcome] = (), **changes: Any) -> "asyncio.Task[Orders]":
        """Begin an exchange, and go on."""
        call = asyncio.ensure_future(self.exchange(outcomes, **changes))
        call.add_done_callback(lambda done: done.cancelled() or done.exception())
        self.calls.append(call)
        return call

    async def take_over(self) -> None:
        """Take the place of another life of this name: the tracker has it show that it lives."""
        assert (await self.exchange()).resync
        self.send()
        await let_run()

    def begin(self, claims: Sequence[Claim], at: float) -> "asyncio.Task[Orders]":
        """Begin to report that attempts have begun, some time after they were claimed."""
        first = len(self.calls) * 1000
        return self.send(
            reports=[
                Report(claim.task_id, claim.attempt, first + place, began_at=at)
                for place, claim in enumerate(claims)
            ]
        )

    def end(
        self, claim: Claim, kind: OutcomeKind = OutcomeKind.SUCCEEDED, **more: Any
    ) -> "asyncio.Task[Orders]":
        """Begin to report how an attempt ended."""
        return self.send([outcome(claim, kind, **more)])

    async def hang_up(self) -> None:
        """Give up the calls that are not answered yet."""
        for call in self.calls:
            call.cancel()
        await let_run()

    async def acknowledgements(self) -> list[tuple[str, int]]:
        """Return what the tracker has acknowledged so far, by one more exchange."""
        earlier = self.calls[-1] if self.calls else None
        self.send()  # it stays: one that is given up may take its answer with it
        if earlier is not None and not earlier.done():
            await earlier
        else:
            await let_run()
        return self.acknowledged

    async def until_acknowledged(self, task_id: str, attempt: int) -> None:
        """Call until an outcome is acknowledged."""
        async with asyncio.timeout(PATIENCE):
            while (task_id, attempt) not in self.acknowledged:
                self.send()  # it has the call before it answered; one given up may lose its answer
                await asyncio.sleep(0.005)
        await self.hang_up()
