"""Runners: the real exchange loop over a body that only pretends to work."""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from raytasks.model.callbacks import CALLBACK_TYPE
from raytasks.model.handler_info import REMOTE_POOL, SHARED_POOL
from raytasks.model.states import OutcomeKind
from raytasks.model.task_events import LogLine
from raytasks.protocol import codec as wire
from raytasks.protocol.messages import Claim, Exchange, Orders, Outcome
from raytasks.runner.exchange_loop import ExchangeLoop
from raytasks.runner.identity import Identity
from tests.simulation.bodies import Deed, Script
from tests.simulation.loop import Process

if TYPE_CHECKING:
    from tests.simulation.world import World

TYPES = {SHARED_POOL: ("short", "other"), REMOTE_POOL: ("far",)}
"""The task types of each pool."""

_ROOM = 16
_STUCK_SECONDS = 1.0

_KINDS = {
    Deed.SUCCEED: OutcomeKind.SUCCEEDED,
    Deed.FAIL: OutcomeKind.FAILED,
    Deed.FAIL_FOR_GOOD: OutcomeKind.FAILED,
    Deed.TIME_OUT: OutcomeKind.TIMED_OUT,
    Deed.SNOOZE: OutcomeKind.SNOOZED,
}


class RunnerLife:
    """One life of a runner's process, from its start to its end."""

    def __init__(self, world: "World", name: str, pool: str, life: int, owner: str) -> None:
        self.world = world
        self.owner = owner
        self.begun_at = world.loop.time()
        self.name = name
        self.pool = pool
        self.runner_id = f"{name}.{life}"
        self.process = Process(world.loop, self.runner_id)
        self.process.skew = world.elsewhere_skew
        self.left = False
        self.exchange: ExchangeLoop | None = None
        self.work: Bodies | None = None
        self.process.start(self._main())

    def clock(self) -> float:
        """Return the wall time of the runner's machine."""
        return self.world.wall(self.process)

    def leave(self) -> None:
        """Have it end when it has given back what waits and reported what runs."""

        async def leave() -> None:
            if self.work is not None and self.exchange is not None:
                self.work.give_back()
                self.exchange.leave()

        self.process.start(leave())

    async def _main(self) -> None:
        await asyncio.sleep(self.world.draw.uniform(0.0, 0.2))
        self.work = Bodies(self)
        identity = Identity(
            self.runner_id, self.name, self.pool, "g", node_id="node", worker_id=self.runner_id
        )
        self.exchange = ExchangeLoop(
            identity,
            self.work,
            self._exchange,
            linger_seconds=0.02 if self.pool == SHARED_POOL else 0.0,
            clock=self.clock,
        )
        await self.exchange.run()
        self.left = True
        self.world.runner_ended(self)

    async def _exchange(self, exchange: Exchange) -> Orders:
        tracker = self.world.tracker_of(self.process, self.owner)
        message = wire.encode(exchange)
        answer: bytes = await self.world.network.call(
            tracker.process, lambda: tracker.exchange(message)
        )
        orders = wire.orders_of(answer)
        if orders.claims or orders.cancels or orders.stale or orders.acknowledged:
            self.world.trace(
                "orders",
                self.runner_id,
                orders.batch,
                [(claim.task_id[-3:], claim.attempt) for claim in orders.claims],
                orders.cancels,
                orders.stale,
                orders.acknowledged,
            )
        return orders


class _Body:
    """An attempt that runs, or is about to begin."""

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None
        self.begun = self.stopped = False

    def stop(self) -> None:
        """Stop it; it has an outcome all the same."""
        self.stopped = True
        if self.begun and self.task is not None:
            self.task.cancel()


class Bodies:
    """The side of a runner that runs attempts: one after the other, or several at a time."""

    def __init__(self, life: RunnerLife) -> None:
        self._life = life
        self._slots = 1 if life.pool == SHARED_POOL else 3
        self._queue: deque[Claim] = deque()
        self._running: dict[tuple[str, int], _Body] = {}
        self._long: asyncio.TimerHandle | None = None
        self._stuck = False

    @property
    def _exchange(self) -> ExchangeLoop:
        assert self._life.exchange is not None
        return self._life.exchange

    def capacity_by_type(self) -> Mapping[str, int]:
        """See `Work.capacity_by_type`."""
        types = TYPES[self._life.pool]
        if self._life.pool == SHARED_POOL and self._life.world.clients.callbacks.are_there:
            types += (CALLBACK_TYPE,)
        return dict.fromkeys(types, self.capacity())

    def capacity(self) -> int:
        """See `Work.room`."""
        if self._life.pool == REMOTE_POOL:
            return max(0, self._slots - len(self._running) - len(self._queue))
        return 0 if self._stuck else max(0, _ROOM - len(self._queue))

    def start(self, claims: Sequence[Claim]) -> None:
        """See `Work.start`."""
        self._queue.extend(claims)
        self._begin()

    def stop(self, task_id: str, attempt: int) -> None:
        """See `Work.stop`."""
        for claim in [claim for claim in self._queue if claim.task_id == task_id]:
            self._queue.remove(claim)
            self._say([self._unbegun(claim, OutcomeKind.CANCELLED)])
        body = self._running.get((task_id, attempt))
        if body is not None:
            body.stop()

    def give_back(self) -> None:
        """Give back what has not begun."""
        taken = list(self._queue)
        self._queue.clear()
        if taken:
            self._say([self._unbegun(claim, OutcomeKind.RELEASED) for claim in taken])

    def _begin(self) -> None:
        while self._queue and len(self._running) < self._slots:
            claim = self._queue.popleft()
            self._life.world.answers.begins(claim, self._life.runner_id)
            body = self._running[claim.task_id, claim.attempt] = _Body()
            body.task = asyncio.ensure_future(self._run(claim, body))
            if self._life.pool == SHARED_POOL:
                loop = asyncio.get_running_loop()
                self._long = loop.call_later(_STUCK_SECONDS, self._note_stuck)

    def _note_stuck(self) -> None:
        self._stuck = True
        self.give_back()

    async def _run(self, claim: Claim, body: "_Body") -> None:
        key = (claim.task_id, claim.attempt)
        if self._life.pool == REMOTE_POOL:
            self._exchange.begun(*key, self._life.clock())
        started_at = self._life.clock()
        script = self._life.world.script(claim)
        self._life.world.trace("begins", self._life.runner_id, *key, script.deed)
        body.begun = True
        try:
            if body.stopped:
                raise asyncio.CancelledError
            outcome = await self._play(claim, script, started_at)
        except asyncio.CancelledError:
            outcome = self._outcome(claim, OutcomeKind.CANCELLED, started_at)
        if script.stuck and outcome.kind is OutcomeKind.TIMED_OUT and self._slots == 1:
            await self._end_with(outcome)
        del self._running[key]
        if self._long is not None:
            self._long.cancel()
        was_stuck, self._stuck = self._stuck, False
        self._say([outcome])
        self._begin()
        if was_stuck:
            self._exchange.changed()

    async def _end_with(self, outcome: Outcome) -> None:
        """End the process, which is the only way to stop this attempt; it never returns."""
        world = self._life.world
        world.trace("stuck", self._life.runner_id, outcome.task_id[-3:], outcome.attempt)
        self._stuck = True
        self.give_back()
        world.account.said[outcome.task_id, outcome.attempt] = (self._life.runner_id, outcome)
        self._exchange.end_with([outcome])
        await asyncio.Event().wait()

    async def _play(self, claim: Claim, script: Script, started_at: float) -> Outcome:
        exchange, account = self._exchange, self._life.world.account
        key = (claim.task_id, claim.attempt)
        for number in range(script.lines):
            line = LogLine(number + 1, started_at, "INFO", f"line {number + 1}")
            account.lines[key] = number + 1
            exchange.log(*key, [line])
            await asyncio.sleep(script.seconds / 8)
        for number in range(script.progress):
            exchange.progress(claim.task_id, number / 2, "on the way")
        for number in range(script.checkpoints):
            data = f'"{claim.attempt}.{number}"'
            account.checkpoints[claim.task_id].append((claim.attempt, data))
            await exchange.checkpoint(*key, data)
            self._life.world.answers.checkpointed(claim.task_id, data)
        await asyncio.sleep(script.seconds)
        if script.deed is Deed.UNTIL_STOPPED:
            await asyncio.Event().wait()
        if script.deed is Deed.CRASH:
            self._life.world.crash(self._life)
            await asyncio.Event().wait()
        more = {}
        if script.deed is Deed.SUCCEED:
            more["result"] = f'"{claim.task_id}/{claim.attempt}"'
        elif script.deed is not Deed.SNOOZE:
            more["error"] = '{"type":"E","message":"m","retryable":true,"traceback":null}'
        return self._outcome(
            claim,
            _KINDS[script.deed],
            started_at,
            retryable=script.deed in (Deed.FAIL, Deed.TIME_OUT),
            delay_seconds=0.0 if script.deed is Deed.SUCCEED else script.delay,
            **more,
        )

    def _outcome(self, claim: Claim, kind: OutcomeKind, started_at: float, **more: Any) -> Outcome:
        return Outcome(claim.task_id, claim.attempt, kind, started_at, self._life.clock(), **more)

    def _unbegun(self, claim: Claim, kind: OutcomeKind) -> Outcome:
        return self._outcome(claim, kind, self._life.clock())

    def _say(self, outcomes: Sequence[Outcome]) -> None:
        account = self._life.world.account
        for item in outcomes:
            account.said[item.task_id, item.attempt] = (self._life.runner_id, item)
        self._exchange.finished(outcomes)
