"""The table of transitions, what the end of an attempt means, and the diagram in the documents."""

import itertools
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raytasks.model.states import (
    FINAL,
    TRANSITIONS,
    WAITING,
    Event,
    OutcomeKind,
    Standing,
    State,
    mermaid,
    verdict,
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "states.md"

P, R, T, C, F, X = (
    State.PENDING,
    State.RUNNING,
    State.RETRYING,
    State.COMPLETED,
    State.FAILED,
    State.CANCELLED,
)

# The whole table once more, said by state: what each event makes of it.
ALLOWED: dict[State, dict[Event, State]] = {
    P: {Event.CLAIM: R, Event.CANCEL: X, Event.EXPIRE: X, Event.REFUSE: F},
    T: {Event.CLAIM: R, Event.CANCEL: X},
    R: {
        Event.SUCCEED: C,
        Event.FAIL_AND_RETRY: T,
        Event.FAIL_FOR_GOOD: F,
        Event.LOSE: T,
        Event.POISON: F,
        Event.SNOOZE: P,
        Event.RELEASE: P,
        Event.STOP: X,
    },
    C: {},
    F: {Event.RETRY: P},
    X: {Event.RETRY: P},
}

STANDINGS = st.builds(
    Standing,
    failures=st.integers(0, 5),
    max_attempts=st.integers(1, 5),
    crashes=st.integers(0, 5),
    max_crashes=st.integers(0, 5),
    cancel_requested=st.booleans(),
)


def standing(
    failures: int = 0, max_attempts: int = 3, crashes: int = 0, *, cancelled: bool = False
) -> Standing:
    return Standing(failures, max_attempts, crashes, 2, cancel_requested=cancelled)


class TestTable:
    @pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Event)))
    def test_every_event_in_every_state(self, state: State, event: Event) -> None:
        row = TRANSITIONS[event]
        assert (row.target if state in row.sources else None) == ALLOWED[state].get(event)

    def test_every_event_has_a_row_and_only_submit_makes_a_task(self) -> None:
        assert set(TRANSITIONS) == set(Event)
        assert [event for event, row in TRANSITIONS.items() if not row.sources] == [Event.SUBMIT]
        assert TRANSITIONS[Event.SUBMIT].target is State.PENDING

    def test_a_state_is_final_waiting_or_running(self) -> None:
        assert FINAL | WAITING | {State.RUNNING} == set(State)
        assert not FINAL & WAITING
        assert {state for state in State if state.final} == FINAL

    def test_only_a_person_moves_a_final_task(self) -> None:
        moving = {event for event, row in TRANSITIONS.items() if row.sources & FINAL}
        assert moving == {Event.RETRY}

    def test_every_state_can_be_reached_and_can_end(self) -> None:
        steps = {(source, row.target) for row in TRANSITIONS.values() for source in row.sources}
        reached = {State.PENDING}
        ending = set(FINAL)
        for _ in State:
            reached |= {target for source, target in steps if source in reached}
            ending |= {source for source, target in steps if target in ending}
        assert reached == ending == set(State)


class TestSettle:
    @pytest.mark.parametrize(
        ("kind", "given_standing", "retryable", "event"),
        [
            (OutcomeKind.SUCCEEDED, standing(), False, Event.SUCCEED),
            (OutcomeKind.SUCCEEDED, standing(9, 1, 9), False, Event.SUCCEED),
            (OutcomeKind.SUCCEEDED, standing(cancelled=True), False, Event.SUCCEED),
            (OutcomeKind.FAILED, standing(0, 3), True, Event.FAIL_AND_RETRY),
            (OutcomeKind.FAILED, standing(1, 3), True, Event.FAIL_AND_RETRY),
            (OutcomeKind.FAILED, standing(2, 3), True, Event.FAIL_FOR_GOOD),
            (OutcomeKind.FAILED, standing(3, 3), True, Event.FAIL_FOR_GOOD),
            (OutcomeKind.FAILED, standing(0, 1), True, Event.FAIL_FOR_GOOD),
            (OutcomeKind.FAILED, standing(0, 3), False, Event.FAIL_FOR_GOOD),
            (OutcomeKind.FAILED, standing(0, 3, 9), True, Event.FAIL_AND_RETRY),
            (OutcomeKind.FAILED, standing(cancelled=True), True, Event.STOP),
            (OutcomeKind.LOST, standing(crashes=0), False, Event.LOSE),
            (OutcomeKind.LOST, standing(crashes=1), False, Event.LOSE),
            (OutcomeKind.LOST, standing(crashes=2), False, Event.POISON),
            (OutcomeKind.LOST, standing(9, 3, 0), False, Event.LOSE),
            (OutcomeKind.LOST, standing(cancelled=True), False, Event.STOP),
            (OutcomeKind.TIMED_OUT, standing(0, 3), True, Event.FAIL_AND_RETRY),
            (OutcomeKind.TIMED_OUT, standing(2, 3), True, Event.FAIL_FOR_GOOD),
            (OutcomeKind.TIMED_OUT, standing(cancelled=True), True, Event.STOP),
            (OutcomeKind.OUT_OF_MEMORY, standing(crashes=1), False, Event.LOSE),
            (OutcomeKind.OUT_OF_MEMORY, standing(crashes=2), False, Event.POISON),
            (OutcomeKind.SNOOZED, standing(9, 1, 9), False, Event.SNOOZE),
            (OutcomeKind.SNOOZED, standing(cancelled=True), False, Event.STOP),
            (OutcomeKind.RELEASED, standing(9, 1, 9), False, Event.RELEASE),
            (OutcomeKind.RELEASED, standing(cancelled=True), False, Event.STOP),
            (OutcomeKind.CANCELLED, standing(), False, Event.STOP),
            (OutcomeKind.CANCELLED, standing(cancelled=True), False, Event.STOP),
        ],
    )
    def test_what_an_outcome_means(
        self, kind: OutcomeKind, given_standing: Standing, retryable: bool, event: Event
    ) -> None:
        assert verdict(kind, given_standing, retryable=retryable) is event

    @pytest.mark.parametrize("kind", [OutcomeKind.LOST, OutcomeKind.OUT_OF_MEMORY])
    def test_who_is_not_charged_is_never_poison(self, kind: OutcomeKind) -> None:
        assert verdict(kind, standing(crashes=2), retryable=False, charged=False) is Event.LOSE
        stopped = standing(crashes=2, cancelled=True)
        assert verdict(kind, stopped, retryable=False, charged=False) is Event.STOP

    @given(st.sampled_from(OutcomeKind), STANDINGS, st.booleans())
    def test_it_is_always_an_event_of_a_running_task(
        self, kind: OutcomeKind, given_standing: Standing, retryable: bool
    ) -> None:
        event = verdict(kind, given_standing, retryable=retryable)
        assert TRANSITIONS[event].sources == {State.RUNNING}
        if given_standing.cancel_requested:
            assert event in (Event.SUCCEED, Event.STOP)

    @given(STANDINGS, st.booleans())
    def test_only_failures_depend_on_whether_they_may_be_retried(
        self, given_standing: Standing, retryable: bool
    ) -> None:
        for kind in set(OutcomeKind) - {OutcomeKind.FAILED, OutcomeKind.TIMED_OUT}:
            once = verdict(kind, given_standing, retryable=retryable)
            assert once is verdict(kind, given_standing, retryable=not retryable)


class TestDocument:
    def test_the_diagram_has_every_step(self) -> None:
        lines = mermaid().splitlines()
        assert lines[0] == "stateDiagram-v2"
        assert "    [*] --> PENDING: submit" in lines
        assert len(lines) == 1 + 1 + sum(map(len, ALLOWED.values())) + len(FINAL)

    def test_the_words_are_the_table(self) -> None:
        rows = re.findall(r"^\| ([^|]+) \| (\w+) \| (\w+) \|", DOCUMENT.read_text(), re.MULTILINE)
        said = {event: (sources, target) for sources, event, target in rows if event != "on"}
        assert set(said) == set(Event)
        for event, row in TRANSITIONS.items():
            sources = ", ".join(state for state in State if state in row.sources) or "(new)"
            assert said[event] == (sources, row.target)
