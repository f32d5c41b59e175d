"""The size of a pool over time: a small simulation of arrivals, starts and running times."""

import math
import random
from collections import deque
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from raytasks.runner.sizing import (
    GROWTH_SECONDS,
    START_SECONDS,
    PeakWindow,
    PoolState,
    RunnerLoad,
    SizeRule,
    SlotPlan,
    SlotUse,
    TypeWork,
    change_of_size,
    missing_runners,
)

STEP = 0.05
LOOK_EVERY = 10  # steps: half a second
IDLE_SECONDS = 10.0


@dataclass
class Runner:
    """A serial runner. It is up at `up_at`, and runs something from `begun_at` to `ends_at`."""

    made_at: float
    up_at: float
    active_at: float
    begun_at: float = 0.0
    ends_at: float | None = None


@dataclass
class Pool:
    """A pool of serial runners under the rule, with one type of tasks of known average."""

    rule: SizeRule
    seconds: float
    start_seconds: float = START_SECONDS
    now: float = 0.0
    open: deque[float] = field(default_factory=deque)
    runners: list[Runner] = field(default_factory=list)
    window: PeakWindow = field(default_factory=PeakWindow)
    steps: int = 0
    started: int = 0
    done: int = 0

    def arrive(self, durations: list[float]) -> None:
        self.open.extend(durations)

    def step(self) -> None:
        self.now += STEP
        self.steps += 1
        for runner in self.runners:
            if runner.ends_at is not None and runner.ends_at <= self.now:
                runner.ends_at, runner.active_at = None, self.now
                self.done += 1
            if runner.ends_at is None and runner.up_at <= self.now and self.open:
                runner.begun_at = runner.active_at = self.now
                runner.ends_at = self.now + self.open.popleft()
        if self.steps % LOOK_EVERY == 0:
            self.look()
        assert len(self.runners) <= self.rule.most

    def look(self) -> None:
        busy = [runner for runner in self.runners if runner.ends_at is not None]
        starting = [runner for runner in self.runners if runner.up_at > self.now]
        idle = [
            runner for runner in self.runners if runner.ends_at is None and runner.up_at <= self.now
        ]
        loads = [RunnerLoad([SlotUse("t", self.now - runner.begun_at)]) for runner in busy]
        loads += [RunnerLoad()] * len(idle)
        loads += [
            RunnerLoad(ready_in=max(0.0, START_SECONDS - (self.now - runner.made_at)))
            for runner in starting
        ]
        work = {"t": TypeWork(len(self.open), self.seconds)}
        missing = missing_runners(work, SlotPlan(), loads)
        needed = len(busy) + missing + min(len(idle), len(self.open))
        state = PoolState(
            waiting=bool(self.open),
            busy=len(busy),
            starting_seconds=tuple(self.now - runner.made_at for runner in starting),
            idle_seconds=tuple(self.now - runner.active_at for runner in idle),
            missing=missing,
            peak=self.window.add(self.now, needed, self.rule.idle_limit_seconds),
        )
        change = change_of_size(state, self.rule)
        for _ in range(change):
            self.started += 1
            self.runners.append(Runner(self.now, self.now + self.start_seconds, self.now))
        for runner in [*idle, *starting][: max(0, -change)]:
            self.runners.remove(runner)

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / STEP)):
            self.step()


def pool(least: int, most: int, seconds: float, *, spare: bool = False) -> Pool:
    return Pool(SizeRule(least, most, IDLE_SECONDS, 30.0, spare), seconds)


@settings(max_examples=60, deadline=None)
@given(
    least=st.integers(0, 3),
    more=st.integers(0, 6),
    seconds=st.sampled_from([0.05, 0.3, 2.0, 8.0]),
    start=st.sampled_from([0.5, 2.0, 7.0]),
    bursts=st.lists(st.tuples(st.integers(0, 40), st.floats(0.0, 8.0)), max_size=5),
    spare=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_all_is_done_and_the_pool_shrinks_to_its_least(
    least: int,
    more: int,
    seconds: float,
    start: float,
    bursts: list[tuple[int, float]],
    spare: bool,
    seed: int,
) -> None:
    chance = random.Random(seed)
    found = pool(least, max(1, least + more), seconds, spare=spare)
    found.start_seconds = start
    for number, pause in bursts:
        found.arrive([seconds * chance.uniform(0.2, 1.8) for _ in range(number)])
        found.run(pause)
    tasks = sum(number for number, _ in bursts)
    found.run(tasks * seconds * 1.8 + start + 10.0)  # even one runner does it in that time
    assert (found.done, len(found.open)) == (tasks, 0)
    found.run(2 * IDLE_SECONDS + 1.0)
    assert len(found.runners) == least


@settings(max_examples=60, deadline=None)
@given(number=st.integers(1, 2000), seconds=st.floats(0.001, 30.0), most=st.integers(1, 40))
def test_a_backlog_is_done_within_seconds_or_the_pool_has_its_most(
    number: int, seconds: float, most: int
) -> None:
    found = pool(0, most, seconds)
    found.arrive([seconds] * number)
    found.run(0.5)
    size = len(found.runners)
    assert size == most or (math.ceil(number / size) - 1) * seconds <= GROWTH_SECONDS + 1e-6
    assert size <= number
    found.run(START_SECONDS + 0.1)
    assert found.started == size  # all of it at once, and nothing more later


@settings(max_examples=30, deadline=None)
@given(load=st.floats(0.1, 5.0), seconds=st.sampled_from([0.1, 0.5, 3.0]), seed=st.integers(0, 999))
def test_a_steady_load_makes_no_pool_flap(load: float, seconds: float, seed: int) -> None:
    chance = random.Random(seed)
    found = pool(0, 10, seconds)
    found.rule = SizeRule(0, 10, 30.0, 30.0)
    due = 0.0
    while found.now < 400.0:
        while due <= found.now:
            found.arrive([seconds * chance.uniform(0.5, 1.5)])
            due += chance.expovariate(load / seconds)
        if 199.9 < found.now < 200.0:
            before = found.started
        found.step()
    assert found.started - before <= 8  # in 200 s; each stays for at least 30 s
    assert len(found.open) <= 10 + 10 * load / seconds


def test_a_short_burst_starts_nobody() -> None:
    found = pool(1, 8, 0.02)
    found.run(5.0)
    for _ in range(20):
        found.arrive([0.02] * 60)
        found.run(6.0)
    assert (found.started, len(found.runners)) == (1, 1)


def test_a_light_load_over_many_runners_lets_most_of_them_go() -> None:
    found = pool(0, 8, 0.05)
    found.arrive([5.0] * 40)
    found.seconds = 5.0
    found.run(26.0)
    assert len(found.runners) == 8
    found.seconds = 0.05
    for _ in range(400):  # one after the other: each runner has something to do now and then
        found.arrive([0.05])
        found.runners.append(found.runners.pop(0))
        found.run(0.25)
    assert 1 <= len(found.runners) <= 2
