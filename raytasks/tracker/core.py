"""The tracker's core: what clients and runners can call. Plain asyncio, no Ray in it."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar, assert_never, cast

from raytasks.model.bulk_operations import BulkOperation, NewBulk
from raytasks.model.states import TRANSITIONS, WAITING, Event, LossCause, State
from raytasks.model.tasks import Accepted, NewTask, StateConflict, StoreUnavailable, Task
from raytasks.protocol.commands import AnyCommand, CancelTask, Command, RetryTask, StartBulk
from raytasks.protocol.messages import Exchange, Feed, FeedPart, Orders
from raytasks.protocol.queries import (
    BulkById,
    BulkList,
    Health,
    Query,
    Statistics,
    TrackerQuery,
    WaitingFor,
)
from raytasks.store.store import Store
from raytasks.store.store_calls import Executors, threads
from raytasks.tracker.access import AWAY
from raytasks.tracker.backlog import answer_of, that_fit
from raytasks.tracker.exchanges import Exchanges
from raytasks.tracker.fleet import RunnerState
from raytasks.tracker.health import health_of
from raytasks.tracker.inbox import Action, Pruning, Submission
from raytasks.tracker.ticker import Ticker
from raytasks.tracker.waiting import waiting_for

Answer = TypeVar("Answer")

log = logging.getLogger(__name__)

ANSWER_SECONDS = 8.0
"""How long a command waits for its commit. Then it is refused: an HTTP request is to be answered
within ten seconds, whatever the database does."""


class Tracker:
    """Owns the state of all tasks: it alone writes to the store.

    `clock` gives the time in seconds since the epoch: what is stored, and when tasks are due.
    `monotonic` measures every duration: leases, pauses, deadlines. Without it, it is
    `time.monotonic`, or `clock` if only that is given, as tests do. `executors` makes what calls
    of the store run in; a simulation gives one that runs them inside its loop. `owner` names the
    actor whose tracker this is, in all its lives.

    Start it with `start`, then run `run`, which ends only by being cancelled, or when another
    tracker has taken over. Until `start` has returned, submissions wait, or are refused when the
    database is away.
    """

    def __init__(
        self,
        store: Store,
        *,
        lease_seconds: float = 15.0,
        max_crashes: int = 3,
        max_backlog: int = 1_000_000,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] | None = None,
        owner: str = "",
        executors: Executors = threads,
    ) -> None:
        self.ticker = Ticker(
            store,
            lease_seconds=lease_seconds,
            max_crashes=max_crashes,
            clock=clock,
            monotonic=monotonic,
            owner=owner,
            executors=executors,
        )
        self.fleet = self.ticker.ledger.fleet
        self.max_backlog = max_backlog
        self._submitting = 0
        self._exchanges = Exchanges(self.ticker, self.mark_lost)
        self.ticker.bulk.room = lambda: self._room
        self._clock = clock
        self._monotonic = self.ticker.monotonic

    async def start(self, *, again: bool = False) -> None:
        """Take over the database. See `Ticker.start`."""
        await self.ticker.start(again=again)

    async def run(self) -> None:
        """Do the tracker's work for ever. Raises `Superseded`."""
        upkeep = asyncio.ensure_future(self.ticker.keep_stats())
        try:
            await self.ticker.run()
        finally:
            upkeep.cancel()

    async def close(self) -> None:
        """Answer those who wait with an error, and close the store."""
        await self.ticker.close()

    # For clients

    async def submit(self, tasks: Sequence[NewTask]) -> Accepted:
        """Store new tasks, all or none; on return they are on disk. Their times are of our clock.

        Returns those, by their ids, that were not stored as their idempotency key is taken.
        Raises `BacklogFull`, or `StoreUnavailable`: then they may or may not be stored.
        """
        new = tasks
        if len(tasks) > self._room:
            new = await that_fit(self.ticker.access, tasks, lambda: self._room)
        submission = Submission(tuple(new))
        self.ticker.inbox.submissions.append(submission)
        self.ticker.wake.set()
        self._submitting += len(new)
        try:
            duplicates: Accepted = await answer_of(submission, ANSWER_SECONDS)
        finally:
            self._submitting -= len(new)
        return duplicates if len(new) == len(tasks) else Accepted(duplicates)

    async def execute(self, command: Command[Answer]) -> Answer:
        """Carry out a command; on return it is on disk. Safe to repeat.

        Raises `StoreUnavailable`, and what the command's class says.
        """
        done = await self._execute(command)
        return cast("Answer", done)

    async def _execute(self, command: Command[Any]) -> Any:
        assert isinstance(command, AnyCommand), command
        match command:
            case CancelTask():
                return await self._cancel(command)
            case RetryTask():
                return await self._retry(command)
            case StartBulk():
                return await self._start_bulk(command.new)
            case _:
                assert_never(command)

    async def _cancel(self, command: CancelTask) -> Task:
        before, after = await self._act(Action("cancel", command.task_id, command.namespace))
        if before.state.final:
            raise StateConflict(f"the task is {before.state} already, and cannot be cancelled")
        return after

    async def _retry(self, command: RetryTask) -> Task:
        before, after = await self._act(Action("retry", command.task_id, command.namespace))
        if before.state not in TRANSITIONS[Event.RETRY].sources:
            raise StateConflict(
                f"the task is {before.state}; only FAILED and CANCELLED tasks can be retried"
            )
        return after

    async def _start_bulk(self, new: NewBulk) -> tuple[BulkOperation, bool]:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self.ticker.make_bulk(new)
        except TimeoutError:
            raise StoreUnavailable(AWAY) from None

    async def read(self, query: Query[Answer]) -> Answer:
        """Answer a query. Raises `StoreUnavailable`."""
        found = await self._read(query)
        return cast("Answer", found)

    async def _read(self, query: Query[Any]) -> Any:
        assert isinstance(query, TrackerQuery), query
        access, store, bulk = self.ticker.access, self.ticker.store, self.ticker.bulk
        match query:
            case BulkById():
                one = await access.read(lambda: store.read(query))
                return one and bulk.shown(one)
            case BulkList():
                return [bulk.shown(item) for item in await access.read(lambda: store.read(query))]
            case Statistics():
                return await self._statistics(query.namespace)
            case WaitingFor():
                return waiting_for(self.fleet, query.task_id)
            case Health():
                return await health_of(self.ticker, self.backlog)
            case _:
                stored: Query[Any] = query
                return await access.read(lambda: store.read(stored))

    async def _statistics(self, namespace: str) -> dict[str, Any]:
        await self.ticker.ledger.stats.read_back(ANSWER_SECONDS)
        counts = await self.ticker.access.read(self.ticker.store.counts)
        by_type: dict[str, dict[str, int]] = {}
        for (space, task_type, state), number in sorted(counts.items()):
            if space == namespace and number:
                by_type.setdefault(task_type, {})[state.value] = number
        by_state = {
            state.value: sum(found.get(state.value, 0) for found in by_type.values())
            for state in State
        }
        return {
            "namespace": namespace,
            "counts": {"by_state": by_state, "by_type": by_type},
            **self.ticker.ledger.stats.view(namespace, self._clock()),
        }

    async def expired(self, before: float, limit: int) -> list[str]:
        """Return the ids of tasks that ended before this time, the oldest first."""
        return await self.ticker.access.read(lambda: self.ticker.store.expired(before, limit))

    async def prune(self, task_ids: Sequence[str], before: float) -> None:
        """Delete those of the tasks that ended before this time. Raises `StoreUnavailable`."""
        pruning = Pruning(tuple(task_ids), before)
        self.ticker.inbox.prunings.append(pruning)
        self.ticker.wake.set()
        await answer_of(pruning, ANSWER_SECONDS)

    async def pause(self) -> None:
        """Hand out no task any more, until `resume`, also after a restart of the tracker.

        On return none is on its way either. Raises `StoreUnavailable`.
        """
        await self.ticker.set_paused(self._clock())

    async def resume(self) -> None:
        """Hand out tasks again. Raises `StoreUnavailable`."""
        await self.ticker.set_paused(None)

    async def stop_claiming(self) -> None:
        """Hand out no task any more in this life; on return none is on its way either."""
        self.ticker.claiming = False
        await self.ticker.wait_for_tick()

    async def has_ready(self, task_types: Sequence[str]) -> bool:
        """Return whether a task of one of these types waits that is due."""
        waiting = [name for name in task_types if self.ticker.ledger.waiting(name)]
        if not waiting or self.ticker.paused_at is not None:
            return False
        return await self.ticker.access.read(lambda: self.ticker.store.any_ready(waiting))

    async def changes(
        self, epoch: int, after: int, seconds: float, part: FeedPart = FeedPart.CHANGES
    ) -> Feed:
        """Return what came of a part of the feed after number `after`.

        Waits up to `seconds` for anything.
        """
        if not await self.ticker.is_loaded(seconds):
            return Feed(0, 0, gap=True)
        return await self.ticker.ledger.feed.wait(epoch, after, seconds, part)

    @property
    def backlog(self) -> int:
        """How many tasks wait, those that are not due yet included."""
        counts = self.ticker.ledger.counts.items()
        return sum(count for (_, state), count in counts if state in WAITING)

    async def wait_until_idle(self, seconds: float) -> None:
        """Wait until no attempt runs any more, or until `seconds` have passed."""
        deadline = self._monotonic() + seconds
        epoch, after = self.ticker.epoch, -1
        while self.fleet.running and (left := deadline - self._monotonic()) > 0:
            after = (await self.changes(epoch, after, left)).last

    def release_all(self) -> int:
        """Give back every attempt that runs, uncharged, and return how many those are."""
        return sum(self.release_runner(runner.runner_id) for runner in self.fleet)

    # For runners

    def exchange(self, exchange: Exchange, way: str = "") -> Coroutine[Any, Any, Orders]:
        """Take a runner's news, and answer when there is something for it to do or to know.

        `way` is how the call came: see `RunnerState`.

        Safe to repeat: an outcome counts once, and a batch of claims that did not arrive is sent
        again. Of an exchange that comes after a later one nothing is taken: the runner says
        everything again. Answers with nothing after a third of the lease, so that the runner calls
        again. While there is no room for more news, what is not taken is asked for later.
        """
        return self._exchanges.take(exchange, way)  # whose caller need not keep what it carries

    def mark_lost(
        self,
        runner_id: str,
        reason: str,
        *,
        out_of_memory: bool = False,
        cause: LossCause = LossCause.PROCESS,
    ) -> None:
        """Note that a runner is dead, or just being ended: what it held will run again elsewhere.

        Nothing is charged where the cause lies outside its process: its node died, or we end it.
        Should it call once more before it is gone, it gets nothing, but what it has to tell of an
        attempt is kept as a late outcome.
        """
        self.ticker.losses.mark_lost(
            runner_id, reason, out_of_memory=out_of_memory, for_good=True, cause=cause
        )

    def runners(self) -> list[RunnerState]:
        """Return the states of all runners, also of those that were not heard of yet."""
        return list(self.fleet)

    def release_runner(self, runner_id: str) -> int:
        """Give back what a runner holds, uncharged; return how many attempts that is.

        An attempt that has ended is not among them, though its outcome may not be stored yet.
        """
        runner = self.fleet.runners.get(runner_id)
        held = [] if runner is None else list(runner.held.values())
        held = [running for running in held if not self.ticker.losses.has_outcome(running)]
        for running in held:
            self.ticker.losses.release(running)
        return len(held)

    @property
    def _room(self) -> int:
        """How many more tasks may wait."""
        return self.max_backlog - self.backlog - self._submitting

    async def _act(self, action: Action) -> tuple[Task, Task]:
        self.ticker.inbox.actions.append(action)
        self.ticker.wake.set()
        answer: tuple[Task, Task] = await answer_of(action, ANSWER_SECONDS)
        return answer
