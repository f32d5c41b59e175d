"""The pace of pruning, as a rule: what ends is pruned as fast as it comes, in small steps."""

import pytest

from raytasks.tracker.pruning_pace import (
    HIGH_SHARE,
    LONG_STEP_SECONDS,
    LOW_SHARE,
    MAX_REST_SECONDS,
    MAX_STEP,
    MIN_REST_SECONDS,
    MIN_STEP,
    STEP_SECONDS,
    PruningPace,
)

RETENTION = 60.0


def simulated(
    rate: float, seconds_per_task: float, *, retention: float = RETENTION, waits: float = 0.0
) -> tuple[float, float]:
    """Prune what ends at a steady rate, for four retentions. Each step `waits` for others as well.

    Returns the largest table, by rate x retention, and the longest step after the first ones, in
    seconds.
    """
    pace = PruningPace(retention, 500)
    now = pruned = largest = longest = 0.0
    steps = 0
    while now < 4 * retention:
        outdated = (now - retention) * rate - pruned
        oldest = pruned / rate
        taken = 0.0
        if outdated >= 1:
            number = min(pace.size, int(outdated))
            taken = number * seconds_per_task
            full = number == pace.size
            late = now - retention - oldest
            rest = pace.after_step(taken, waits, late) if full else pace.rest()
            pruned += number
            now += waits
            steps += 1
            if steps > 10:
                longest = max(longest, taken)
        else:
            rest = pace.rest()
        now += taken + rest
        largest = max(largest, now * rate - pruned)
    return largest / (rate * retention), longest


@pytest.mark.parametrize("rate", [1.0, 300.0, 10_000.0, 20_000.0])
@pytest.mark.parametrize("seconds_per_task", [25e-6, 35e-6])
def test_the_table_stays_small_whatever_comes_in(rate: float, seconds_per_task: float) -> None:
    size, longest = simulated(rate, seconds_per_task)
    assert size < 1.3
    assert longest < 1.5 * STEP_SECONDS


@pytest.mark.parametrize("waits", [0.02, 0.06])
def test_it_does_so_when_each_step_waits_for_a_busy_tracker(waits: float) -> None:
    size, longest = simulated(10_000.0, 35e-6, waits=waits)
    assert size < 1.3
    assert longest < 1.5 * LONG_STEP_SECONDS


def test_steps_stay_short_when_it_keeps_up_all_the_same() -> None:
    _, longest = simulated(100.0, 35e-6, waits=0.06)
    assert longest < 1.5 * STEP_SECONDS


def test_it_does_so_for_a_longer_retention() -> None:
    size, _ = simulated(1_000.0, 35e-6, retention=3600.0)
    assert size < 1.3


def test_a_large_old_backlog_is_pruned_gently_while_it_is_hardly_late() -> None:
    """A million tasks become outdated at once, and are kept for a month: other work goes first."""
    pace = PruningPace(30 * 86_400.0, 500)
    taken = rested = 0.0
    for _ in range(1000):
        seconds = pace.size * 35e-6
        taken += seconds
        rested += pace.after_step(seconds, 0.0, late=60.0)
    assert taken / (taken + rested) < 0.1


def test_the_share_grows_with_the_lateness_up_to_a_bound() -> None:
    rests = [
        PruningPace(100.0, 100).after_step(STEP_SECONDS, 0.0, late)
        for late in (0.0, 5.0, 20.0, 90.0)
    ]
    shares = [STEP_SECONDS / (STEP_SECONDS + rest) for rest in rests]
    assert shares[0] == pytest.approx(LOW_SHARE)
    assert shares[0] < shares[1] < shares[2]
    assert shares[2:] == pytest.approx([HIGH_SHARE] * 2)


def test_a_step_is_never_tiny_or_huge() -> None:
    pace = PruningPace(100.0, 500)
    for _ in range(20):
        pace.after_step(1.0, 0.0, 0.0)
    assert pace.size == MIN_STEP
    for _ in range(20):
        pace.after_step(0.0, 0.0, 0.0)
    assert pace.size == MAX_STEP


@pytest.mark.parametrize(
    ("retention", "rest"),
    [(1.0, MIN_REST_SECONDS), (600.0, 10.0), (30 * 86_400.0, MAX_REST_SECONDS)],
)
def test_the_shorter_the_retention_the_more_often_it_looks(retention: float, rest: float) -> None:
    assert PruningPace(retention, 500).rest() == rest
