"""An attempt in Ray's hands: its tries, its times, and what an error of Ray's makes of it."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import ray
from msgspec.structs import replace
from pydantic import BaseModel
from ray.exceptions import (
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayTaskError,
    TaskCancelledError,
    TaskPlacementGroupRemoved,
    WorkerCrashedError,
)

from raytasks import PermanentError, handler
from raytasks.handling.declaration import handler_of
from raytasks.handling.registry import Registry
from raytasks.model.states import OutcomeKind
from raytasks.observe.traces import TraceParenting
from raytasks.protocol.messages import Claim, Outcome
from raytasks.runner.attempt import Attempt
from raytasks.runner.on_ray import remote_attempt
from raytasks.runner.on_ray.flight import MAX_UNBEGUN, Flight
from raytasks.runner.on_ray.remote_attempt import Place, Start
from raytasks.runner.plan import RunnerPlan
from raytasks.runner.workplace import Workplace

HOUR = 3600.0


class Payload(BaseModel):
    pass


def apart(payload: Payload) -> None:
    pass


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def flight(clock: Clock, *, timeout: float | None = None, **ray_options: object) -> Flight:
    claim = Claim("t1", "apart", 1, "{}", 0, 3, timeout, None)
    spec = handler_of(handler("apart", isolated=True, ray_options=ray_options)(apart))
    return Flight(Attempt(spec, claim, Workplace(clock=clock, monotonic=clock)), clock())


DEATHS = [
    WorkerCrashedError(),
    NodeDiedError("its node is gone"),
    OutOfMemoryError("no memory"),
    ObjectLostError("00" * 28, b"owner", "call site"),
]


@pytest.mark.parametrize("error", DEATHS, ids=lambda error: type(error).__name__)
def test_what_has_not_begun_is_given_back(error: Exception) -> None:
    outcome = flight(Clock()).outcome_of(error)
    assert outcome.kind is OutcomeKind.RELEASED


@pytest.mark.parametrize("error", DEATHS, ids=lambda error: type(error).__name__)
def test_what_has_begun_is_lost(error: Exception) -> None:
    flown = flight(Clock())
    flown.begin(Place("n1", "w1"), 1000.0)
    outcome = flown.in_place(flown.outcome_of(error))
    no_memory = isinstance(error, OutOfMemoryError)
    assert outcome.kind is (OutcomeKind.OUT_OF_MEMORY if no_memory else OutcomeKind.LOST)
    assert (outcome.node_id, outcome.worker_id) == ("n1", "w1")


def test_a_module_that_ends_its_process_is_not_tried_for_ever() -> None:
    flown = flight(Clock())
    kinds = [flown.outcome_of(WorkerCrashedError(), crashes).kind for crashes in range(5)]
    assert kinds == [OutcomeKind.RELEASED] * MAX_UNBEGUN + [OutcomeKind.LOST] * 2


def test_an_error_that_was_raised_in_the_process_is_a_failure_whatever_its_class() -> None:
    flown = flight(Clock())
    flown.begin(Place("n1", "w1"), 1000.0)
    raised = RayTaskError("apart", "trace", WorkerCrashedError()).as_instanceof_cause()
    outcome = flown.outcome_of(raised)
    assert outcome.kind is OutcomeKind.FAILED
    assert outcome.error is not None
    assert "WorkerCrashedError" in outcome.error


def test_what_somebody_else_cancelled_is_cancelled() -> None:
    assert flight(Clock()).outcome_of(TaskCancelledError()).kind is OutcomeKind.CANCELLED


class TestRemovedPlacementGroup:
    """Ray ends what runs in a group that is removed: the attempt is not to blame."""

    @pytest.mark.parametrize("crashes", [0, MAX_UNBEGUN])
    def test_what_waits_there_is_given_back_however_often(self, crashes: int) -> None:
        outcome = flight(Clock()).outcome_of(TaskPlacementGroupRemoved(), crashes)
        assert outcome.kind is OutcomeKind.RELEASED

    @pytest.mark.parametrize("begun", [False, True])
    @pytest.mark.parametrize(
        "error", [TaskCancelledError(), WorkerCrashedError()], ids=["cancelled", "crashed"]
    )
    def test_what_was_ended_as_its_group_is_gone(self, error: Exception, begun: bool) -> None:
        flown = flight(Clock())
        flown.group_gone = True
        if begun:
            flown.begin(Place("n1", "w1"), 1000.0)
        outcome = flown.outcome_of(error)
        assert outcome.kind is (OutcomeKind.LOST if begun else OutcomeKind.RELEASED)
        if begun:
            assert not outcome.charged
            assert "the placement group was removed" in (outcome.error or "")

    @pytest.mark.parametrize(
        ("error", "gone", "kind"),
        [
            (SystemExit(1), True, OutcomeKind.LOST),  # Ray ends the process by a signal
            (SystemExit(1), False, OutcomeKind.FAILED),
            (ValueError("of a child in the group"), True, OutcomeKind.LOST),
            (PermanentError("bad"), True, OutcomeKind.FAILED),
        ],
    )
    def test_what_fails_then_is_lost_unless_it_must_not_run_again(
        self, error: BaseException, gone: bool, kind: OutcomeKind
    ) -> None:
        flown = flight(Clock())
        flown.group_gone = gone
        flown.begin(Place("n1", "w1"), 1000.0)
        outcome = flown.excused(flown.attempt.failed(error))
        assert outcome.kind is kind
        assert outcome.charged is (kind is OutcomeKind.FAILED)

    def test_a_policy_that_retries_little_does_not_fail_what_ray_has_ended(self) -> None:
        flown = flight(Clock())
        flown.group_gone = True
        failed = flown.attempt.failed(SystemExit(1))
        outcome = flown.excused(replace(failed, retryable=False, delay_seconds=9.0))
        assert outcome.kind is OutcomeKind.LOST
        assert (outcome.retryable, outcome.delay_seconds) == (True, 0.0)


def test_only_its_own_process_knows_whether_an_attempt_saved_files() -> None:
    flown = flight(Clock())
    assert flown.outcome_of(WorkerCrashedError()).has_files is False
    flown.begin(Place("n1", "w1", token="one"), 1000.0)
    cause = ValueError("its result cannot be sent")
    errors = [TaskCancelledError(), RayTaskError("f", "", cause), RuntimeError("odd"), *DEATHS]
    assert [flown.outcome_of(error).has_files for error in errors] == [True] * len(errors)
    assert flown.attempt.stopped().has_files is True


@pytest.mark.parametrize("number", [0, 1])
def test_a_try_does_not_know_what_an_earlier_one_has_saved(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Here:
        get_node_id = get_worker_id = get_task_id = lambda _: "here"

    registry = Registry([handler_of(handler("apart", isolated=True)(apart))])
    monkeypatch.setattr(ray, "get_runtime_context", Here)
    monkeypatch.setattr(remote_attempt, "_registry", lambda _: registry)
    monkeypatch.setattr(remote_attempt, "insist", lambda *_, **__: Start(number))
    monkeypatch.setattr(Workplace, "enter", lambda _: None)
    plan = SimpleNamespace(
        artifacts_url=str(tmp_path),
        offload_bytes=100,
        max_result_bytes=100,
        trace_parenting=TraceParenting.LINK,
    )
    claim = Claim("t1", "apart", 1, "{}", 0, 3, None, None)
    outcome = remote_attempt.execute(cast("RunnerPlan", plan), claim, SimpleNamespace(started=None))
    assert (outcome.kind, outcome.has_files) == (OutcomeKind.SUCCEEDED, number > 0)


def test_a_try_that_asks_again_is_the_same_try() -> None:
    flown = flight(Clock())
    place = Place("n1", "w1", token="one")
    assert flown.begin(place, 1000.0) == flown.begin(place, 1001.0)
    assert flown.begun == 1
    assert flown.begin(Place("n1", "w2", token="two"), 1002.0).spent


def test_later_tries_know_how_much_of_the_timeout_is_gone() -> None:
    clock = Clock()
    flown = flight(clock, timeout=60, max_retries=2)
    assert flown.begin(Place(token="one"), 1000.0).passed_seconds == 0
    start = flown.begin(Place(token="two"), 1025.0)
    assert (start.number, start.passed_seconds) == (1, 25.0)


@pytest.mark.parametrize("skew", [-HOUR, 0.0, HOUR])
def test_times_are_by_our_clock_whatever_the_node_has(skew: float) -> None:
    clock = Clock()
    flown = flight(clock)  # it waits for a place for 50 seconds
    flown.begin(Place("n1", "w1", started_at=1050.0 + skew), 1050.0)
    clock.now = 1080.0
    said = Outcome(
        "t1", 1, OutcomeKind.SUCCEEDED, started_at=1050.0 + skew, finished_at=1079.0 + skew
    )
    outcome = flown.on_our_clock(said)
    assert (outcome.started_at, outcome.finished_at) == (1050.0, 1079.0)


@pytest.mark.parametrize("skew", [-HOUR, HOUR])
def test_what_ray_tried_too_often_ends_by_our_clock_on_another_node(skew: float) -> None:
    flown = flight(Clock())
    flown.begin(Place("n1", "w1", started_at=1050.0 + skew, token="one"), 1050.0)
    assert flown.begin(Place("n2", "w2", started_at=1060.0 - skew, token="two"), 1060.0).spent
    said = Outcome("t1", 1, OutcomeKind.LOST, started_at=1060.0 - skew, finished_at=1061.0 - skew)
    outcome = flown.in_place(flown.on_our_clock(said))
    assert (outcome.started_at, outcome.finished_at) == (1050.0, 1061.0)
    assert outcome.worker_id == "w1"


@pytest.mark.parametrize("skew", [-HOUR, 0.0, HOUR])
def test_an_attempt_that_did_not_begin_has_our_times(skew: float) -> None:
    clock = Clock()
    flown = flight(clock)
    clock.now = 1010.0
    said = Outcome("t1", 1, OutcomeKind.CANCELLED, started_at=skew, finished_at=skew)
    outcome = flown.in_place(flown.on_our_clock(said))
    assert (outcome.begun, outcome.started_at, outcome.finished_at) == (False, 1000.0, 1010.0)


def test_what_never_began_says_so() -> None:
    clock = Clock()
    flown = flight(clock)
    clock.now = 1010.0
    outcome = flown.in_place(flown.outcome_of(NodeDiedError("gone")))
    assert (outcome.begun, outcome.started_at, outcome.finished_at) == (False, 1000.0, 1010.0)
