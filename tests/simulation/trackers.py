"""Trackers: the real core in a process of its own, as its actor keeps it, and its memory judged."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any

from raytasks.protocol import codec as wire
from raytasks.protocol.commands import (
    CancelTask,
    ChangeTask,
    DeleteTask,
    PauseWork,
    ResumeWork,
    RetryTask,
    StartBulk,
)
from raytasks.protocol.messages import Exchange, Feed
from raytasks.protocol.queries import Query
from raytasks.store.transaction import Superseded
from raytasks.tracker.core import Tracker
from raytasks.tracker.retention import Retention
from tests.simulation.database import SharedStore
from tests.simulation.loop import Process

if TYPE_CHECKING:
    from tests.simulation.world import World

LEASE_SECONDS = 15.0

_Work = Callable[[], Coroutine[Any, Any, None]]


class TrackerLife:
    """One life of a tracker's process. Its methods are what others call, in their processes."""

    def __init__(self, world: "World", number: int, owner: str, *, again: bool) -> None:
        self.world = world
        self.owner = owner
        self.begun_at = world.loop.time()
        self.process = Process(world.loop, f"tracker {number}")
        self.process.skew = world.tracker_skew
        self.tracker: Tracker | None = None
        self.heard_at: dict[str, float] = {}
        """When each runner has called last."""
        self.loaded_at = math.inf
        self.reloaded_at = 0.0
        """When it has read everything again, so that it knows less of what has gone out."""
        self._again = again
        self._revisions: dict[str, int] | None = None
        self._told = 0
        self._pauses = self._pausing = 0
        self._looked = -1
        self._core: asyncio.Future[Tracker] | None = None
        self.is_back = again
        """Whether it may only take over from one that is gone."""
        self.process.start(self._live())

    def clock(self) -> float:
        """Return the wall time of its machine."""
        return self.world.wall(self.process)

    @property
    def epoch(self) -> int:
        """Its epoch; 0 before it has one."""
        return 0 if self.tracker is None else self.tracker.ticker.epoch

    @property
    def frozen_at(self) -> float:
        """When it was frozen or thawed last."""
        return self.process.changed_at

    # What others call

    async def submit(self, tasks: bytes) -> bytes:
        """See `TrackerActor.submit`."""
        return await (await self.core()).outpost.either("submit", tasks, self._submit)

    async def _submit(self, tasks: bytes) -> bytes:
        new = wire.new_tasks_of(tasks)
        duplicates = await (await self.core()).submit(new)
        for task in new:
            if task.task_id not in duplicates:
                self.world.answers.accepted(task.task_id)
        return wire.encode_accepted(duplicates)

    async def exchange(self, message: bytes) -> bytes:
        """See `TrackerActor.exchange`."""
        exchange: Exchange = wire.exchange_of(message)
        core = await self.core()
        if core.outpost.active:
            return await core.outpost.exchange(exchange.runner_id, message)
        self.heard_at[exchange.runner_id] = self.world.loop.time()
        orders = await core.exchange(exchange)
        if exchange.pool.startswith("earlier") and orders.claims:
            self.world.fail(f"{exchange.name} of an earlier cluster gets {orders.claims}")
        account = self.world.account
        for key in orders.acknowledged:
            task_id, attempt = key
            runner_id, outcome = account.said.get((task_id, attempt), (None, None))
            self.world.answers.acknowledged(
                *key, outcome if runner_id == exchange.runner_id else None, exchange.runner_id
            )
            self.world.watch.acknowledged(self, *key)
        for claim in orders.claims:
            account.handed.add((claim.task_id, claim.attempt))
        return wire.encode(orders)

    async def changes(self, query: bytes) -> bytes:
        """See `TrackerActor.changes`."""
        if (await self.core()).outpost.active:
            await asyncio.sleep(1.0)
            return wire.encode(Feed(0, 0, gap=True))
        asked = wire.feed_query_of(query)
        found = await (await self.core()).changes(
            asked.epoch, asked.after, asked.seconds, asked.part
        )
        return wire.encode(found)

    async def read(self, query: bytes) -> bytes:
        """See `TrackerActor.read`."""
        asked: Query[Any] = wire.query_of(query)
        return wire.encode(await (await self.core()).read(asked))

    async def execute(self, command: bytes) -> bytes:
        """See `TrackerActor.execute`. What it answers is so in the database."""
        return await (await self.core()).outpost.either("execute", command, self._execute)

    async def _execute(self, command: bytes) -> bytes:
        core = await self.core()
        asked = wire.command_of(command)
        match asked:
            case CancelTask() | RetryTask():
                before = self.world.checker.retried[asked.task_id]
                task = await core.execute(asked)
                verb = "cancel" if isinstance(asked, CancelTask) else "retry"
                self.world.answers.acted(verb, asked.task_id, before)
                return wire.encode(task)
            case ChangeTask():
                task = await core.execute(asked)
                self.world.answers.changed(asked.task_id, asked.revision)
                return wire.encode(task)
            case DeleteTask():
                task = await core.execute(asked)
                self.world.answers.deleted(asked.task_id)
                return wire.encode(task)
            case StartBulk():
                made = await core.execute(asked)
                self.world.answers.made(made[0].bulk_id)
                return wire.encode(made)
            case PauseWork(namespace="", task_type="") | ResumeWork(namespace="", task_type=""):
                return wire.encode(await self._pause(core, asked))
            case _:
                return wire.encode(await core.execute(asked))

    async def _pause(self, core: Tracker, asked: PauseWork | ResumeWork) -> object:
        """Pause everything, or end that; see that it is so, if nobody else does it meanwhile."""
        self._pauses += 1
        number, alone = self._pauses, not self._pausing
        self._pausing += 1
        try:
            found = await core.execute(asked)
        finally:
            self._pausing -= 1
        paused = isinstance(asked, PauseWork)
        may_be_over = isinstance(asked, PauseWork) and asked.seconds is not None
        if alone and number == self._pauses and not may_be_over:
            self.world.answers.paused(paused=paused, epoch=self.epoch, now=self.clock())
        return found

    async def call(self, method: str, *arguments: Any) -> Any:
        """Call a method of the core."""
        core = await self.core()
        match method:
            case "pause" | "resume":
                verb = PauseWork() if method == "pause" else ResumeWork()
                found = await self.execute(wire.encode(verb))
            case _:
                found = await getattr(core, method)(*arguments)
        return found

    async def ping(self) -> None:
        """See `TrackerActor.ping`."""

    async def core(self) -> Tracker:
        """Return the core, as soon as there is one."""
        if self.tracker is not None:
            return self.tracker
        if self._core is None:
            self._core = self.world.loop.create_future()
        return await asyncio.shield(self._core)

    # Its life

    async def _live(self) -> None:
        world = self.world
        try:
            self.tracker = tracker = world.make_tracker(self)
            self._watch(tracker)
            tracker.ticker.on_expiry = lambda name: world.replace_runner(name, self.owner)
            tracker.predecessors.doors = {
                "submit": self.submit,
                "execute": self.execute,
                "exchange": self.exchange,
            }
            if self._core is not None:
                self._core.set_result(tracker)
            await tracker.start(again=self._again)
            self.loaded_at = world.loop.time()
            world.trace("tracker loaded", self.process.name, self.epoch)
            pruning: list[Awaitable[Any]] = []
            if world.retention_seconds is not None:
                retention = Retention(
                    tracker, _no_files, seconds=world.retention_seconds, clock=self.clock
                )
                pruning.append(retention.run())
            await self._reign(tracker, pruning)
        except Exception as error:
            world.fail(f"{self.process.name} failed: {error!r}")
        self.process.kill()

    async def _reign(self, tracker: Tracker, others: list[Awaitable[Any]]) -> None:
        tasks = [asyncio.ensure_future(work) for work in (tracker.run(), *others)]
        try:
            await asyncio.gather(*tasks)
        except Superseded:
            self.world.trace("superseded", self.process.name)
            for task in tasks:
                task.cancel()
            self.is_back = True
            await tracker.superseded()

    def _watch(self, tracker: Tracker) -> None:
        """Have the tracker's memory compared with the database after each of its writes."""
        ticker = tracker.ticker

        def watched(work: _Work) -> _Work:
            async def do() -> None:
                await work()
                self._compare(tracker)

            return do

        ticker.tick = watched(ticker.tick)  # type: ignore[method-assign]
        background = ticker.background
        for name in ("_do_bulk_step", "_move_lanes"):
            setattr(background, name, watched(getattr(background, name)))

    def _compare(self, tracker: Tracker) -> None:
        checker, ledger = self.world.checker, tracker.ticker.ledger
        if checker.epoch != self.epoch or self._looked == checker.looks:
            return
        self._looked = checker.looks
        self.world.flow.judge_memory(ledger.lanes)
        fail, rows = self.world.fail, checker.rows
        held = {
            row.task_id: (row.attempt, row.runner_id, bool(row.cancel_requested))
            for row in rows.values()
            if row.state == "RUNNING"
        }
        known = {
            item.task_id: (item.attempt, item.runner_id, item.cancel_requested)
            for item in ledger.fleet.running.values()
        }
        if held != known:
            fail(f"memory has {known} running, the database {held}")
        for runner in ledger.fleet:
            for item in runner.held.values():
                if ledger.fleet.running.get(item.task_id) != item:
                    fail(f"{runner.runner_id} holds {item}, which does not run")
        counts: dict[tuple[str, str], int] = {}
        for row in rows.values():
            key = (row.task_type, row.state)
            counts[key] = counts.get(key, 0) + 1
        if counts != {key: number for key, number in ledger.counts.items() if number}:
            fail(f"memory counts {dict(ledger.counts)}, the database has {counts}")
        due = [
            row.run_at
            for row in rows.values()
            if not row.ready and row.state in ("PENDING", "RETRYING")
        ]
        if due and (ledger.next_due is None or ledger.next_due > min(due)):
            fail(f"memory has {ledger.next_due} as next due, the database {min(due)}")
        self._compare_feed(tracker)

    def _compare_feed(self, tracker: Tracker) -> None:
        """See that the feed has told each change once, and in order."""
        rows, feed = self.world.checker.rows, tracker.ticker.ledger.feed
        found = feed.since(self.epoch, self._told)
        self._told = found.last
        known = self._revisions
        self._revisions = {task_id: row.revision for task_id, row in rows.items()}
        if found.gap:
            self.reloaded_at = self.world.loop.time()
        if found.gap or known is None:
            return
        number = 0
        for change in found.changes:
            if change.number <= number:
                self.world.fail(f"the feed is out of order: {found.changes}")
            number = change.number
            if change.task_id not in rows:
                continue
            expected = known.get(change.task_id, -1) + 1
            if change.revision != expected:
                self.world.fail(f"the feed tells {change}, and should tell revision {expected}")
            known[change.task_id] = change.revision
            row = rows[change.task_id]
            if change.revision == row.revision and change.state != row.state:
                self.world.fail(f"the feed tells {change} of {row}")
        for task_id, revision in self._revisions.items():
            if known.get(task_id, -1) != revision:
                self.world.fail(f"the feed has not told revision {revision} of {task_id}")


def make_store(world: "World") -> SharedStore:
    """Return a store of its own for a tracker."""
    return SharedStore(world.files.database)


def _no_files(_task_id: str) -> None:
    """Tasks of the simulation have no files."""
