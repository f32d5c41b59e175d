"""Tokens that come back: over every window no more attempts begin than the rate allows."""

import random

import pytest

from raytasks.model.controls import Limit
from raytasks.tracker.gates import Gate, LimitInForce
from raytasks.tracker.token_loans import TokenLoans

RATE = 2.0


def full_gate(burst: int) -> Gate:
    limit = Limit("rate", rate=RATE, burst=burst)
    return Gate(LimitInForce(limit, limit), None, since=-1000.0, now=0.0)


def begun_too_often(times: list[float], burst: int) -> bool:
    return any(
        last - first + 1 > RATE * (times[last] - times[first]) + burst + 1e-5
        for first in range(len(times))
        for last in range(first, len(times))
    )


@pytest.mark.parametrize("burst", [1, 2, 5])
@pytest.mark.parametrize("seed", range(20))
def test_what_comes_back_lets_no_more_begin_than_the_rate_allows(burst: int, seed: int) -> None:
    draw = random.Random(f"{burst} {seed}")
    gate, now, begun = full_gate(burst), 0.0, list[float]()
    open_ones: list[tuple[float, tuple[str, int]]] = []
    for number in range(60):
        now += draw.choice((0.0, 0.0, 0.1, 0.25, 0.5, 1.0))
        if open_ones and draw.random() < 0.4:
            at, borrower = open_ones.pop(draw.randrange(len(open_ones)))
            begins = draw.random() < 0.4
            gate.settle_token(now, borrower, begun=begins)
            begun += [at] * begins
        elif gate.room(now) >= 1:
            open_ones.append((now, ("t", number)))
            gate.take_token(now, open_ones[-1][1])
    assert not begun_too_often(sorted(begun + [at for at, _ in open_ones]), burst)


@pytest.mark.parametrize(
    ("back_at", "tokens"),
    [(0.0, 2.0), (0.25, 2.0), (0.5, 2.0), (5.0, 2.0)],
)
def test_one_that_comes_back_alone_fills_the_bucket_at_most(back_at: float, tokens: float) -> None:
    gate = full_gate(2)
    gate.take_token(0.0, ("a", 1))
    gate.settle_token(back_at, ("a", 1), begun=False)
    assert gate.tokens == tokens


def test_what_the_bucket_would_have_lost_does_not_come_back() -> None:
    gate = full_gate(1)
    gate.take_token(0.0, ("a", 1))
    gate.take_token(0.5, ("b", 1))  # without the first, the bucket had been full since the start
    gate.settle_token(0.5, ("a", 1), begun=False)
    assert gate.room(0.5) == 0
    assert gate.room(1.0) == 1


def test_two_that_come_back_share_what_there_is_room_for() -> None:
    gate = full_gate(2)
    gate.take_token(0.0, ("a", 1))
    gate.take_token(0.0, ("b", 1))
    gate.room(0.5)
    gate.take_token(0.5, ("c", 1))
    for borrower in ("a", "b"):
        gate.settle_token(0.5, (borrower, 1), begun=False)
    assert gate.tokens == 1.0


def test_a_token_of_which_nothing_is_known_does_not_come_back() -> None:
    gate = full_gate(2)
    gate.take_token(0.0)
    gate.settle_token(0.0, ("a", 1), begun=False)
    assert gate.tokens == 1.0
    gate.take_token(0.0, ("b", 1))
    gate.set_tokens(0.0)
    gate.settle_token(0.0, ("b", 1), begun=False)
    assert gate.tokens == 0.0


def test_few_levels_are_kept_and_little_is_lost_by_that() -> None:
    loans = TokenLoans()
    loans.take(("a", 1), 0.0, 10_000.0)
    for number in range(1, 5000):
        loans.take(("b", number), float(number), 9_900.0 - number)
    assert len(loans._peaks) <= 257
    assert loans.give_back(("a", 1), 5000.0, 0.0, 10_000) == 1.0
    assert loans.give_back(("b", 4999), 5000.0, 1.0, 10_000) == 1.0


def test_a_tick_that_takes_thousands_at_once_is_one_level() -> None:
    loans = TokenLoans()
    for number in range(5000):
        loans.take(("a", number), 0.0, 5000.0 - number)
    loans.take(("b", 1), 1.0, 100.0)
    assert all(loans.give_back(("a", n), 1.0, 99.0, 5000) == 1.0 for n in range(100))
