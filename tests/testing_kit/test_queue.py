"""The queue of the test kit: whole submissions, with retries, on a clock that stands still."""

import random
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pydantic
import pytest

from raytasks import Context, RetryPolicy, handler
from raytasks.model.errors import HandlerError, InvalidSubmission
from raytasks.model.states import State
from raytasks.model.tasks import BacklogFull, KeyConflict, StateConflict, TaskNotFound
from raytasks.testing import AttemptRun, FakeClock, NotIdle, ProcessDied, Queue
from raytasks.testing.clock import START
from tests.testing_kit import kit_handlers


def since_start(runs: list[AttemptRun]) -> list[float]:
    return [run.started_at - START for run in runs]


class TestRetries:
    def test_a_task_fails_twice_and_succeeds(self, queue: Queue) -> None:
        task = queue.submit("flaky", {"times": 2})
        assert task.state is State.PENDING
        runs = queue.run_until_idle()
        assert since_start(runs) == [0.0, 10.0, 40.0]
        assert [run.outcome for run in runs] == ["failed", "failed", "succeeded"]
        assert queue.clock() == START + 40
        assert (task.state, task.result, task.error) == ("COMPLETED", "at last", None)
        assert [item["error"]["message"] for item in task.attempts[:2]] == [
            "failure 1",
            "failure 2",
        ]

    def test_a_budget_is_used_up(self, queue: Queue) -> None:
        task = queue.submit("flaky", {"times": 2}, max_attempts=2)
        queue.run_until_idle()
        assert task.state is State.FAILED
        assert task.error is not None
        assert task.error["message"] == "failure 2"
        task.retry()
        again: State = task.state  # mypy takes it for what it was
        assert again is State.PENDING
        assert [run.attempt for run in queue.run_until_idle()] == [3, 4]

    def test_with_a_seed_there_is_jitter_and_always_the_same(self) -> None:
        source, times = random.Random(7), []
        first = 10 * (1 + 0.1 * source.uniform(-1, 1))
        second = 30 * (1 + 0.1 * source.uniform(-1, 1))
        for _ in range(2):
            with Queue([kit_handlers.flaky], seed=7) as queue:
                queue.submit("flaky", {"times": 2})
                times.append(since_start(queue.run_until_idle()))
        assert times[0] == times[1] == pytest.approx([0.0, first, first + second])
        assert first != 10

    def test_no_retry_for_a_permanent_error(self, queue: Queue) -> None:
        task = queue.submit("permanent", None)
        assert len(queue.run_until_idle()) == 1
        assert task.state is State.FAILED

    def test_a_handler_says_when_to_come_back(self, queue: Queue) -> None:
        snoozed = queue.submit("busy", {"snooze": 100}, max_attempts=1)
        later = queue.submit("busy", {"retry_after": 50})
        runs = queue.run_until_idle()
        assert since_start(runs) == [0.0, 0.0, 50.0, 100.0]
        assert [run.task_id for run in runs[2:]] == [later.task_id, snoozed.task_id]
        assert (snoozed.state, later.state) == ("COMPLETED", "COMPLETED")
        assert [item["outcome"] for item in snoozed.attempts] == ["snoozed", "succeeded"]


class TestTime:
    def test_a_delayed_task_runs_at_its_time(self, queue: Queue) -> None:
        task = queue.submit("coroutine", 1, delay_seconds=60)
        assert queue.run_due() == []
        assert queue.run_for(59.5) == []
        assert queue.clock() == START + 59.5
        assert since_start(queue.run_for(10)) == [60.0]
        assert queue.clock() == START + 69.5
        assert task.document["started_at"] == "2026-01-01T00:01:00Z"

    def test_a_moved_clock_runs_nothing_by_itself(self, queue: Queue) -> None:
        task = queue.submit("coroutine", 1, run_at="2026-01-01T01:00:00Z")
        queue.clock.advance(7200)
        assert task.state is State.PENDING
        assert since_start(queue.run_due()) == [7200.0]

    def test_nothing_to_do_takes_no_time(self, queue: Queue) -> None:
        assert queue.run_until_idle() == []
        assert queue.clock() == START

    def test_a_clock_of_the_tests_own(self) -> None:
        clock = FakeClock(datetime(2030, 5, 1, tzinfo=UTC))
        with Queue([kit_handlers.coroutine], clock=clock) as queue:
            task = queue.submit("coroutine", 1)
            assert task.document["created_at"] == "2030-05-01T00:00:00Z"
        with pytest.raises(ValueError, match="non-negative"):
            clock.sleep(-1)

    def test_a_handler_that_takes_longer_than_it_may(
        self, queue: Queue, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(time, "sleep", queue.clock.sleep)

        @handler("slow", timeout=5, retry=RetryPolicy(max_attempts=2))
        def slow(payload: Any) -> None:
            time.sleep(20)

        with Queue([slow], clock=queue.clock) as own:
            task = own.submit("slow", None)
            own.run_until_idle()
            assert [item["outcome"] for item in task.attempts] == ["timed_out", "timed_out"]
            assert task.state is State.FAILED


class TestOrder:
    def test_priorities_go_first_across_handlers(self, queue: Queue) -> None:
        for number, priority in enumerate((0, 5, -3, 5)):
            queue.submit(("coroutine", "counter")[number % 2], number, priority=priority)
        runs = queue.run_due()
        order = [queue.get(run.task_id)["payload"] for run in runs]
        assert order == [1, 3, 0, 2]
        assert queue.runs == runs

    def test_a_class_is_made_once(self, queue: Queue) -> None:
        tasks = [queue.submit("counter", None) for _ in range(3)]
        queue.run_due()
        assert [task.result for task in tasks] == [1, 2, 3]


class TestLostProcesses:
    def test_work_goes_on_at_the_checkpoint(self, queue: Queue) -> None:
        task = queue.submit("steps", 5)
        task.lose(after_checkpoints=3)
        runs = queue.run_until_idle()
        assert [run.outcome for run in runs] == ["lost", "succeeded"]
        assert runs[0].checkpoints == [1, 2, 3]
        assert task.result == {"begun_at": 3, "attempt": 2}
        assert [item["outcome"] for item in task.attempts] == ["lost", "succeeded"]
        assert task.document["crashes"] == 1

    def test_a_poison_task_fails_when_its_budget_of_crashes_is_used_up(self) -> None:
        with Queue(["tests.testing_kit.kit_handlers"], max_crashes=2) as queue:
            poison, other = queue.submit("steps", 5), queue.submit("counter", None)
            poison.lose(times=99)
            queue.run_until_idle()
            assert (poison.state, other.state) == ("FAILED", "COMPLETED")
            assert [run.checkpoints for run in queue.runs if run.outcome == "lost"] == [[]] * 3
            assert len(poison.attempts) == 3
            assert poison.error is not None
            assert poison.error["type"] == "WorkerLost"

    def test_a_new_process_loads_classes_anew(self, queue: Queue) -> None:
        first, second = queue.submit("counter", None), queue.submit("counter", None)
        second.lose()
        queue.run_due()
        assert (first.result, second.result) == (1, 1)
        workers = {item["worker_id"] for task in (first, second) for item in task.attempts}
        assert {"test-process-1", "test-process-2"} <= workers

    def test_a_mock_can_kill_the_process(self, monkeypatch: pytest.MonkeyPatch) -> None:
        deaths = [ProcessDied(), None]

        @handler("doomed")
        def doomed(payload: Any) -> str:
            if (death := deaths.pop(0)) is not None:
                raise death
            return "survived"

        with Queue([doomed]) as queue:
            task = queue.submit("doomed", None)
            queue.run_until_idle()
            assert (task.result, task.document["crashes"]) == ("survived", 1)


class TestCancel:
    def test_a_task_that_waits_never_runs(self, queue: Queue) -> None:
        task = queue.submit("coroutine", 1)
        task.cancel()
        assert queue.run_until_idle() == []
        assert task.state is State.CANCELLED
        with pytest.raises(StateConflict):
            task.cancel()

    def test_a_task_that_runs_is_told_at_once(self) -> None:
        seen: list[Any] = []

        @handler("long")
        def long(payload: Any, context: Context) -> None:
            task = queue.task(context.task_id)
            seen.append([task.state, context.cancelled])
            task.cancel()
            seen.append([context.cancelled, task.state])
            raise ConnectionError("an error after a cancel is of no interest")

        with Queue([long]) as queue:
            tasks = [queue.submit("long", None) for _ in range(20)]  # at once: each time
            runs = queue.run_until_idle()
            assert seen == [["RUNNING", False], [True, "RUNNING"]] * 20
            assert {run.outcome for run in runs} == {"cancelled"}
            assert {task.state for task in tasks} == {State.CANCELLED}

    def test_one_that_goes_on_is_interrupted(self) -> None:
        steps: list[str] = []

        @handler("deaf")
        def deaf(payload: Any, context: Context) -> None:
            queue.task(context.task_id).cancel()
            queue.clock.sleep(1)
            steps.append("still going")
            queue.clock.sleep(0.5)
            steps.append("too far")

        with Queue([deaf]) as queue:
            task = queue.submit("deaf", None)
            queue.run_due()
            assert (task.state, steps) == ("CANCELLED", ["still going"])


class TestSubmission:
    def test_it_is_checked(self, queue: Queue) -> None:
        with pytest.raises(InvalidSubmission, match="did you mean 'greet'"):
            queue.submit("gret", {"name": "Ray"})
        with pytest.raises(InvalidSubmission) as caught:
            queue.submit("greet", {"name": ""})
        assert caught.value.errors[0].pointer == "/payload/name"

    def test_a_key_makes_one_task(self, queue: Queue) -> None:
        first = queue.submit("greet", {"name": "Ray"}, idempotency_key="a")
        again = queue.submit("greet", {"name": "Ray"}, idempotency_key="a")
        assert first.task_id == again.task_id
        with pytest.raises(KeyConflict):
            queue.submit("greet", {"name": "Sam"}, idempotency_key="a")
        assert len(queue.run_until_idle()) == 1

    def test_limits_are_settings(self) -> None:
        with Queue([kit_handlers.coroutine], max_backlog=1) as queue:
            queue.submit("coroutine", 1)
            with pytest.raises(BacklogFull):
                queue.submit("coroutine", 2)

    def test_an_unknown_setting_is_refused(self) -> None:
        with pytest.raises(pydantic.ValidationError, match="max_crash"):
            Queue([kit_handlers.coroutine], max_crash=1)

    def test_the_environment_has_no_say(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MAX_BACKLOG", "1")
        with Queue([kit_handlers.coroutine]) as queue:
            assert [queue.submit("coroutine", n).state for n in range(2)] == ["PENDING"] * 2

    def test_unknown_tasks(self, queue: Queue) -> None:
        for ask in (queue.get, queue.task):
            with pytest.raises(TaskNotFound):
                ask("0198c1de-0000-7000-8000-000000000000")

    def test_handlers_are_those_that_are_given(self) -> None:
        with pytest.raises(HandlerError, match="is not decorated"):
            Queue([len])

    def test_a_handler_submits(self) -> None:
        @handler("parent")
        def parent(payload: int) -> str:
            return queue.submit("coroutine", payload).task_id

        with Queue([parent, kit_handlers.coroutine]) as queue:
            task = queue.submit("parent", 3)
            assert len(queue.run_due()) == 2
            assert queue.task(task.result).result == 3


class TestBounds:
    def test_a_task_that_never_ends(self, queue: Queue) -> None:
        task = queue.submit("busy", {"always": 60})
        with pytest.raises(NotIdle, match=f"after 5 attempts.*busy {task.task_id} is PENDING"):
            queue.run_until_idle(max_attempts=5)
        assert len(queue.runs) == 5
        with pytest.raises(NotIdle, match="after 200 seconds on the clock"):
            queue.run_until_idle(max_seconds=200)
        assert len(queue.runs) == 5 + 3 + 1

    def test_one_that_puts_itself_off_for_no_time_waits_a_second(self, queue: Queue) -> None:
        task = queue.submit("busy", {"always": 0})
        queue.run_due(max_attempts=5)
        assert task.state is State.PENDING

    def test_a_handler_cannot_run_the_queue(self) -> None:
        @handler("greedy")
        def greedy(payload: Any) -> None:
            queue.run_due()

        with Queue([greedy]) as queue:
            task, _ = (queue.submit("greedy", None, max_attempts=1) for _ in range(2))
            queue.run_due(max_attempts=2)
            assert task.error is not None
            assert "a handler cannot run tasks" in task.error["message"]


def test_handlers_run_in_the_thread_of_the_test() -> None:
    threads = []

    @handler("here")
    def here(payload: Any, context: Context) -> None:
        threads.append(threading.current_thread())
        context.progress(0.3, "some of it")

    with Queue([here]) as queue:
        task = queue.submit("here", None)
        queue.run_due()
        assert threads == [threading.current_thread()]
        assert task.document["progress"] == {"fraction": 0.3, "message": "some of it"}


@pytest.mark.parametrize("end", [KeyboardInterrupt, pytest.fail.Exception])
def test_what_ends_a_test_is_raised_in_it(end: type[BaseException]) -> None:
    @handler("watched")
    def watched(payload: Any) -> None:
        raise end

    with Queue([watched]) as queue:
        queue.submit("watched", None)
        with pytest.raises(end):
            queue.run_due()


async def test_it_works_in_an_async_test(queue: Queue) -> None:
    task = queue.submit("coroutine", {"a": 1})
    queue.run_until_idle()
    assert task.result == {"a": 1}


def test_nothing_is_left_of_a_queue() -> None:
    before = set(threading.enumerate())  # other tests may have left some
    queue = Queue(["tests.testing_kit.kit_handlers"])
    queue.submit("coroutine", 1)
    queue.submit("greet", {"name": "Ray"})
    queue.run_until_idle()
    folder = queue._service.settings.artifacts_url
    queue.close()
    names = [thread.name for thread in set(threading.enumerate()) - before]
    assert [name for name in names if "raytasks" in name or "store" in name] == []
    assert not Path(folder).parent.exists()
    with pytest.raises(RuntimeError, match="closed"):
        queue.submit("coroutine", 1)


class TestChanges:
    def test_a_waiting_task_is_changed(self, queue: Queue) -> None:
        task = queue.submit("busy", {"snooze": 100}, delay_seconds=50, tags=["a"])
        task.update(payload={"snooze": 7}, delay_seconds=20, tags=[])
        assert since_start(queue.run_for(60)) == [20.0, 27.0]
        assert task.document["tags"] == []
        with pytest.raises(StateConflict, match="COMPLETED"):
            task.update(priority=1)
        with pytest.raises(InvalidSubmission, match="not valid"):
            task.update(color=1)

    def test_a_retry_may_have_another_payload(self, queue: Queue) -> None:
        task = queue.submit("permanent", None)
        queue.run_until_idle()
        task.retry(priority=9, delay_seconds=30)
        assert since_start(queue.run_until_idle()) == [30.0]
        assert task.document["priority"] == 9

    def test_a_final_task_is_deleted(self, queue: Queue) -> None:
        task = queue.submit("permanent", None)
        with pytest.raises(StateConflict, match="PENDING"):
            task.delete()
        queue.run_until_idle()
        task.delete()
        with pytest.raises(TaskNotFound):
            queue.get(task.task_id)
