"""The tracker's half of the exchange: a runner's news come in, orders go out."""

import asyncio
import math
from collections.abc import Callable

from msgspec.structs import replace

from raytasks.protocol.messages import Exchange, Orders
from raytasks.tracker.fleet import RunnerState
from raytasks.tracker.news import on_our_clock
from raytasks.tracker.ticker import Ticker

_MAX_ASKED = 1000
"""Maximum number of new runners whose required batch number is remembered."""


class Exchanges:
    """The exchanges of all runners. `mark_lost` gets the id of a dead runner, and the reason."""

    def __init__(self, ticker: Ticker, mark_lost: Callable[[str, str], None]) -> None:
        self._ticker = ticker
        self._fleet = ticker.ledger.fleet
        self._mark_lost = mark_lost
        # By the id of a runner whose call may be old: its name, and the batch number that its next
        # call must know.
        self._asked: dict[str, tuple[str, int]] = {}

    async def take(self, exchange: Exchange, way: str) -> Orders:
        """Take in a runner's news, and return its orders. See `Tracker.exchange`."""
        if (refused := self._ticker.foreign.orders_for(exchange)) is not None:
            if not refused.end:
                await asyncio.sleep(self._ticker.lease_seconds / 3)
            return refused
        answer = self._take(exchange, way)
        del exchange  # it may be large, and the answer may take long
        orders = await answer
        return replace(orders, epoch=self._ticker.epoch)

    async def _take(self, exchange: Exchange, way: str) -> Orders:
        heartbeat_seconds = self._ticker.lease_seconds / 3
        if not await self._ticker.is_loaded(heartbeat_seconds):
            return Orders(resync=True)
        exchange = on_our_clock(exchange, self._ticker.clock())
        if self._fleet.is_out(exchange.runner_id, exchange.name):
            stranger = RunnerState.of(exchange, self._ticker.monotonic())
            if self._ticker.intake.take(stranger, exchange):
                self._ticker.wake.set()
            return Orders(end=True)
        runner = self._fleet.runners.get(exchange.runner_id)
        if runner is not None and 0 < exchange.number <= runner.number:
            # It was overtaken by a later one, or arrived twice: it no longer shows the runner's
            # state.
            return Orders(resync=True)
        if exchange.held is None and (runner is None or not runner.confirmed):
            return Orders(resync=True)
        if self._is_in_doubt(exchange, runner) and not self._is_present(exchange):
            return Orders(resync=True, batch=self._asked[exchange.runner_id][1])
        if runner is not None:
            runner.answer()  # an earlier call is over, and maybe nobody hears its answer
        runner = self._admit(exchange)
        runner.way = way
        has_news = self._ticker.intake.take(runner, exchange)
        loop = asyncio.get_running_loop()
        call: asyncio.Future[Orders] = loop.create_future()
        runner.call = call
        self._ticker.asked = True
        brings_more = bool(exchange.reports or exchange.logs or self._ticker.inbox.late)
        if brings_more or self._ticker.ledger.lanes.has_open(exchange.capacity_by_type):
            self._ticker.wake.set()
        elif has_news:
            self._ticker.note_outcomes()
        if runner.has_urgent_orders and not has_news:
            runner.answer()
        heartbeat = loop.call_later(heartbeat_seconds, runner.answer)
        del exchange
        try:
            return await call
        finally:
            heartbeat.cancel()
            if runner.call is call:
                runner.call = None

    def _is_in_doubt(self, exchange: Exchange, runner: RunnerState | None) -> bool:
        """Return whether a call that says what its runner holds may be an old one.

        A call of a dead process can arrive after the calls of its successor, and must not replace
        the successor. A call to an earlier tracker can arrive here before the later calls of the
        same runner. What it says of held attempts and checkpoints is then no longer true.
        """
        if runner is None:
            return bool(self._fleet.lives_of(exchange.name))
        never_heard = not runner.name  # it is known from the database alone
        return never_heard and bool(runner.held)

    def _is_present(self, exchange: Exchange) -> bool:
        """Return whether a runner has sent its call after an answer of ours; else ask for that."""
        _, asked = self._asked.pop(exchange.runner_id, ("", math.inf))
        has_heard = exchange.batch_epoch in (0, self._ticker.epoch)  # 0: from a runner of 0.1
        if has_heard and exchange.last_batch >= asked:
            return True
        while len(self._asked) >= _MAX_ASKED:
            del self._asked[next(iter(self._asked))]
        self._asked[exchange.runner_id] = exchange.name, exchange.last_batch + 1
        return False

    def _note_successor(self, runner: RunnerState) -> None:
        """Forget what others of a new runner's name were asked: their answers prove nothing now.

        One of them may have answered, and died after that. Its answer may come only now.
        """
        self._asked = {
            runner_id: asked for runner_id, asked in self._asked.items() if asked[0] != runner.name
        }

    def _admit(self, exchange: Exchange) -> RunnerState:
        """Return the state of the runner that calls; reconcile what it holds if it says so."""
        now = self._ticker.monotonic()
        for earlier in self._fleet.lives_of(exchange.name):
            if earlier.runner_id != exchange.runner_id:
                self._mark_lost(earlier.runner_id, "its runner died and was started again")
        known = self._fleet.runners.get(exchange.runner_id)
        runner = self._fleet.admit(exchange, now, self._ticker.epoch)
        if known is None or not known.name:
            self._note_successor(runner)
            self._ticker.journal.runner_came(runner)
        if exchange.held is not None:
            have = {*exchange.held, *((item.task_id, item.attempt) for item in exchange.outcomes)}
            have |= {(claim.task_id, claim.attempt) for claim in runner.undelivered}  # sent again
            for running in list(runner.held.values()):
                if (running.task_id, running.attempt) not in have:
                    self._ticker.losses.release(running)
                elif running.cancel_requested:
                    runner.cancels.append((running.task_id, running.attempt))
            runner.stale += [
                (task_id, attempt)
                for task_id, attempt in exchange.held
                if not runner.holds(task_id, attempt)
            ]
        return runner
