"""Runners that cannot come up: when the next one is tried, and what is said of it."""

from collections.abc import Callable

from raytasks.pools.start_failures import FIRST_SECONDS, MAX_SECONDS, StartFailures


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def failures() -> tuple[StartFailures, Clock]:
    clock = Clock()
    return StartFailures(clock, clock), clock


def test_one_failed_start_changes_nothing() -> None:
    found, _ = failures()
    assert not found.record("shared", "killed")
    assert found.allowed("shared", 3) == 3
    assert found.reasons() == []


def test_a_pool_waits_longer_each_time_and_tries_one() -> None:
    found, clock = failures()
    found.record("shared", "first")
    pauses = []
    for _ in range(8):
        assert found.record("shared", "ImportError: no torch")
        begun = clock.now
        assert found.allowed("shared", 3) == 0
        while not found.allowed("shared", 3):
            clock.now += 1.0
        pauses.append(clock.now - begun)
        assert found.allowed("shared", 3) == 1
        assert found.allowed("shared", 3, starting=1) == 0
        assert found.allowed("class.other", 3, starting=1) == 3
    assert pauses[:3] == [FIRST_SECONDS, 2 * FIRST_SECONDS, 4 * FIRST_SECONDS]
    assert pauses[-1] == MAX_SECONDS
    [reason] = found.reasons()
    assert (reason["code"], reason["count"], reason["since"]) == ("runners_cannot_start", 9, 0.0)
    assert "shared" in reason["message"]
    assert "ImportError: no torch" in reason["message"]


def test_what_fails_together_makes_the_wait_longer_once() -> None:
    found, clock = failures()
    for _ in range(50):
        found.record("mail", "no model")
    clock.now = FIRST_SECONDS
    assert found.allowed("mail", 50) == 1
    assert found.reasons()[0]["count"] == 50
    found.record("mail", "no model")
    clock.now += FIRST_SECONDS
    assert found.allowed("mail", 50) == 0


def test_it_is_over_when_one_comes_up_or_another_version_is_in_force() -> None:
    found, _ = failures()
    ends: tuple[Callable[[], object], ...] = (lambda: found.came_up("shared"), found.forget)
    for end in ends:
        found.record("shared", "x")
        found.record("shared", "x")
        assert found.allowed("shared", 2) == 0
        end()
        assert found.allowed("shared", 2) == 2
        assert found.reasons() == []


def test_of_a_long_error_the_end_is_told() -> None:
    found, _ = failures()
    found.record("p", "x")
    found.record("p", "a" * 10_000 + "the end")
    [reason] = found.reasons()
    assert reason["message"].endswith("the end")
    assert len(reason["message"]) < 700
