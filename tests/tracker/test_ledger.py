"""Memory and database of the tracker differ: it says so, and the database counts."""

import pytest

from raytasks.model.states import State
from raytasks.tracker.core import Tracker
from tests.making import new_task, task_id
from tests.tracking import ScriptedRunner, let_run


@pytest.mark.parametrize("state", [State.RUNNING, State.COMPLETED])
async def test_a_wrong_count_is_a_fault_with_a_name_and_is_read_again(
    tracker: Tracker, caplog: pytest.LogCaptureFixture, state: State
) -> None:
    await tracker.submit([new_task(1)])
    runner = ScriptedRunner(tracker)
    [claim] = await runner.claim()
    ledger = tracker.ticker.ledger
    ledger.counts["short", state] -= 1
    await tracker.submit([new_task(2, task_type="other")])
    await tracker.ticker.wait_for_tick()
    await let_run()
    assert "memory and database differ after a tick" in caplog.text
    assert ledger.counts["short", State.RUNNING] == 1
    assert ledger.counts["short", State.COMPLETED] == 0
    runner.end(claim)
    await runner.until_acknowledged(task_id(1), 1)


async def test_an_attempt_that_memory_has_lost_comes_back(
    tracker: Tracker, caplog: pytest.LogCaptureFixture
) -> None:
    await tracker.submit([new_task(1)])
    runner = ScriptedRunner(tracker)
    [claim] = await runner.claim()
    del tracker.fleet.running[task_id(1)]
    await tracker.submit([new_task(2, task_type="other")])
    await tracker.ticker.wait_for_tick()
    await let_run()
    assert "1 attempts run on disk, 0 in memory" in caplog.text
    runner.end(claim)
    await runner.until_acknowledged(task_id(1), 1)
