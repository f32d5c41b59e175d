"""Exchanges that come after a later one, or twice; and a tracker whose epoch has ended."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from raytasks.model.handler_info import REMOTE_POOL
from raytasks.model.states import State
from raytasks.model.task_events import EventQuery, LogEntry, LogLine
from raytasks.model.tasks import StoreUnavailable
from raytasks.protocol.messages import AttemptLog, Report
from raytasks.protocol.queries import TaskEvents
from raytasks.store.store import Store
from raytasks.store.transaction import Superseded
from raytasks.testing import FakeClock
from raytasks.tracker.core import Tracker
from tests.making import NOW, new_task, outcome
from tests.tracking import (
    PATIENCE,
    FaultyStore,
    ScriptedRunner,
    let_run,
    tracker_on,
    until,
    until_away,
)


async def test_an_exchange_that_was_overtaken_releases_nothing(tracker: Tracker) -> None:
    runner = ScriptedRunner(tracker)
    overtaken = runner.build(number=1)  # built while it holds nothing
    call = runner.send(number=2)
    await let_run()
    await tracker.submit([new_task(1)])
    await call
    assert runner.held
    runner.send(number=3)
    await let_run()
    orders = await tracker.exchange(overtaken)
    assert orders.resync
    await tracker.ticker.wait_for_tick()
    [state] = tracker.runners()
    assert state.held
    await runner.hang_up()


async def test_an_old_checkpoint_does_not_come_back(tracker: Tracker) -> None:
    await tracker.submit([new_task(1)])
    runner = ScriptedRunner(tracker)
    [claim] = await runner.claim(number=1)
    first, second = (
        [Report(claim.task_id, 1, number, checkpoint=str(number))] for number in (1, 2)
    )
    old = runner.build(reports=first, number=2)
    await runner.exchange(number=3, reports=second)
    assert (await tracker.exchange(old)).resync
    tracker.mark_lost("r1", "died")
    [again] = await ScriptedRunner(tracker, "r2").claim()
    assert again.checkpoint == "2"


async def test_an_old_call_to_an_earlier_tracker_says_nothing_to_the_next(
    tracker: Tracker, sqlite_url: str, clock: FakeClock
) -> None:
    await tracker.submit([new_task(1), new_task(2)])
    runner = ScriptedRunner(tracker, pool=REMOTE_POOL, capacity=1)
    first, second = (
        [Report(new_task(1).task_id, 1, number, checkpoint=str(number))] for number in (1, 2)
    )
    await runner.claim(number=1)
    # Both say all that the runner holds, as calls after a failure do. The first one is late.
    old = runner.build(reports=first, number=2, held=(*runner.held.items(),))
    await runner.exchange(number=3, reports=second)
    assert len(runner.held) == 2
    await runner.hang_up()
    async with tracker_on(FaultyStore(sqlite_url), clock=clock) as successor:
        assert (await successor.exchange(old)).resync
        await successor.ticker.wait_for_tick()
        runner.tracker, runner.known = successor, False
        assert (await runner.exchange(number=5)).resync
        runner.send(number=6)
        await let_run()
        await successor.ticker.wait_for_tick()
        assert {*successor.fleet.running} == {*runner.held}  # nothing was given back
        successor.mark_lost("r1", "died")
        again = await ScriptedRunner(successor, "r2").claim()
        assert {claim.task_id: claim.checkpoint for claim in again}[new_task(1).task_id] == "2"
        await runner.hang_up()


async def test_a_late_answer_of_a_dead_runner_does_not_replace_its_successor(
    tracker: Tracker, sqlite_url: str, clock: FakeClock
) -> None:
    await tracker.submit([new_task(1), new_task(2)])
    dead = ScriptedRunner(tracker, "r1.1", name="r1", capacity=1)
    await dead.claim(number=1)
    async with tracker_on(FaultyStore(sqlite_url), clock=clock) as successor:
        dead.tracker, dead.known = successor, False
        assert (await dead.exchange(number=2)).resync  # nobody knows whether this call is old
        late = dead.build(number=3)  # it proves that the runner lives; then the runner dies
        present = ScriptedRunner(successor, "r1.2", name="r1")
        [claim] = await present.claim(number=1)
        async with asyncio.timeout(PATIENCE):
            assert (await successor.exchange(late)).resync
        assert successor.fleet.find("r1.2", claim.task_id, claim.attempt) is not None
        present.send(number=2)
        await let_run()
        assert successor.fleet.runners.keys() >= {"r1.2"}


async def test_the_later_of_two_checkpoints_stays_however_they_come(tracker: Tracker) -> None:
    await tracker.submit([new_task(1)])
    runner = ScriptedRunner(tracker)
    [claim] = await runner.claim(number=1)
    reports = [Report(claim.task_id, 1, number, checkpoint=str(number)) for number in (2, 1)]
    await runner.exchange(number=2, reports=reports)
    tracker.mark_lost("r1", "died")
    [again] = await ScriptedRunner(tracker, "r2").claim()
    assert again.checkpoint == "2"


async def test_one_that_comes_twice_does_not_take_the_answer_of_the_first(
    tracker: Tracker,
) -> None:
    runner = ScriptedRunner(tracker)
    message = runner.build(number=1)
    call = asyncio.ensure_future(tracker.exchange(message))
    await let_run()
    assert (await tracker.exchange(message)).resync
    await tracker.submit([new_task(1)])
    assert (await call).claims


async def test_runners_that_do_not_number_their_exchanges_are_heard(tracker: Tracker) -> None:
    runner = ScriptedRunner(tracker)
    first = runner.send()
    await let_run()
    second = runner.send()
    await first
    await tracker.submit([new_task(1)])
    await until(tracker, 1, State.RUNNING)
    assert (await second).claims


async def test_a_pause_in_an_epoch_that_has_ended_is_refused(
    sqlite_url: str, faulty_store: FaultyStore
) -> None:
    other = Store(sqlite_url)
    try:
        with suppress(Superseded):  # it ends by itself, sooner or later
            async with tracker_on(faulty_store) as tracker:
                other.begin_epoch(0.0, "other")
                with pytest.raises(StoreUnavailable):
                    await tracker.pause()
    finally:
        other.close()


async def test_the_last_call_of_a_runner_that_was_replaced_takes_no_lines_away(
    tracker: Tracker, store: FaultyStore
) -> None:
    await tracker.submit([new_task(1)])
    first = ScriptedRunner(tracker, "r1.1", name="r1")
    [claim] = await first.claim()
    lines = log_lines(1, 2)
    said: dict[str, Any] = {
        "outcomes": [outcome(claim)],
        "logs": [AttemptLog(claim.task_id, 1, 1, lines)],
    }
    store.away = True
    first.send(**said)
    await until_away(tracker)
    assert tracker.ticker.inbox.count  # it waits for the end of the outage
    second = ScriptedRunner(tracker, "r1.2", name="r1")
    await second.take_over()
    last = await tracker.exchange(first.build(held=(), **said))  # what it has not heard of
    assert last.end
    store.away = False
    await until(tracker, 1, State.COMPLETED)
    assert await messages_of(tracker, claim.task_id) == ["line 1", "line 2"]
    await second.hang_up()


async def test_a_runner_that_says_all_again_in_parts_loses_no_line(
    tracker: Tracker, store: FaultyStore
) -> None:
    await tracker.submit([new_task(1)])
    runner = ScriptedRunner(tracker)
    [claim] = await runner.claim()
    lines = log_lines(1, 2)
    store.away = True
    runner.send([outcome(claim)], logs=[AttemptLog(claim.task_id, 1, 1, lines)])
    await until_away(tracker)
    # Its lines do not fit into this exchange, so that its outcome waits, too.
    runner.send(held=[(claim.task_id, claim.attempt)])
    await let_run()
    store.away = False
    await until(tracker, 1, State.COMPLETED)
    assert await messages_of(tracker, claim.task_id) == ["line 1", "line 2"]
    await runner.hang_up()


async def test_lines_that_are_said_again_and_again_are_kept_once(
    tracker: Tracker, store: FaultyStore
) -> None:
    await tracker.submit([new_task(1)])
    runner = ScriptedRunner(tracker)
    [claim] = await runner.claim()
    lines = log_lines(1, 2, 3)
    store.away = True
    sizes = set()
    for number in range(1, 9):
        said = lines[: 2 + number % 2]
        log = AttemptLog(claim.task_id, 1, number, said)
        runner.send([outcome(claim)], held=[], logs=[log])
        await let_run()
        sizes.add(tracker.ticker.inbox.bytes)
    assert max(sizes) < 2 * min(size for size in sizes if size)
    store.away = False
    await until(tracker, 1, State.COMPLETED)
    assert await messages_of(tracker, claim.task_id) == ["line 1", "line 2", "line 3"]
    await runner.hang_up()


def log_lines(*numbers: int) -> list[LogLine]:
    return [LogLine(number, NOW, "INFO", f"line {number}") for number in numbers]


async def messages_of(tracker: Tracker, name: str) -> list[str]:
    [page] = await tracker.read(TaskEvents([EventQuery(name)]))
    assert page is not None
    return [event.message for event in page.events if isinstance(event, LogEntry)]
