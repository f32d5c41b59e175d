"""Measurements of a runner do not change when a clock is set."""

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from raytasks import Context, handler
from raytasks.handling.context import LocalChannel
from raytasks.handling.declaration import handler_of
from raytasks.model.states import OutcomeKind
from raytasks.protocol.messages import Claim
from raytasks.runner.attempt import Attempt
from raytasks.runner.workplace import Workplace

STEPS = [-3600.0, 3600.0]


class Payload(BaseModel):
    pass


class Clocks:
    """A wall clock that can be set, and a monotonic one."""

    def __init__(self) -> None:
        self.wall, self.passed = 1_000_000.0, 50.0

    def go_on(self, seconds: float) -> None:
        self.wall += seconds
        self.passed += seconds


def attempt_on(clocks: Clocks, during: Callable[[Context], Any]) -> Any:
    @handler("steady", timeout=30)
    def steady(payload: Payload, context: Context) -> Any:
        return during(context)

    workplace = Workplace(clock=lambda: clocks.wall, monotonic=lambda: clocks.passed)
    claim = Claim("t1", "steady", 1, "{}", 0, 3, 30.0, None)
    attempt = Attempt(handler_of(steady), claim, workplace)
    return attempt.run(steady, LocalChannel())


@pytest.mark.parametrize("step", STEPS)
def test_a_clock_that_is_set_times_nothing_out(step: float) -> None:
    clocks, remaining = Clocks(), []

    def during(context: Context) -> bool:
        clocks.go_on(2.0)
        clocks.wall += step
        remaining.append(context.remaining_seconds)
        return context.cancelled

    outcome = attempt_on(clocks, during)
    assert (outcome.kind, outcome.result) == (OutcomeKind.SUCCEEDED, "false")
    assert remaining == [28.0]
    assert (outcome.started_at, outcome.finished_at) == (1_000_000.0, 1_000_002.0)


@pytest.mark.parametrize("step", STEPS)
def test_a_clock_that_is_set_gives_no_more_time(step: float) -> None:
    clocks = Clocks()

    def during(context: Context) -> None:
        clocks.go_on(31.0)
        clocks.wall += step
        context.raise_if_cancelled()

    assert attempt_on(clocks, during).kind is OutcomeKind.TIMED_OUT
