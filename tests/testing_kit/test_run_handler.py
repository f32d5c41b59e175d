"""`run_handler`: one attempt, and all that it did."""

import asyncio
import threading
import time
from typing import Any

import pytest

from raytasks import AttemptTimeout, Context, RetryPolicy, handler
from raytasks.model.errors import HandlerError, InvalidSubmission
from raytasks.model.states import OutcomeKind
from raytasks.testing import FakeClock, ProcessDied, run_handler
from tests.testing_kit import kit_handlers


def test_all_that_an_attempt_did_is_noted() -> None:
    run = run_handler(kit_handlers.greet, {"name": "Ray"}, attempt=2, checkpoint={"done": 4})
    assert run.outcome == "succeeded"
    assert run.result == {
        "hello": "Ray",
        "attempt": 2,
        "file": f"/artifacts/{run.task_id}/greeting.txt",
    }
    assert (run.task_type, run.attempt, run.error, run.exception) == ("greet", 2, None, None)
    assert run.progress == [(0.5, None), (None, "half way")]
    assert run.checkpoints == [{"done": 5}]
    assert run.artifacts == {"greeting.txt": b"Ray"}
    assert run.logs == [("INFO", "greeting Ray"), ("WARNING", "done")]
    assert run.delay_seconds is None


@handler("place")
def place(payload: Any, context: Context) -> list[Any]:
    return [context.priority, list(context.tags), context.namespace]


def test_the_context_shows_what_the_test_gives() -> None:
    assert run_handler(place, None).result == [0, [], "default"]
    run = run_handler(place, None, priority=-3, tags=["a", "b"], namespace="shop")
    assert run.result == [-3, ["a", "b"], "shop"]
    with pytest.raises(InvalidSubmission) as caught:
        run_handler(place, None, tags=["a", "a"])
    assert [error.pointer for error in caught.value.errors] == ["/tags"]


@pytest.mark.parametrize(
    ("target", "result"),
    [
        (kit_handlers.coroutine, "x"),
        (kit_handlers.Counter, 1),
        (kit_handlers.heavy, "in this process"),
    ],
)
def test_each_form_of_handler_runs_here(target: Any, result: Any) -> None:
    before = set(threading.enumerate())
    assert run_handler(target, "x").result == result
    assert run_handler(target, "x").result == result  # of a class, another instance
    left = set(threading.enumerate()) - before
    assert [thread for thread in left if "raytasks" in thread.name] == []


async def test_an_async_handler_runs_in_an_async_test() -> None:
    assert run_handler(kit_handlers.coroutine, "x").result == "x"


def test_a_payload_that_could_not_be_submitted_is_refused() -> None:
    with pytest.raises(InvalidSubmission) as caught:
        run_handler(kit_handlers.greet, {"name": ""})
    assert [error.pointer for error in caught.value.errors] == ["/payload/name"]


def test_a_function_that_is_no_handler_is_refused() -> None:
    with pytest.raises(HandlerError, match="is not decorated"):
        run_handler(len, {})


@pytest.mark.parametrize(
    ("attempt", "failures", "delay"), [(1, None, 10.0), (2, None, 30.0), (5, 0, 10.0)]
)
def test_a_failure_is_judged_by_the_policy(
    attempt: int, failures: int | None, delay: float
) -> None:
    run = run_handler(kit_handlers.flaky, {"times": 9}, attempt=attempt, failures=failures)
    assert run.outcome is OutcomeKind.FAILED
    assert isinstance(run.exception, ConnectionError)
    assert run.error is not None
    assert (run.error.type, run.error.retryable) == ("ConnectionError", True)
    assert run.delay_seconds == delay
    assert run.result is None


def test_what_a_handler_may_raise() -> None:
    snoozed = run_handler(kit_handlers.busy, {"snooze": 7})
    assert (snoozed.outcome, snoozed.delay_seconds, snoozed.error) == ("snoozed", 7.0, None)
    later = run_handler(kit_handlers.busy, {"retry_after": 8})
    assert (later.outcome, later.delay_seconds) == ("failed", 8.0)
    never = run_handler(kit_handlers.permanent, None)
    assert never.error is not None
    assert (never.error.retryable, never.delay_seconds) == (False, None)


def test_a_cancelled_attempt_is_told_so() -> None:
    @handler("polite")
    def polite(payload: Any, context: Context) -> None:
        context.raise_if_cancelled()

    @handler("deaf")
    def deaf(payload: Any) -> str:
        return "work that finished first is kept"

    assert run_handler(polite, None).outcome is OutcomeKind.SUCCEEDED
    assert run_handler(polite, None, cancelled=True).outcome is OutcomeKind.CANCELLED
    assert run_handler(deaf, None, cancelled=True).outcome is OutcomeKind.SUCCEEDED


class TestTimeout:
    """Time passes as the test requests it; the attempt's limit is 10 seconds."""

    def run_one(self, monkeypatch: pytest.MonkeyPatch, *naps: float, **options: Any) -> Any:
        clock = FakeClock()
        monkeypatch.setattr(time, "sleep", clock.sleep)
        self.left: list[float | None] = []
        self.cancelled: list[bool] = []

        @handler("sleepy", timeout=10, retry=RetryPolicy(retry_on=(AttemptTimeout,)))
        def sleepy(payload: Any, context: Context) -> str:
            for nap in naps:
                self.left.append(context.remaining_seconds)
                time.sleep(nap)
                self.cancelled.append(context.cancelled)
            return "rested"

        return run_handler(sleepy, None, clock=clock, **options)

    def test_the_context_counts_down(self, monkeypatch: pytest.MonkeyPatch) -> None:
        run = self.run_one(monkeypatch, 4, 5)
        assert (run.result, self.left, self.cancelled) == ("rested", [10.0, 6.0], [False, False])
        assert run.finished_at - run.started_at == 9

    def test_a_handler_that_ends_soon_after_the_limit_has_succeeded(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = self.run_one(monkeypatch, 10.5)
        assert (run.outcome, self.cancelled) == ("succeeded", [True])

    def test_one_that_goes_on_is_interrupted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        run = self.run_one(monkeypatch, 4, 8, 1)
        assert (run.outcome, self.cancelled) == ("timed_out", [False])
        assert run.error.type == "AttemptTimeout"
        assert run.delay_seconds == 1.0

    def test_the_limit_can_be_given(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.run_one(monkeypatch, 4, timeout_seconds=2).outcome == "timed_out"
        assert self.run_one(monkeypatch, 40, timeout_seconds=50).outcome == "succeeded"

    def test_one_that_cannot_be_interrupted_has_timed_out_all_the_same(self) -> None:
        clock = FakeClock()

        @handler("stubborn", timeout=10)
        def stubborn(payload: Any) -> str:
            clock.now += 60
            return "too late"

        assert run_handler(stubborn, None, clock=clock).outcome == "timed_out"


def test_a_process_can_die_anywhere() -> None:
    @handler("doomed")
    def doomed(payload: Any, context: Context) -> None:
        context.checkpoint("kept")
        raise ProcessDied

    run = run_handler(doomed, None)
    assert (run.outcome, run.checkpoints, run.exception) == ("lost", ["kept"], None)


@pytest.mark.parametrize("end", [KeyboardInterrupt, pytest.fail.Exception, pytest.skip.Exception])
def test_what_ends_a_test_is_no_failure_of_the_handler(end: type[BaseException]) -> None:
    @handler("watched")
    def watched(payload: Any) -> None:
        raise end

    with pytest.raises(end):
        run_handler(watched, None)


@pytest.mark.parametrize("end", [SystemExit, asyncio.CancelledError, GeneratorExit])
def test_what_a_handler_should_not_raise_is_its_failure(end: type[BaseException]) -> None:
    @handler("odd")
    def odd(payload: Any) -> None:
        raise end

    @handler("odd_async")
    async def odd_async(payload: Any) -> None:
        raise end

    for target in (odd, odd_async):
        run = run_handler(target, None)
        assert (run.outcome, type(run.exception)) == ("failed", end)
