"""The tracker's core: what clients and runners can call. Plain asyncio, no Ray in it."""

import asyncio
import logging
import time
from collections.abc import (
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Mapping,
    Sequence,
)
from typing import Any, TypeVar, cast

from raytasks.model.acts import UNKNOWN
from raytasks.model.bulk_operations import BulkOperation, NewBulk
from raytasks.model.handler_info import HandlerInfo
from raytasks.model.states import LossCause
from raytasks.model.steering import PoolSetting
from raytasks.model.tasks import Accepted, NewTask, Running, StoreUnavailable
from raytasks.observe.log_stream import LogStream
from raytasks.protocol.commands import (
    AnyCommand,
    CancelTask,
    ChangeTask,
    Command,
    DeleteTask,
    NudgeOutbox,
    PauseWork,
    ResumeWork,
    RetryTask,
    ScheduleCommand,
    StartBulk,
)
from raytasks.protocol.messages import Exchange, Feed, FeedPart, Orders
from raytasks.protocol.queries import (
    BulkById,
    BulkList,
    LogLines,
    Metrics,
    OutboxView,
    Query,
    ScheduleErrors,
    StackAnswer,
    Statistics,
    TaskStack,
    TrackerQuery,
)
from raytasks.runner.sizing import TypeWork
from raytasks.store.outpost_rows import Cluster
from raytasks.store.store import Store
from raytasks.store.store_calls import Executors, threads
from raytasks.tracker.access import AWAY
from raytasks.tracker.awaited_commands import Pruning, Submission
from raytasks.tracker.backlog import ANSWER_SECONDS, Backlog, answer_of
from raytasks.tracker.exchanges import Exchanges
from raytasks.tracker.fleet import RunnerState
from raytasks.tracker.held_schedules import held_errors
from raytasks.tracker.journal import lines_of
from raytasks.tracker.metrics_view import metrics_of
from raytasks.tracker.observer import Observer, ObserverQuery
from raytasks.tracker.oldest_due import OldestDue
from raytasks.tracker.open_work import open_work
from raytasks.tracker.outbox_reader import OutboxReader
from raytasks.tracker.outpost import Outpost
from raytasks.tracker.predecessors import Predecessors
from raytasks.tracker.stats_upkeep import keep_stats
from raytasks.tracker.steering_writes import SteeringWrites
from raytasks.tracker.task_acts import execute_on_task
from raytasks.tracker.ticker import Ticker

Answer = TypeVar("Answer")

log = logging.getLogger(__name__)


class Tracker:
    """The owner of the state of all tasks: it alone writes to the store.

    Its `clock` returns seconds since the epoch, for stored times and for when tasks are due. Every
    duration is measured by `monotonic`: leases, pauses, deadlines. That is by default
    `time.monotonic`, or `clock` if a test gives only `clock`. The factory `executors` makes the
    executors of store calls; a simulation runs them inside its loop. For `owner`, `host` and
    `alone`, see `raytasks.store.outpost_rows.Cluster`. What it does is written into `log`, by
    default a stream of its own.

    Start it with `start`, then run `run`, which ends only when it is cancelled or superseded by
    another tracker. Until `start` has returned, submissions wait; they are refused when the
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
        host: str = "",
        alone: bool = False,
        executors: Executors = threads,
        log: LogStream | None = None,
    ) -> None:
        self.log = LogStream(clock) if log is None else log
        self.ticker = Ticker(
            store,
            self.log,
            lease_seconds=lease_seconds,
            max_crashes=max_crashes,
            clock=clock,
            monotonic=monotonic,
            cluster=Cluster(owner, host, is_alone=alone),
            executors=executors,
        )
        self.outpost = Outpost(self.ticker)
        self.predecessors = Predecessors(self.ticker, self.release_runner, self.mark_lost)
        self.fleet = self.ticker.ledger.fleet
        self._backlog = Backlog(self.ticker, max_backlog)
        self._exchanges = Exchanges(self.ticker, self.mark_lost)
        self._steering = SteeringWrites(self.ticker)
        self.stack_of: Callable[[str, Running], Awaitable[str | None]] = _no_stack
        """Returns the stack of an attempt that the runner of a name runs; None if it cannot."""
        self.ticker.bulk.room = self._backlog.now
        self.outbox = OutboxReader(self.ticker, self._backlog)
        self._clock = clock
        self._monotonic = self.ticker.monotonic
        self.oldest_due = OldestDue(self.ticker)
        self.observer = Observer(
            self.ticker, self.oldest_due, lambda: (self.backlog, self.max_backlog)
        )
        self.observer.outbox = lambda: self.outbox.state
        self.observer.earlier_clusters = self.predecessors.documents

    async def start(self, *, again: bool = False) -> None:
        """Take over the database; see `Ticker.start`.

        With `again`, this tracker was restarted. If another cluster has taken over meanwhile, it is
        an outpost until that one has gone; see `raytasks.tracker.outpost`.
        """
        await self.ticker.start(self.outpost.stand_by if again else None)
        await self.predecessors.begin()
        self.outpost.resume()

    async def run(self) -> None:
        """Do the tracker's work for ever. Raises `Superseded`."""
        others = [keep_stats(self.ticker), self.outbox.run()]
        if not self.ticker.cluster.is_alone:
            others.append(self.predecessors.run())
        beside = [asyncio.ensure_future(other) for other in others]
        try:
            await self.ticker.run()
        finally:
            for other in beside:
                other.cancel()

    async def superseded(self) -> None:
        """Be an outpost after `run` has raised `Superseded`, until this cluster is to go on.

        On return, this process must end: the next life of the tracker goes on. It has taken over
        the database already, unless that was a later life of the same tracker.
        """
        await self.outpost.live()

    async def close(self) -> None:
        """Answer waiting callers with an error, and close the store."""
        await self.ticker.close()

    # For clients

    async def submit(self, tasks: Sequence[NewTask]) -> Accepted:
        """Store new tasks, all or none; on return they are on disk.

        Their times are by the tracker's clock. Returns, by task id, the tasks that were not stored
        because their idempotency key is taken. Raises `BacklogFull`, or `StoreUnavailable`: then
        the tasks may or may not be stored.
        """
        new = await self._backlog.that_fit(tasks)
        submission = Submission(tuple(new))
        self.ticker.inbox.submissions.append(submission)
        self.ticker.wake.set()
        with self._backlog.submitting(new):
            duplicates: Accepted = await answer_of(submission)
        return duplicates if len(new) == len(tasks) else Accepted(duplicates)

    async def execute(self, command: Command[Answer]) -> Answer:
        """Execute a command; on return it is on disk. Safe to repeat.

        Raises `StoreUnavailable`, and the errors that the command's class names.
        """
        done = await self._execute(command)
        return cast("Answer", done)

    async def _execute(self, command: Command[Any]) -> Any:
        assert isinstance(command, AnyCommand), command
        match command:
            case CancelTask() | RetryTask() | ChangeTask() | DeleteTask():
                return await execute_on_task(self.ticker, command)
            case NudgeOutbox():
                self.outbox.nudge()
                return None
            case StartBulk():
                return await self._start_bulk(command.new)
            case _ if isinstance(command, ScheduleCommand):
                return await self.ticker.background.schedules.execute(command)
            case _:
                return await self._steering.execute(command)

    async def _start_bulk(self, new: NewBulk) -> tuple[BulkOperation, bool]:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self.ticker.background.make_bulk(new)
        except TimeoutError:
            raise StoreUnavailable(AWAY) from None

    async def read(self, query: Query[Answer]) -> Answer:
        """Answer a query. Raises `StoreUnavailable`."""
        found = await self._read(query)
        return cast("Answer", found)

    async def _read(self, query: Query[Any]) -> Any:
        assert isinstance(query, TrackerQuery), query
        if isinstance(query, ObserverQuery):
            return await self.observer.answer(query)
        access, store, bulk = self.ticker.access, self.ticker.store, self.ticker.bulk
        match query:
            case BulkById():
                one = await access.read(lambda: store.read(query))
                return one and bulk.shown(one)
            case BulkList():
                return [bulk.shown(item) for item in await access.read(lambda: store.read(query))]
            case Statistics():
                return await self._statistics(query.namespace)
            case TaskStack():
                return await self._stack(query.task_id)
            case LogLines():
                return await lines_of(self.log, query)
            case Metrics():
                return await metrics_of(self.ticker, self.oldest_due, self.observer)
            case OutboxView():
                return self.outbox.document()
            case ScheduleErrors():
                return held_errors(self.ticker.background.schedules.all_held, query.namespace)
            case _:
                stored: Query[Any] = query
                return await access.read(lambda: store.read(stored))

    async def _stack(self, task_id: str) -> StackAnswer | None:
        running = self.fleet.running.get(task_id)
        if running is None or running.waits:
            return None
        runner = self.fleet.runners.get(running.runner_id)
        text = None if runner is None else await self.stack_of(runner.name, running)
        return StackAnswer(running.attempt, text)

    async def _statistics(self, namespace: str) -> dict[str, Any]:
        await self.ticker.ledger.stats.read_back(ANSWER_SECONDS)
        return self.ticker.ledger.stats.view(namespace, self._clock())

    async def expired(self, before: float, limit: int) -> dict[str, float]:
        """Return tasks that ended before `before`: see `Store.expired`."""
        return await self.ticker.access.read(lambda: self.ticker.store.expired(before, limit))

    async def prune(self, task_ids: Iterable[str], before: float) -> float:
        """Delete the tasks that ended before `before`; return how many seconds it took in a tick.

        Raises `StoreUnavailable`.
        """
        pruning = Pruning(tuple(task_ids), before)
        self.ticker.inbox.prunings.append(pruning)
        self.ticker.wake.set()
        seconds: float = await answer_of(pruning)
        return seconds

    async def pause(self, by: str = UNKNOWN, *, drain: bool = False) -> None:
        """Stop claiming until `resume`, also across a restart of the tracker; see `PauseWork`.

        On return no claim is on its way either. Raises `StoreUnavailable`.
        """
        await self.execute(PauseWork(by=by, drain=drain))

    async def resume(self, by: str = UNKNOWN) -> None:
        """End the pause of the whole service. Raises `StoreUnavailable`."""
        await self.execute(ResumeWork(by=by))

    async def end_drain(self, by: str = UNKNOWN) -> None:
        """End a drain; a person's pause stays. Raises `StoreUnavailable`."""
        await self.execute(ResumeWork(by=by, only_drain=True))

    async def stop_claiming(self) -> None:
        """Stop claiming until this process ends; on return no claim is on its way either."""
        self.ticker.claiming = False
        await self.ticker.wait_for_tick()

    async def demand(self, task_types: Sequence[str]) -> dict[str, TypeWork]:
        """Return the open work of these types. See `raytasks.tracker.open_work`."""
        return open_work(self.ticker.ledger, task_types)

    def has_predecessors(self) -> bool:
        """Return whether an earlier cluster on this database may still run tasks."""
        return self.predecessors.any

    def pool_settings(self) -> Mapping[str, PoolSetting]:
        """Return the sizes of pools that people have set, by pool."""
        return self.ticker.steering.pools

    async def changes(
        self, epoch: int, after: int, seconds: float, part: FeedPart = FeedPart.CHANGES
    ) -> Feed:
        """Return the events of a part of the feed after number `after`.

        Waits at most `seconds` for one.
        """
        if not await self.ticker.is_loaded(seconds):
            return Feed(0, 0, gap=True)
        return await self.ticker.ledger.feed.wait(epoch, after, seconds, part)

    @property
    def backlog(self) -> int:
        """The number of waiting tasks, including those that are not due yet."""
        return self._backlog.size

    @property
    def max_backlog(self) -> int:
        """How many tasks may wait in all: the setting MAX_BACKLOG."""
        return self._backlog.most

    @max_backlog.setter
    def max_backlog(self, most: int) -> None:
        self._backlog.most = most

    def set_handlers(self, infos: Iterable[HandlerInfo]) -> None:
        """Take the handlers of the version in force, with what they declare."""
        self.observer.handlers = {info.task_type: info for info in infos}
        ticker, known = self.ticker, tuple(self.observer.handlers.values())
        ticker.claims.set_handlers(known)
        ticker.background.schedules.declare(known)
        self.outbox.set_handlers(known)
        ticker.wake.set()

    async def wait_until_idle(self, seconds: float) -> None:
        """Wait until no attempt runs, or until `seconds` have passed."""
        deadline = self._monotonic() + seconds
        epoch, after = self.ticker.epoch, -1
        while self.fleet.running and (left := deadline - self._monotonic()) > 0:
            after = (await self.changes(epoch, after, left)).last

    def release_all(self) -> int:
        """Release every running attempt, uncharged, and return their number."""
        return sum(self.release_runner(runner.runner_id) for runner in self.fleet)

    # For runners

    def exchange(self, exchange: Exchange, way: str = "") -> Coroutine[Any, Any, Orders]:
        """Take in a runner's news, and answer when there is something for it to do or to know.

        `way` is how the call came: see `RunnerState`.

        Safe to repeat: an outcome counts once, and a batch of claims that did not arrive is sent
        again. An exchange that arrives after a later one is ignored, and the runner sends
        everything again. The answer comes at the latest after a third of the lease, possibly empty,
        so that the runner calls again. News for which there is no room now are asked for later.
        """
        return self._exchanges.take(exchange, way)  # so the caller need not keep what it carries

    def mark_lost(
        self,
        runner_id: str,
        reason: str,
        *,
        out_of_memory: bool = False,
        cause: LossCause = LossCause.PROCESS,
    ) -> None:
        """Mark a runner as dead, or as being ended: its attempts will run again elsewhere.

        Nothing is charged if the cause lies outside its process: its node died, or we end it. If it
        calls again before it is gone, it gets nothing. What it then reports of an attempt is kept
        as a late outcome.
        """
        self.ticker.losses.mark_lost(
            runner_id, reason, out_of_memory=out_of_memory, for_good=True, cause=cause
        )

    def runners(self) -> list[RunnerState]:
        """Return the states of all runners, including those that have not called yet."""
        return list(self.fleet)

    def release_runner(self, runner_id: str) -> int:
        """Release what a runner holds, uncharged; see `Losses.release_runner`."""
        return self.ticker.losses.release_runner(runner_id)


async def _no_stack(_name: str, _running: Running) -> str | None:
    """Return no stack, where the tracker cannot ask the runners."""
    return None
