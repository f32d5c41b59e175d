"""Suspects: tasks that may have killed their runner, and do not run beside others."""

from collections.abc import Sequence

import pytest

from raytasks.model.controls import Limit
from raytasks.protocol.queries import WaitingFor
from raytasks.runner.sizing import TypeWork
from raytasks.store.candidates import Candidate
from raytasks.testing import FakeClock
from raytasks.tracker.core import Tracker
from raytasks.tracker.sharing import CapacityRequest, share_out
from tests.making import NOW, new_task, task_id
from tests.tracker.claim_world import info
from tests.tracking import ScriptedRunner, let_run


async def why(tracker: Tracker, number: int, task_type: str = "short") -> str:
    """Return the message that says why a task waits; empty if there is none."""
    found = await tracker.read(WaitingFor(task_id(number), task_type, NOW))
    return "; ".join(reason["message"] for reason in found or ())


async def with_a_suspect(tracker: Tracker, *, slots: bool) -> ScriptedRunner:
    """Have two tasks lose their runner, while another one holds a long attempt; return that."""
    for name in ("short", "long"):
        tracker.fleet.averages.add(name, 0.001)
    dying = ScriptedRunner(tracker, "dying", short=2)
    await tracker.submit([new_task(1), new_task(2)])
    assert len(await dying.claim(slots=slots)) == 2
    dying.send(slots=slots)
    await let_run()
    other = ScriptedRunner(tracker, "other", short=100, long=100)
    await tracker.submit([new_task(3, task_type="long")])
    await other.claim(slots=slots)
    other.capacity = 99
    other.send(slots=slots)
    tracker.mark_lost("dying", "its process died")
    await until_refused(tracker)
    return other


async def until_refused(tracker: Tracker) -> None:
    """Wait until a tick has offered the suspects, and nobody has taken them."""
    while not (work := (await tracker.demand(["short"])).get("short")) or not work.apart:
        await let_run()


@pytest.mark.parametrize("slots", [True, False], ids=["concurrent", "serial"])
async def test_a_suspect_says_that_it_waits_for_an_empty_runner(
    tracker: Tracker, slots: bool
) -> None:
    other = await with_a_suspect(tracker, slots=slots)
    await tracker.submit([new_task(4)])
    assert "does not run beside others" in await why(tracker, 1)
    assert "come before it" in await why(tracker, 4)
    await other.hang_up()


async def test_the_pool_hears_of_it_until_an_empty_runner_has_come(tracker: Tracker) -> None:
    """Each was with one other, so now it is alone."""
    other = await with_a_suspect(tracker, slots=True)
    work = (await tracker.demand(["short"]))["short"]
    assert (work.open, work.apart) == (2, 2.0)
    for name in ("third", "fourth"):
        [claim] = await ScriptedRunner(tracker, name, short=100).claim(slots=True)
        assert claim.task_type == "short"
    assert await tracker.demand(["short"]) == {"short": TypeWork(0, 0.001)}
    await tracker.submit([new_task(4)])
    await other.hang_up()
    [claim] = await other.claim(slots=True)
    assert claim.task_id == task_id(4)


async def test_a_rated_type_behind_a_serial_runner_says_why_it_waits(
    tracker: Tracker, clock: FakeClock
) -> None:
    """It is given to an empty runner only: a token is spent when an attempt begins."""
    tracker.set_handlers([info("short"), info("mail", Limit("mail", rate=100.0, burst=10))])
    clock.advance(10)
    for name in ("short", "mail"):
        tracker.fleet.averages.add(name, 0.001)
    runner = ScriptedRunner(tracker, short=100, mail=100)
    await tracker.submit([new_task(1)])
    await runner.claim()
    await tracker.submit([new_task(2, task_type="mail")])
    runner.send()
    await let_run()
    assert "all runners of the pool shared are busy" in await why(tracker, 2, "mail")
    await runner.hang_up()


async def test_who_asks_why_a_task_waits_leaves_nothing_behind(tracker: Tracker) -> None:
    tracker.set_handlers([info("short", Limit("who", running=1, by="/who"))])
    limit = tracker.ticker.ledger.claims.limits.by_name["who"]
    for number in range(20):
        values = f'{{"who":"{number}"}}'
        await tracker.read(WaitingFor(task_id(number), "short", NOW, "default", values))
    assert not limit.gates


def row(number: int, company: int | None) -> Candidate:
    """Return a due task that is read for a claim."""
    more: dict[str, object] = dict.fromkeys(Candidate.__struct_fields__)
    more |= {"task_id": task_id(number), "task_type": "t", "payload_size": 2, "company": company}
    return Candidate(**more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("companies", "apart", "free"),
    [([1], 1.0, 2), ([1, 1], 2.0, 1), ([4, 4, 4, 4], 1.0, 2), ([2, 2, 2], 1.5, 1), ([], 0.0, 3)],
)
def test_no_more_runners_are_kept_free_than_suspects_need(
    companies: Sequence[int], apart: float, free: int
) -> None:
    rows = [row(number, company) for number, company in enumerate(companies)]
    rows += [row(100 + number, None) for number in range(3)]
    requests = [
        CapacityRequest(name, {"t": 1}, 1, float("inf"), empty=False) for name in ("a", "b", "c")
    ]
    found = share_out(rows, requests, {})
    assert found.apart.get("t", 0.0) == pytest.approx(apart)
    assert len(found.chosen) == free


def test_open_work_needs_no_more_empty_runners_than_it_has_tasks() -> None:
    assert TypeWork(2, None, 5.0).empty_runners == 2
