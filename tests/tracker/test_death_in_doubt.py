"""A runner that dies while it is not known whether a tick was committed."""

import asyncio

from raytasks.model.states import OutcomeKind
from raytasks.protocol.queries import TaskDetail
from raytasks.tracker.core import Tracker
from tests.making import new_task, task_id
from tests.tracking import FaultyStore, ScriptedRunner, let_run, until_away


async def test_what_was_claimed_for_a_dead_runner_in_doubt_is_given_back(
    tracker: Tracker, store: FaultyStore
) -> None:
    dead = ScriptedRunner(tracker, "dead")
    dead.send()
    await let_run()
    await tracker.ticker.wait_for_tick()  # the first one, which only renews the epoch
    store.answer_is_lost = True
    submission = asyncio.ensure_future(tracker.submit([new_task(1)]))
    await until_away(tracker)
    tracker.mark_lost("dead", "died")  # before it is known what was claimed for it
    await asyncio.gather(submission, return_exceptions=True)
    [claim] = await ScriptedRunner(tracker, "alive").claim()
    assert claim.attempt == 2
    found = await tracker.read(TaskDetail(task_id(1)))
    assert found is not None
    assert [item.outcome for item in found[1]] == [OutcomeKind.RELEASED]
    await dead.hang_up()
