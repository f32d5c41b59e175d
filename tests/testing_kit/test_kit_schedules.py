"""Schedules in a test's queue: they fire by the clock of the test."""

from datetime import UTC, datetime

from raytasks import Schedule, handler
from raytasks.client import Client
from raytasks.testing import Queue, run_handler
from tests.schedule_handlers import report


@handler("tick", schedules=[Schedule("noon", "0 12 * * *", timezone="UTC", payload=1)])
def noon(payload: int) -> int:
    """Return the payload."""
    return payload


def test_they_fire_at_their_times() -> None:
    with Queue([noon]) as queue:
        assert queue.run_due() == []
        runs = queue.run_for(3 * 86_400)
        assert len(runs) == 3
        times = [queue.get(run.task_id)["scheduled_for"] for run in runs]
        assert times == [f"2026-01-0{day}T12:00:00Z" for day in (1, 2, 3)]
        assert [datetime.fromtimestamp(run.started_at, UTC).hour for run in runs] == [12, 12, 12]
        assert queue.runs == runs


def test_the_clock_does_not_move_for_them_alone() -> None:
    with Queue([noon]) as queue:
        assert queue.run_until_idle() == []
        begin = queue.clock()
        task = queue.submit(noon, 2, delay_seconds=86_400)
        runs = queue.run_until_idle()
        assert [run.result for run in runs] == [1, 2]
        assert queue.clock() == begin + 86_400
        assert task.state == "COMPLETED"


def test_the_handler_sees_the_time_that_it_is_for() -> None:
    with Queue([report]) as queue, Client(queue.url, transport=queue.transport) as client:
        [run] = queue.run_for(600)
        assert run.result == {"account": 8, "at": "2026-01-01T00:10:00+00:00"}
        client.set_schedule("late", task_type=report, cron="5 1 * * *", payload={"account": 1})
        client.pause_schedule("often")
        runs = queue.run_for(86_400)
        at = ["2026-01-01T01:05:00+00:00", "2026-01-01T01:30:00+00:00"]
        assert [run.result["at"] for run in runs] == at
        task = client.run_schedule("often")
        [run] = queue.run_due()
        assert run.task_id == task["task_id"]


def test_one_attempt_gets_the_time_that_a_test_gives() -> None:
    at = datetime(2026, 3, 1, 2, 30, tzinfo=UTC)
    run = run_handler(report, {"account": 1}, scheduled_for=at)
    assert run.result == {"account": 1, "at": "2026-03-01T02:30:00+00:00"}
    assert run_handler(report, {"account": 1}).result == {"account": 1, "at": None}
