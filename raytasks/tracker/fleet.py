"""The runners as the tracker sees them: lease, held attempts, and orders to send."""

import asyncio
import math
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from raytasks.model.handler_info import EARLIER_POOL, EARLIER_REMOTE_POOL, REMOTE_POOL
from raytasks.model.tasks import Running
from raytasks.protocol.messages import Claim, Demand, Exchange, Orders, Outcome, Report
from raytasks.tracker.averages import HOLD_SECONDS, Averages
from raytasks.tracker.sharing import CapacityRequest

MAX_HELD = 256
"""Maximum number of attempts that a warm runner holds, however short they are."""


@dataclass
class RunnerState:
    """The state of one runner. It is not `confirmed` until it has said itself what it holds.

    The newest batch of claims has the number `batch`, the last one sent `sent`. Claims whose
    arrival is not certain are `undelivered`. The newest exchange has the number `number`. The `way`
    is how the last call came: socket, or Ray. It is known `since` a time, and gave its last sign of
    life at `sign_at`: a claim, an outcome, a report or a log line.
    """

    runner_id: str
    name: str
    pool: str
    generation: str
    seen_at: float
    node_id: str | None = None
    worker_id: str | None = None
    host: str | None = None
    pid: int | None = None
    confirmed: bool = False
    way: str = ""
    capacity_by_type: Mapping[str, int] = field(default_factory=dict)
    capacity: int = 0
    slots: bool = False
    last_outcomes: Sequence[Outcome] = ()
    leaving: bool = False
    number: int = 0
    retiring: bool = False
    demands: Sequence[Demand] = ()
    waits_for: str | None = None
    held: dict[str, Running] = field(default_factory=dict)
    call: "asyncio.Future[Orders] | None" = None
    batch: int = 0
    sent: int = 0
    undelivered: list[Claim] = field(default_factory=list)
    queued: bool = False
    cancels: list[tuple[str, int]] = field(default_factory=list)
    stale: list[tuple[str, int]] = field(default_factory=list)
    acknowledged: list[tuple[str, int]] = field(default_factory=list)
    acknowledged_reports: list[int] = field(default_factory=list)
    acknowledged_logs: list[int] = field(default_factory=list)
    asked_again: bool = False
    since: float = 0.0
    sign_at: float = 0.0
    eager: bool = False  # whether it gets acknowledgements at once: it has waited for long

    @classmethod
    def of(cls, exchange: Exchange, now: float) -> "RunnerState":
        """Return the state of an unknown runner that calls."""
        runner = cls(exchange.runner_id, exchange.name, exchange.pool, exchange.generation, now)
        runner.since = runner.sign_at = now
        return runner

    def on_heartbeat(self, exchange: Exchange, now: float, epoch: int) -> None:
        """Apply what an exchange says of the runner itself. `epoch` is this tracker's."""
        self.seen_at = now
        if exchange.outcomes or exchange.reports or exchange.logs:
            self.sign_at = now
        self.number = exchange.number
        self.confirmed = True
        self.name, self.pool, self.generation = exchange.name, exchange.pool, exchange.generation
        self.capacity_by_type = exchange.capacity_by_type
        self.capacity = exchange.capacity
        self.slots = exchange.slots
        self.last_outcomes = exchange.last_outcomes
        self.leaving = exchange.leaving
        self.demands = exchange.demands
        self.waits_for = exchange.waits_for
        self.node_id, self.worker_id = exchange.node_id, exchange.worker_id
        self.host, self.pid = exchange.host, exchange.pid
        # An earlier tracker's batch of the same number is a different batch.
        if exchange.batch_epoch in (0, epoch) and exchange.last_batch >= self.batch:
            self.undelivered = []
            self.batch = self.sent = exchange.last_batch  # known from before its removal

    def deliver(self, claims: list[Claim], *, queued: bool) -> None:
        """Queue claimed attempts to be sent to the runner; `queued` as in `Orders`."""
        self.undelivered += claims
        self.queued = queued
        self.batch += 1
        self.capacity = max(0, self.capacity - len(claims))

    @property
    def is_remote(self) -> bool:
        """Whether it is a remote runner: its attempts run in other processes."""
        return self.pool in (REMOTE_POOL, EARLIER_REMOTE_POOL)

    @property
    def is_earlier(self) -> bool:
        """Whether it is of an earlier cluster; see `raytasks.tracker.predecessors`."""
        return self.pool in (EARLIER_POOL, EARLIER_REMOTE_POOL)

    @property
    def has_urgent_orders(self) -> bool:
        """Whether an order should go out now, before the runner's next heartbeat."""
        return bool(
            self.undelivered
            or (self.leaving and not self.held)
            or self.cancels
            or self.stale
            or self.acknowledged_reports
            or (self.eager and self.acknowledged)
            or self.asked_again
        )

    def holds(self, task_id: str, attempt: int) -> bool:
        """Return whether this runner holds the attempt.

        An attempt that is about to be lost is not held.
        """
        return self.find(task_id, attempt) is not None

    def find(self, task_id: str, attempt: int) -> Running | None:
        """Return the running attempt if this runner holds exactly it; else None."""
        held = self.held.get(task_id)
        return held if held is not None and held.attempt == attempt else None

    def unsent(self) -> set[tuple[str, int]]:
        """Return the attempts claimed for the runner and never sent to it (task id, attempt)."""
        if self.sent == self.batch:
            return set()
        return {(claim.task_id, claim.attempt) for claim in self.undelivered}

    def unconfirm(self) -> None:
        """Ask the runner again what it holds, as the tracker's view may be wrong."""
        self.confirmed = False
        self.undelivered = []
        self.answer()

    def ask_again(self) -> None:
        """Ask the runner to send again what is not acknowledged; its known state stays."""
        self.asked_again = True
        self.answer()

    def answer(self) -> None:
        """Answer the runner's waiting call with all its orders."""
        call, self.call = self.call, None
        if call is None or call.done():
            return
        self.sent = self.batch
        asked_again, self.asked_again = self.asked_again, False
        call.set_result(
            Orders(
                batch=self.batch,
                claims=tuple(self.undelivered),
                cancels=tuple(self.cancels),
                stale=tuple(self.stale),
                acknowledged=tuple(self.acknowledged),
                acknowledged_reports=tuple(self.acknowledged_reports),
                acknowledged_logs=tuple(self.acknowledged_logs),
                resync=asked_again or not self.confirmed,
                queued=self.queued,
            )
        )
        for sent in (
            self.cancels,
            self.stale,
            self.acknowledged,
            self.acknowledged_reports,
            self.acknowledged_logs,
        ):
            sent.clear()

    def capacity_request(
        self, averages: Averages, ending: Container[str] = (), rated: Container[str] = ()
    ) -> CapacityRequest | None:
        """Return the capacity that is free once the tasks in `ending` are settled; None: none.

        The types in `rated` are those with a rate.
        """
        if (
            self.call is None
            or self.retiring
            or self.leaving
            or self.undelivered
            or self.capacity < 1
        ):
            return None
        if self.pool == REMOTE_POOL:
            return CapacityRequest(
                self.runner_id,
                self.capacity_by_type,
                self.capacity,
                seconds=None,
                empty=False,
                begins_later=True,
                waiting={
                    item.task_type
                    for item in (self.held.values() if rated else ())
                    if item.waits and item.task_id not in ending
                },
                rated=rated,
            )
        held = [item for item in self.held.values() if item.task_id not in ending]
        if self.slots:  # all begin at once, so none waits behind a long one
            seconds, capacity = math.inf, self.capacity
        else:
            seconds = HOLD_SECONDS - sum(averages.get(item.task_type) for item in held)
            capacity = min(self.capacity, MAX_HELD - len(held))
        suspects = [item.company for item in held if item.company is not None]
        company = min(suspects, default=math.inf)
        if capacity < 1 or (held and seconds <= 0) or len(suspects) >= company:
            return None
        return CapacityRequest(
            self.runner_id,
            self.capacity_by_type,
            capacity,
            seconds,
            empty=not held,
            suspects=len(suspects),
            company=company,
            rated=rated,
        )


class Fleet:
    """All runners, and all running attempts by task id."""

    _REMEMBERED = 10_000

    def __init__(self) -> None:
        self._removed: dict[str, bool] = {}  # by runner id: whether for good
        self.runners: dict[str, RunnerState] = {}
        self.running: dict[str, Running] = {}
        self.signs: dict[str, float] = {}  # when a running task last reported something
        self._lives: dict[str, dict[str, RunnerState]] = {}  # by name, then by id
        self.averages = Averages()
        self.unsure: set[tuple[str, int]] = set()
        """Attempts that were taken from a runner that may have begun them (task id, attempt)."""

    def __iter__(self) -> Iterator[RunnerState]:
        return iter(list(self.runners.values()))

    def restart(self, running: Iterable[Running], now: float) -> None:
        """Start again from the running attempts in the database; every runner is unconfirmed."""
        self.running.clear()
        self.signs.clear()
        self.unsure.clear()
        for runner in self:
            runner.held.clear()
            runner.seen_at = now
            runner.unconfirm()
        for item in running:
            self.begin(item, now)

    def begin(self, running: Running, seen_at: float) -> None:
        """Add a running attempt. Its runner is added too if it is not known yet."""
        runner = self.runners.get(running.runner_id)
        if runner is None:
            runner = RunnerState(running.runner_id, "", "", "", seen_at, since=seen_at)
            self.runners[running.runner_id] = runner
        self.running[running.task_id] = running
        runner.held[running.task_id] = running
        runner.sign_at = seen_at

    def note_signs(self, task_ids: Iterable[str], now: float) -> None:
        """Record that running attempts have reported something."""
        for task_id in task_ids:
            if task_id in self.running:
                self.signs[task_id] = now

    def end(self, running: Running) -> None:
        """Remove an attempt that has ended."""
        self.running.pop(running.task_id, None)
        self.signs.pop(running.task_id, None)
        if self.unsure:
            self.unsure.discard((running.task_id, running.attempt))
        runner = self.runners.get(running.runner_id)
        if runner is not None:
            runner.held.pop(running.task_id, None)

    def note_begun(self, runner_id: str, report: Report) -> Running | None:
        """Record that a waiting attempt has begun; return it as it was, None if it did not wait."""
        running = self.find(runner_id, report.task_id, report.attempt)
        if running is None or not running.waits or report.began_at is None:
            return None
        self._replace(running, replace(running, waits=False, begun_at=report.began_at))
        return running

    def _replace(self, running: Running, changed: Running) -> RunnerState | None:
        """Replace an attempt by its changed copy, and return its runner."""
        self.running[running.task_id] = changed
        runner = self.runners.get(running.runner_id)
        if runner is not None:  # else it has just died, and the attempt will be lost
            runner.held[running.task_id] = changed
        return runner

    def mark_cancelled(self, task_id: str, by: str | None = None) -> None:
        """Order the runner of a task to stop it, as a person has cancelled it."""
        running = self.running.get(task_id)
        if running is None or running.cancel_requested:
            return
        runner = self._replace(running, replace(running, cancel_requested=True, cancelled_by=by))
        if runner is not None:
            runner.cancels.append((task_id, running.attempt))

    def mark_large_checkpoint(self, task_id: str) -> None:
        """Record that the checkpoint of a running task is now in a file."""
        running = self.running.get(task_id)
        if running is None or running.large_checkpoint:
            return
        marked = replace(running, large_checkpoint=True)
        self.running[task_id] = marked
        runner = self.runners.get(running.runner_id)
        if runner is not None:
            runner.held[task_id] = marked

    def find(self, runner_id: str, task_id: str, attempt: int) -> Running | None:
        """Return the running attempt if exactly this runner holds exactly it; else None."""
        running = self.running.get(task_id)
        if running is None or running.attempt != attempt or running.runner_id != runner_id:
            return None
        return running

    def lives_of(self, name: str) -> list[RunnerState]:
        """Return the states of the runner `name`: of its present process, and of earlier ones."""
        return list(self._lives.get(name, {}).values())

    def admit(self, exchange: Exchange, now: float, epoch: int) -> RunnerState:
        """Return the state of the runner that calls, with what it says of itself.

        `epoch` is this tracker's.
        """
        runner = self.runners.get(exchange.runner_id)
        if runner is None:
            runner = RunnerState.of(exchange, now)
            self.runners[exchange.runner_id] = runner
            self._removed.pop(exchange.runner_id, None)
        runner.on_heartbeat(exchange, now, epoch)
        self._lives.setdefault(runner.name, {})[runner.runner_id] = runner
        return runner

    def remove(self, runner_id: str, *, for_good: bool) -> RunnerState | None:
        """Remove a runner, and return its last state; its attempts have to be settled.

        A runner that is not removed `for_good` is admitted again when it calls, unless it was
        replaced.
        """
        runner = self.runners.pop(runner_id, None)
        if runner is not None:
            lives = self._lives.get(runner.name, {})
            if lives.pop(runner_id, None) is not None and not lives:
                del self._lives[runner.name]
        if runner is not None or for_good:
            self._removed[runner_id] = for_good or self._removed.get(runner_id, False)
            if len(self._removed) > self._REMEMBERED:
                del self._removed[next(iter(self._removed))]
        return runner

    def remove_gone(self) -> list[Running]:
        """Remove runners that a reload brought back though they were removed for good.

        Returns their attempts: they were claimed while the runner died, and never reached it.
        """
        gone = [runner for runner in self if self._removed.get(runner.runner_id)]
        for runner in gone:
            self.remove(runner.runner_id, for_good=True)
        return [running for runner in gone for running in runner.held.values()]

    def is_out(self, runner_id: str, name: str) -> bool:
        """Return whether a runner was removed for good, or a later one has its name."""
        for_good = self._removed.get(runner_id)
        return for_good is not None and (for_good or bool(self.lives_of(name)))

    def expired(self, now: float, lease_seconds: float) -> list[RunnerState]:
        """Return the runners that have sent no heartbeat for longer than their lease."""
        return [runner for runner in self if runner.seen_at + lease_seconds < now]
