"""A new version changes the keyed limits of a type: waiting tasks move to their new lanes."""

from msgspec.structs import replace

from raytasks.model.controls import Limit
from raytasks.model.handler_info import HandlerInfo, HandlerKind
from raytasks.model.lane_names import lane_of
from raytasks.testing import FakeClock
from raytasks.tracker.core import Tracker
from tests.making import new_task, task_id
from tests.tracking import FaultyStore, ScriptedRunner, let_run, tracker_on


def version(*limits: Limit) -> list[HandlerInfo]:
    """Return handlers of one type with these limits."""
    return [HandlerInfo("short", HandlerKind.FUNCTION, (0, 1), limits=limits)]


async def settled(tracker: Tracker) -> None:
    """Wait until no moves are left."""
    while tracker.ticker.ledger.claims.moves.any:
        await let_run()


async def test_waiting_tasks_get_the_keys_of_a_new_version(tracker: Tracker) -> None:
    tracker.set_handlers(version())
    tasks = [new_task(number, payload=f'{{"who":{number % 2}}}') for number in range(6)]
    await tracker.submit(tasks)
    tracker.set_handlers(version(Limit("who", running=1, by="/who")))
    await settled(tracker)
    rows = {row.lane: row.waiting for row in tracker.ticker.ledger.lanes.rows()}
    assert rows == {lane_of("default", f'{{"who":{key}}}'): 3 for key in (0, 1)}
    runner = ScriptedRunner(tracker, short=6)
    tracker.fleet.averages.add("short", 0.001)
    assert sorted(claim.task_id for claim in await runner.claim()) == [task_id(0), task_id(1)]
    await runner.hang_up()


async def test_what_has_no_usable_value_has_null(tracker: Tracker) -> None:
    tracker.set_handlers(version())
    await tracker.submit([new_task(1, payload='{"who":[1]}'), new_task(2, payload='{"who":"a"}')])
    tracker.set_handlers(version(Limit("who", running=1, by="/who")))
    await settled(tracker)
    lanes = {row.lane for row in tracker.ticker.ledger.lanes.rows()}
    assert lanes == {lane_of("default", f'{{"who":{value}}}') for value in ("null", '"a"')}


async def test_a_version_without_keys_puts_all_into_one_lane(tracker: Tracker) -> None:
    limit = Limit("who", running=1, by="/who")
    tracker.set_handlers(version(limit))
    values = '{"who":"a"}'
    await tracker.submit([new_task(1, limit_values=values, lane=lane_of("default", values))])
    tracker.set_handlers(version())
    await settled(tracker)
    assert [row.lane for row in tracker.ticker.ledger.lanes.rows()] == [""]


async def test_what_was_given_stays_unless_the_place_has_changed(tracker: Tracker) -> None:
    tracker.set_handlers(version(Limit("who", running=1, by="/who")))
    given = '{"who":"given"}'
    task = new_task(1, payload='{"who":"a","to":"b"}', limit_values=given)
    await tracker.submit([replace(task, lane=lane_of("default", given))])
    both = [Limit("who", running=1, by="/who"), Limit("to", running=1, by="/to")]
    tracker.set_handlers(version(*both))
    await settled(tracker)
    [row] = tracker.ticker.ledger.lanes.rows()
    assert row.limit_values == '{"to":"b","who":"given"}'
    tracker.set_handlers(version(Limit("who", running=1, by="/to")))
    await settled(tracker)
    [row] = tracker.ticker.ledger.lanes.rows()
    assert row.limit_values == '{"who":"b"}'


async def test_a_later_tracker_goes_on(sqlite_url: str, clock: FakeClock) -> None:
    async with tracker_on(FaultyStore(sqlite_url), clock=clock) as tracker:
        await tracker.submit([new_task(1, payload='{"who":"a"}')])
    async with tracker_on(FaultyStore(sqlite_url), clock=clock) as tracker:
        tracker.set_handlers(version(Limit("who", running=1, by="/who")))
        await settled(tracker)
        [row] = tracker.ticker.ledger.lanes.rows()
        assert row.limit_values == '{"who":"a"}'


async def test_what_comes_due_later_is_moved_too(tracker: Tracker, clock: FakeClock) -> None:
    tracker.set_handlers(version())
    await tracker.submit([new_task(1, payload='{"who":"a"}')])
    [claim] = await ScriptedRunner(tracker, short=1).claim()
    tracker.set_handlers(version(Limit("who", running=1, by="/who")))
    await settled(tracker)
    tracker.mark_lost("r1", "died")
    while not list(tracker.ticker.ledger.lanes.rows()):
        await let_run()
    await settled(tracker)
    [row] = tracker.ticker.ledger.lanes.rows()
    assert (row.limit_values, claim.attempt) == ('{"who":"a"}', 1)
