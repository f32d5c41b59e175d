"""The open work by which pools are sized: what waits and could run, and for how long it runs."""

from raytasks.protocol.commands import PauseWork, ResumeWork
from raytasks.runner.sizing import TypeWork
from raytasks.testing import FakeClock
from tests.making import NOW, new_task
from tests.tracking import FaultyStore, tracker_on

TYPES = ["short", "long", "other"]


async def test_only_what_could_run_now_is_open(faulty_store: FaultyStore) -> None:
    clock = FakeClock(NOW)
    async with tracker_on(faulty_store, clock=clock) as tracker:
        assert await tracker.demand(TYPES) == {}
        await tracker.submit([new_task(1), new_task(2), new_task(3, run_at=NOW + 60)])
        await tracker.submit([new_task(4, task_type="long")])
        assert await tracker.demand(TYPES) == {"short": TypeWork(2), "long": TypeWork(1)}
        assert await tracker.demand(["other"]) == {}
        await tracker.execute(PauseWork(task_type="short"))
        assert await tracker.demand(TYPES) == {"long": TypeWork(1)}
        await tracker.execute(PauseWork())
        assert await tracker.demand(TYPES) == {}
        await tracker.execute(ResumeWork())
        await tracker.execute(ResumeWork(task_type="short"))
        assert (await tracker.demand(TYPES))["short"] == TypeWork(2)


async def test_the_measured_time_is_told_also_without_open_work(faulty_store: FaultyStore) -> None:
    async with tracker_on(faulty_store, clock=FakeClock(NOW)) as tracker:
        tracker.fleet.averages.add("short", 3.0)
        assert await tracker.demand(TYPES) == {"short": TypeWork(0, 3.0)}
        await tracker.submit([new_task(1)])
        assert await tracker.demand(TYPES) == {"short": TypeWork(1, 3.0)}
