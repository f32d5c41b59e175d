"""When and how soon a failed attempt is tried again."""

import pickle
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raytasks.model.retry import (
    MAX_SECONDS,
    PermanentError,
    RetryAfter,
    RetryDecision,
    RetryPolicy,
    Snooze,
)

RANDOM = random.Random(1)

POLICIES = st.builds(
    RetryPolicy,
    initial_delay_seconds=st.floats(0, 1e6),
    factor=st.floats(1, 1e6),
    max_delay_seconds=st.floats(0, 1e6),
    jitter=st.floats(0, 1),
)


class Weird(Exception):
    """An error of a user's own."""


class Weirder(Weird):
    """A more special one."""


class Extreme(random.Random):
    """A random source that always gives the same."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def uniform(self, a: float, b: float) -> float:
        return a + (b - a) * self.value


class TestBackoff:
    @pytest.mark.parametrize(
        ("failures", "seconds"), [(1, 2), (2, 6), (3, 18), (4, 54), (5, 100), (6, 100)]
    )
    def test_it_grows_by_the_factor_up_to_the_ceiling(self, failures: int, seconds: float) -> None:
        policy = RetryPolicy(initial_delay_seconds=2, factor=3, max_delay_seconds=100, jitter=0)
        assert policy.backoff(failures, RANDOM) == seconds

    @pytest.mark.parametrize(("value", "seconds"), [(0, 7.5), (0.5, 10), (1, 12.5)])
    def test_jitter_makes_it_longer_or_shorter(self, value: float, seconds: float) -> None:
        policy = RetryPolicy(initial_delay_seconds=10, jitter=0.25)
        assert policy.backoff(1, Extreme(value)) == pytest.approx(seconds)

    def test_tasks_that_failed_together_come_back_apart(self) -> None:
        policy = RetryPolicy(initial_delay_seconds=10, jitter=0.1)
        source = random.Random(7)
        assert len({policy.backoff(1, source) for _ in range(100)}) > 90

    @pytest.mark.parametrize("failures", [1_000, 100_000, 10**9])
    def test_a_number_too_large_is_the_ceiling(self, failures: int) -> None:
        policy = RetryPolicy(factor=10.0, max_delay_seconds=300, jitter=0)
        assert policy.backoff(failures, RANDOM) == 300

    def test_no_delay_stays_none_however_often_it_failed(self) -> None:
        policy = RetryPolicy(initial_delay_seconds=0, factor=10.0)
        assert policy.backoff(5, RANDOM) == 0
        assert policy.backoff(100_000, RANDOM) == 0

    @given(POLICIES, st.integers(1, 10_000), st.integers())
    def test_it_never_leaves_its_bounds(
        self, policy: RetryPolicy, failures: int, seed: int
    ) -> None:
        delay = policy.backoff(failures, random.Random(seed))
        assert 0 <= delay <= policy.max_delay_seconds * (1 + policy.jitter)

    @given(POLICIES, st.integers(1, 2_000))
    def test_it_never_shrinks_without_jitter(self, policy: RetryPolicy, failures: int) -> None:
        middle = Extreme(0.5)
        assert policy.backoff(failures, middle) <= policy.backoff(failures + 1, middle)


class TestMayRetry:
    @pytest.mark.parametrize(
        ("policy", "error", "allowed"),
        [
            ({}, ValueError(), True),
            ({}, PermanentError(), False),
            ({"never_retry": (Weird,)}, Weird(), False),
            ({"never_retry": (Weird,)}, Weirder(), False),
            ({"never_retry": (Weirder,)}, Weird(), True),
            ({"retry_on": (Weird,)}, Weirder(), True),
            ({"retry_on": (Weird,)}, ValueError(), False),
            ({"retry_on": ()}, ValueError(), False),
            ({"retry_on": (Exception,)}, PermanentError(), False),
            ({"retry_on": (Weird,), "never_retry": (Weirder,)}, Weirder(), False),
            ({"retry_on": (Weird,), "never_retry": (Weirder,)}, Weird(), True),
            ({"retry_on": (Weird,)}, RetryAfter(1), True),
            ({"never_retry": (RetryAfter,)}, RetryAfter(1), False),
        ],
    )
    def test_by_the_kind_of_error(
        self, policy: dict[str, Any], error: Exception, allowed: bool
    ) -> None:
        assert RetryPolicy(**policy).may_retry(error) is allowed


class TestDecide:
    @pytest.mark.parametrize(
        ("error", "failures", "decision"),
        [
            (ValueError(), 1, RetryDecision(True, 1.0)),
            (ValueError(), 3, RetryDecision(True, 4.0)),
            (PermanentError(), 1, RetryDecision(False, 0.0)),
            (RetryAfter(77), 1, RetryDecision(True, 77.0)),
            (RetryAfter(100_000), 2, RetryDecision(True, 100_000.0)),
            (RetryAfter(0), 2, RetryDecision(True, 0.0)),
        ],
    )
    def test_what_follows_from_an_error(
        self, error: Exception, failures: int, decision: RetryDecision
    ) -> None:
        assert RetryPolicy(jitter=0).verdict(error, failures, RANDOM) == decision


class TestDeclaration:
    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"max_attempts": 0}, "max_attempts must be at least 1, not 0"),
            ({"initial_delay_seconds": -1}, "delays must not be negative"),
            ({"max_delay_seconds": -0.1}, "delays must not be negative"),
            ({"max_delay_seconds": 1e300}, "nor longer than ten years"),
            ({"factor": 0.5}, "factor must be at least 1, not 0.5"),
            ({"jitter": -0.1}, "jitter is a fraction from 0 to 1, not -0.1"),
            ({"jitter": 1.5}, "jitter is a fraction from 0 to 1, not 1.5"),
            ({"memory_factor": 0.5, "max_memory": 9}, "memory_factor must be a number from 1, not"),
            ({"memory_factor": float("nan")}, "memory_factor must be a number from 1, not nan"),
            ({"memory_factor": float("inf"), "max_memory": 9}, "must be a number from 1, not inf"),
            ({"memory_factor": 2}, "max_memory is the most bytes that an attempt asks for"),
            ({"max_memory": 9}, "memory_factor .more than 1. and max_memory go together"),
            ({"memory_factor": 2, "max_memory": 0}, "max_memory must be at least 1 byte, not 0"),
        ],
    )
    def test_a_policy_that_cannot_work_is_refused(
        self, values: dict[str, float], message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            RetryPolicy(**values)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        "field", ["initial_delay_seconds", "max_delay_seconds", "factor", "jitter"]
    )
    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_what_is_no_number_is_refused(self, field: str, value: float) -> None:
        with pytest.raises(ValueError, match="finite"):
            RetryPolicy(**{field: value})  # type: ignore[arg-type]


class TestMemory:
    @pytest.mark.parametrize(
        ("times", "memory"), [(0, 100), (1, 150), (2, 225), (3, 300), (10_000, 300)]
    )
    def test_each_want_of_memory_asks_for_more_up_to_the_bound(
        self, times: int, memory: float
    ) -> None:
        policy = RetryPolicy(memory_factor=1.5, max_memory=300)
        assert policy.heeds_memory
        assert policy.memory_after(100, times) == memory

    def test_without_a_factor_it_stays(self) -> None:
        assert RetryPolicy(other_node=True).memory_after(100, 5) == 100
        assert RetryPolicy(other_node=True).heeds_memory
        assert not RetryPolicy().heeds_memory


class TestRaised:
    @pytest.mark.parametrize(
        ("error", "seconds", "text"),
        [
            (RetryAfter(5), 5.0, "try again in 5 seconds"),
            (RetryAfter(0.5, "busy"), 0.5, "busy"),
            (RetryAfter(1e300), MAX_SECONDS, "try again in 3.16224e+08 seconds"),
            (RetryAfter(-3), 0.0, "try again in 0 seconds"),
            (Snooze(90), 90.0, "snoozed for 90 seconds"),
            (Snooze(-1, "later"), 0.0, "later"),
        ],
    )
    def test_seconds_and_text(self, error: RetryAfter | Snooze, seconds: float, text: str) -> None:
        assert error.seconds == seconds
        assert str(error) == text

    @pytest.mark.parametrize("error", [RetryAfter(5, "busy"), Snooze(7), PermanentError("no")])
    def test_they_survive_being_pickled(self, error: Exception) -> None:
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error)
        assert (vars(again), str(again)) == (vars(error), str(error))

    @pytest.mark.parametrize("kind", [RetryAfter, Snooze])
    @pytest.mark.parametrize("seconds", [float("nan"), float("inf")])
    def test_a_time_that_never_comes_is_refused(
        self, kind: type[RetryAfter] | type[Snooze], seconds: float
    ) -> None:
        with pytest.raises(ValueError, match="finite"):
            kind(seconds)
