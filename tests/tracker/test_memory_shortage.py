"""Attempts are told where earlier ones of their task ran out of memory, if their handler asks."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, event

from raytasks.model.handler_info import REMOTE_POOL, HandlerInfo, HandlerKind
from raytasks.model.states import OutcomeKind, State
from raytasks.protocol.messages import Claim, Demand
from raytasks.protocol.queries import WaitingFor
from raytasks.testing import FakeClock
from raytasks.tracker.core import Tracker
from tests.making import NOW, new_task, outcome, task_id
from tests.tracking import FaultyStore, ScriptedRunner, let_run, tracker_on, until


def info(*, heeds_memory: bool) -> HandlerInfo:
    return HandlerInfo("short", HandlerKind.REMOTE, (0, 0), heeds_memory=heeds_memory)


@pytest.fixture
async def tracker(store: FaultyStore, clock: FakeClock) -> AsyncIterator[Tracker]:
    async with tracker_on(store, clock=clock, max_crashes=3) as tracker:
        tracker.set_handlers([info(heeds_memory=True)])
        yield tracker


@pytest.fixture
def runner(tracker: Tracker) -> ScriptedRunner:
    return ScriptedRunner(tracker, pool=REMOTE_POOL)


@pytest.fixture
def statements() -> Iterator[list[str]]:
    """The statements that read where attempts ran out of memory."""
    found: list[str] = []

    def note(connection: object, cursor: object, statement: str, *_: object) -> None:
        if "attempts.outcome" in statement and statement.startswith("SELECT"):
            found.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    yield found
    event.remove(Engine, "before_cursor_execute", note)


async def end(
    runner: ScriptedRunner,
    claim: Claim,
    kind: OutcomeKind = OutcomeKind.OUT_OF_MEMORY,
    node_id: str | None = "n1",
) -> Claim:
    """End an attempt, and return the next one."""
    # A lost attempt has no id of Ray's task, so its place is stored apart.
    place: dict[str, Any] = {}
    if node_id is not None:
        place = {"node_id": node_id, "worker_id": "w1", "pid": 1}
    [again] = await runner.claim([outcome(claim, kind, **place)])
    return again


async def test_it_is_told_each_node(tracker: Tracker, runner: ScriptedRunner) -> None:
    await tracker.submit([new_task(1)])
    [claim] = await runner.claim()
    assert claim.short_on == ()
    claim = await end(runner, claim)
    assert claim.short_on == ("n1",)
    claim = await end(runner, claim, OutcomeKind.LOST)
    assert claim.short_on == ("n1",)
    claim = await end(runner, claim, node_id=None)
    assert (claim.attempt, claim.short_on) == (4, ("n1", ""))


async def test_a_tracker_that_starts_again_knows_it(
    store: FaultyStore, clock: FakeClock, tracker: Tracker, runner: ScriptedRunner
) -> None:
    await tracker.submit([new_task(1)])
    [claim] = await runner.claim()
    await runner.exchange([outcome(claim, OutcomeKind.OUT_OF_MEMORY, node_id="n1")], capacity=0)
    await until(tracker, 1, State.RETRYING)
    async with tracker_on(store, clock=clock) as successor:
        successor.set_handlers([info(heeds_memory=True)])
        [claim] = await ScriptedRunner(successor, "r2", pool=REMOTE_POOL).claim()
    assert (claim.attempt, claim.short_on) == (2, ("n1",))


async def test_nothing_is_read_for_others(
    tracker: Tracker, runner: ScriptedRunner, statements: list[str]
) -> None:
    await tracker.submit([new_task(1), new_task(2)])
    first, second = await runner.claim()
    await runner.claim([outcome(first, OutcomeKind.FAILED, retryable=True)])
    assert statements == []  # it has not crashed
    tracker.set_handlers([info(heeds_memory=False)])
    claim = await end(runner, second)
    assert (claim.short_on, statements) == ((), [])
    tracker.set_handlers([info(heeds_memory=True)])
    claim = await end(runner, claim)
    assert (claim.short_on, len(statements)) == (("n1", "n1"), 1)


async def test_what_waits_for_more_memory_is_told_so(
    tracker: Tracker, runner: ScriptedRunner
) -> None:
    await tracker.submit([new_task(1), new_task(2)])
    await runner.claim()
    more = Demand("short", {"memory": 9.0}, 1, 5.0, "never_fits", tasks=[task_id(2)])
    plain = Demand("short", {"memory": 4.0}, 1, 2.0, "no_resources")
    runner.send(demands=[more, plain])
    await let_run()
    codes = []
    for number in (1, 2):
        found = await tracker.read(WaitingFor(task_id(number), "short", NOW))
        assert found is not None
        codes += [reason["code"] for reason in found]
    assert codes == ["no_resources", "never_fits"]
    await runner.hang_up()
