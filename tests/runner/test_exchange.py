"""The runner's half of the talk with the tracker: when it calls."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from raytasks.model.states import OutcomeKind
from raytasks.protocol.messages import Claim, Exchange, Orders, Outcome
from raytasks.runner.exchange_loop import ExchangeLoop
from raytasks.runner.identity import Identity

PATIENCE = 10.0
CLAIM = Claim("t1", "a", 1, "{}", 0, 3, None, None)


class Tracker:
    """Notes the calls that come, and answers each one when the test says so."""

    def __init__(self) -> None:
        self.calls: list[tuple[Exchange, asyncio.Future[Orders]]] = []
        self.called = asyncio.Event()

    async def call(self, exchange: Exchange) -> Orders:
        answer: asyncio.Future[Orders] = asyncio.get_running_loop().create_future()
        self.calls.append((exchange, answer))
        self.called.set()
        return await answer

    async def answer(self, number: int, orders: Orders) -> None:
        """Answer a call, and let the runner do what follows at once."""
        self.calls[number][1].set_result(orders)
        for _ in range(10):
            await asyncio.sleep(0)


class Work:
    """Takes attempts, and ends none by itself."""

    def capacity_by_type(self) -> Mapping[str, int]:
        return {"a": 10}

    def capacity(self) -> int:
        return 10

    def __init__(self) -> None:
        self.started: list[Claim] = []

    def start(self, claims: Sequence[Claim]) -> None:
        self.started += claims

    def stop(self, task_id: str, attempt: int) -> None:
        pass


class Runner:
    """An exchange loop that runs, and the tracker that it talks with."""

    def __init__(self, linger_seconds: float) -> None:
        self.tracker = Tracker()
        identity = Identity("life", "name", "shared", "g")
        self.work = Work()
        self.loop = ExchangeLoop(
            identity, self.work, self.tracker.call, linger_seconds=linger_seconds
        )

    async def __aenter__(self) -> "Runner":
        self._running = asyncio.ensure_future(self.loop.run())
        async with asyncio.timeout(PATIENCE):
            await self.tracker.called.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._running.cancel()
        await asyncio.wait([self._running])

    def end(self) -> None:
        """Let the attempt end."""
        self.loop.finished([Outcome("t1", 1, OutcomeKind.SUCCEEDED, 1.0, 2.0)])


async def test_the_outcome_of_a_short_attempt_needs_no_call_beside_the_next_one() -> None:
    async with Runner(linger_seconds=PATIENCE) as runner:
        await runner.tracker.answer(0, Orders(batch=1, claims=[CLAIM]))
        assert len(runner.tracker.calls) == 1
        runner.tracker.called.clear()
        runner.end()
        async with asyncio.timeout(PATIENCE / 2):
            await runner.tracker.called.wait()
        assert [outcome.task_id for outcome in runner.tracker.calls[1][0].outcomes] == ["t1"]


async def test_it_calls_without_an_outcome_when_it_has_lingered() -> None:
    async with Runner(linger_seconds=0.02) as runner:
        runner.tracker.called.clear()
        await runner.tracker.answer(0, Orders(batch=1, claims=[CLAIM]))
        assert len(runner.tracker.calls) == 1
        async with asyncio.timeout(PATIENCE):
            await runner.tracker.called.wait()
        assert runner.tracker.calls[1][0].outcomes == ()


async def test_it_calls_at_once_where_more_is_queued() -> None:
    async with Runner(linger_seconds=PATIENCE) as runner:
        await runner.tracker.answer(0, Orders(batch=1, claims=[CLAIM], queued=True))
        assert len(runner.tracker.calls) == 2


async def test_it_calls_at_once_when_it_is_to_say_what_it_holds() -> None:
    async with Runner(linger_seconds=PATIENCE) as runner:
        await runner.tracker.answer(0, Orders(batch=1, claims=[CLAIM], resync=True))
        assert list(runner.tracker.calls[1][0].held or ()) == [("t1", 1)]


async def test_it_lingers_only_after_the_call_that_brought_attempts() -> None:
    async with Runner(linger_seconds=PATIENCE) as runner:
        await runner.tracker.answer(0, Orders(batch=1, claims=[CLAIM], resync=True))
        await runner.tracker.answer(1, Orders())
        assert len(runner.tracker.calls) == 3


async def test_it_calls_at_once_when_an_answer_brings_nothing() -> None:
    async with Runner(linger_seconds=PATIENCE) as runner:
        await runner.tracker.answer(0, Orders())
        assert len(runner.tracker.calls) == 2


async def test_a_tracker_that_was_superseded_gives_no_orders() -> None:
    async with Runner(linger_seconds=0.0) as runner:
        tracker = runner.tracker
        await tracker.answer(0, Orders(batch=1, claims=[CLAIM], epoch=2))
        number = len(tracker.calls) - 1
        tracker.called.clear()
        await tracker.answer(number, Orders(batch=1, stale=[("t1", 1)], end=True, epoch=1))
        async with asyncio.timeout(PATIENCE):
            await tracker.called.wait()
        assert runner.loop.held == 1
        again, _ = tracker.calls[-1]
        assert again.held == (("t1", 1),)  # it says everything again
        tracker.called.clear()
        await tracker.answer(len(tracker.calls) - 1, Orders(batch=1, stale=[("t1", 1)], epoch=3))
        assert runner.loop.held == 0


async def test_what_is_handed_out_twice_runs_once_and_is_a_fault_with_a_name(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Runner(linger_seconds=0) as runner:
        await runner.tracker.answer(0, Orders(batch=1, claims=[CLAIM]))
        await runner.tracker.answer(1, Orders(batch=2, claims=[CLAIM]))
        assert runner.work.started == [CLAIM]
        assert "handed out twice, a fault of raytasks" in caplog.text


async def test_a_batch_of_another_tracker_is_another_one_though_its_number_is_the_same() -> None:
    other = Claim("t2", "a", 1, "{}", 0, 1, None, None)
    async with Runner(linger_seconds=0) as runner:
        await runner.tracker.answer(0, Orders(batch=1, claims=[CLAIM], epoch=1))
        await runner.tracker.answer(1, Orders(batch=1, claims=[other], epoch=2))
        assert runner.work.started == [CLAIM, other]
        await runner.tracker.answer(2, Orders(batch=1, claims=[other], epoch=2))
        assert runner.work.started == [CLAIM, other]


async def test_one_that_has_nothing_leaves_only_when_the_tracker_knows_it() -> None:
    async with Runner(linger_seconds=0.0) as runner:
        runner.tracker.called.clear()
        runner.loop.leave()  # the tracker might give it something by the call that waits
        async with asyncio.timeout(PATIENCE):
            await runner.tracker.called.wait()
        assert runner.tracker.calls[1][0].leaving
        assert not runner._running.done()
        await runner.tracker.answer(0, Orders(batch=0))
        assert not runner._running.done()
        await runner.tracker.answer(1, Orders(batch=0))
        async with asyncio.timeout(PATIENCE):
            await runner._running
