"""An exchange that cannot be sent or understood: its bad part fails, and holds up nothing else."""

import asyncio
import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest

from raytasks.model.retry import MAX_SECONDS
from raytasks.model.states import OutcomeKind
from raytasks.model.task_events import LogLine
from raytasks.model.tasks import NotUnderstood
from raytasks.protocol import codec as wire
from raytasks.protocol.messages import Claim, Exchange, Orders, Outcome
from raytasks.runner import exchange_loop as exchange
from raytasks.runner.exchange_loop import ExchangeLoop, RunnerBroken
from raytasks.runner.identity import Identity

PATIENCE = 20
COUNT = 20


class Tracker:
    """Gives attempts once, and keeps what it understands. `dislikes` refuses what looks fine."""

    def __init__(self, dislikes: str | None = None) -> None:
        self.dislikes = dislikes
        self.ended: dict[str, Outcome] = {}
        self.lines: list[str] = []
        self.calls = 0
        self.given = False
        self.all_ended = asyncio.Event()
        self.logged = asyncio.Event()

    async def call(self, sent: Exchange) -> Orders:
        self.calls += 1
        got = wire.exchange_of(wire.encode(sent))
        if any(item.result == self.dislikes is not None for item in got.outcomes):
            raise NotUnderstood("an outcome of a later version")
        for outcome in got.outcomes:
            self.ended[outcome.task_id] = outcome
        self.lines += [line.message for log in got.logs for line in log.lines]
        if self.lines:
            self.logged.set()
        if len(self.ended) == COUNT:
            self.all_ended.set()
        claims = [] if self.given else [claim(number) for number in range(COUNT)]
        self.given = True
        if not claims and not got.outcomes and not got.reports and not got.logs:
            await asyncio.sleep(0.05)
        return Orders(
            batch=1,
            claims=claims,
            acknowledged=[(item.task_id, item.attempt) for item in got.outcomes],
            acknowledged_reports=[report.number for report in got.reports],
            acknowledged_logs=[log.number for log in got.logs],
        )


def claim(number: int) -> Claim:
    return Claim(f"t{number}", "a", 1, "{}", 0, 3, None, None)


class Work:
    def __init__(self) -> None:
        self.started = asyncio.Event()

    def capacity_by_type(self) -> Mapping[str, int]:
        return {"a": 10}

    def capacity(self) -> int:
        return 10

    def start(self, claims: Sequence[Claim]) -> None:
        if claims:
            self.started.set()

    def stop(self, task_id: str, attempt: int) -> None:
        pass


async def told(bad: dict[str, Any], dislikes: str | None = None) -> Tracker:
    """Let attempts end, the sixth with these odd values, and return what the tracker has heard."""
    tracker, work = Tracker(dislikes), Work()
    loop = ExchangeLoop(Identity("life", "name", "shared", "g"), work, tracker.call)
    running = asyncio.ensure_future(loop.run())
    try:
        async with asyncio.timeout(PATIENCE):
            await work.started.wait()
            values: dict[str, Any] = {"started_at": 1.0, "finished_at": 2.0, "result": '"fine"'}
            loop.finished(
                [
                    Outcome(
                        f"t{number}",
                        1,
                        OutcomeKind.SUCCEEDED,
                        **(values | bad if number == 5 else values),
                    )
                    for number in range(COUNT)
                ]
            )
            await tracker.all_ended.wait()
    finally:
        running.cancel()
        await asyncio.wait([running])
    return tracker


class Odd:
    pass


@pytest.mark.parametrize(
    "bad",
    [
        {"delay_seconds": "30"},
        {"delay_seconds": None},
        {"delay_seconds": math.nan},
        {"delay_seconds": math.inf},
        {"delay_seconds": -1.0},
        {"delay_seconds": 2 * MAX_SECONDS},
        {"finished_at": math.nan},
        {"started_at": "now"},
        {"result": "\ud800"},
        {"result": 17},
        {"result": b"bytes"},
        {"error": Odd()},
        {"ray_attempt": 2**70},
        {"retryable": 3},
        {"worker_id": ["x"]},
    ],
)
async def test_a_bad_outcome_is_told_as_a_failure_and_the_others_as_they_are(
    bad: dict[str, Any],
) -> None:
    tracker = await told(bad)
    assert tracker.ended["t5"].kind is OutcomeKind.FAILED
    assert not tracker.ended["t5"].retryable
    assert "cannot be told to the tracker" in str(tracker.ended["t5"].error)
    assert {tracker.ended[f"t{number}"].result for number in range(COUNT) if number != 5} == {
        '"fine"'
    }
    assert tracker.calls < 10


async def test_what_only_the_tracker_finds_bad_is_found_by_halves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exchange, "_RETRY_SECONDS", 0.0)
    tracker = await told({"result": '"odd"'}, dislikes='"odd"')
    assert tracker.ended["t5"].kind is OutcomeKind.FAILED
    assert "of a later version" in str(tracker.ended["t5"].error)
    assert sum(outcome.kind is OutcomeKind.SUCCEEDED for outcome in tracker.ended.values()) == 19


async def test_a_lost_connection_changes_no_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "_RETRY_SECONDS", 0.0)
    tracker, work = Tracker(), Work()
    left = 30

    async def flaky(sent: Exchange) -> Orders:
        nonlocal left
        if sent.outcomes and left:
            left -= 1
            raise [ValueError("Failed to look up actor"), ConnectionError()][left % 2]
        return await tracker.call(sent)

    loop = ExchangeLoop(Identity("life", "name", "shared", "g"), work, flaky)
    running = asyncio.ensure_future(loop.run())
    async with asyncio.timeout(PATIENCE):
        await work.started.wait()
        loop.finished([Outcome(f"t{n}", 1, OutcomeKind.SUCCEEDED, 1.0, 2.0) for n in range(COUNT)])
        await tracker.all_ended.wait()
    running.cancel()
    await asyncio.wait([running])
    assert {outcome.kind for outcome in tracker.ended.values()} == {OutcomeKind.SUCCEEDED}


async def test_bad_progress_checkpoints_and_lines_hold_up_nothing() -> None:
    tracker, work = Tracker(), Work()
    loop = ExchangeLoop(Identity("life", "name", "shared", "g"), work, tracker.call)
    running = asyncio.ensure_future(loop.run())
    async with asyncio.timeout(PATIENCE):
        await work.started.wait()
        loop.progress("t1", "half", "\ud800")  # type: ignore[arg-type]
        loop.log("t1", 1, [LogLine(1, 1.0, "INFO", "bad \ud800"), LogLine(2, 1.0, "INFO", "good")])
        with pytest.raises(ValueError, match="the checkpoint cannot be kept"):
            await loop.checkpoint("t1", 1, "\ud800")
        await loop.checkpoint("t1", 1, "{}")
        await tracker.logged.wait()
    running.cancel()
    await asyncio.wait([running])
    assert tracker.lines == ["(a lost line)", "good"]


async def test_a_beginning_that_cannot_be_told_holds_up_nothing() -> None:
    tracker, work = Tracker(), Work()
    loop = ExchangeLoop(Identity("life", "name", "shared", "g"), work, tracker.call)
    running = asyncio.ensure_future(loop.run())
    async with asyncio.timeout(PATIENCE):
        await work.started.wait()
        loop.begun("t1", 1, "soon")  # type: ignore[arg-type]
        await loop.checkpoint("t1", 1, "{}")
    running.cancel()
    await asyncio.wait([running])


async def test_reports_and_lines_that_only_the_tracker_finds_bad_are_given_up() -> None:
    tracker, work = Tracker(), Work()
    refused_lines = asyncio.Event()

    async def picky(sent: Exchange) -> Orders:
        if sent.logs or any(report.checkpoint == '"odd"' for report in sent.reports):
            if sent.logs:
                refused_lines.set()
            raise NotUnderstood("an exchange of a later version")
        return await tracker.call(sent)

    loop = ExchangeLoop(Identity("life", "name", "shared", "g"), work, picky)
    running = asyncio.ensure_future(loop.run())
    async with asyncio.timeout(PATIENCE):
        await work.started.wait()
        loop.begun("t1", 1, 1.0)
        with pytest.raises(ValueError, match="the tracker refuses it: an exchange of a later"):
            await loop.checkpoint("t1", 1, '"odd"')
        loop.log("t1", 1, [LogLine(1, 1.0, "INFO", "odd")])
        await refused_lines.wait()
        await loop.checkpoint("t1", 1, '"fine"')
        loop.finished([Outcome(f"t{n}", 1, OutcomeKind.SUCCEEDED, 1.0, 2.0) for n in range(COUNT)])
        await tracker.all_ended.wait()
    running.cancel()
    await asyncio.wait([running])
    assert tracker.lines == []
    assert {outcome.kind for outcome in tracker.ended.values()} == {OutcomeKind.SUCCEEDED}


def test_a_message_that_is_none_says_so() -> None:
    with pytest.raises(NotUnderstood):
        wire.exchange_of(b"\xc1")
    with pytest.raises(NotUnderstood):
        wire.exchange_of(msgspec.msgpack.encode({"runner_id": 17}))


async def test_an_exchange_proves_that_the_runner_works() -> None:
    alive = True
    tracker, work = Tracker(), Work()
    loop = ExchangeLoop(
        Identity("life", "name", "shared", "g"), work, tracker.call, is_alive=lambda: alive
    )
    running = asyncio.ensure_future(loop.run())
    async with asyncio.timeout(PATIENCE):
        await work.started.wait()
        alive = False
        with pytest.raises(RunnerBroken):
            await running
