"""Attempts that wait for tasks of their own pool: how they are noticed, and what the pool gets.

A runner whose attempt waits for another task does nothing, but keeps its place. When all runners
of a pool wait, none is left to run the tasks they wait for. So the pool gets one more runner, up to
a limit.
"""

import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any, Protocol

from raytasks.runner.attempt import Attempt
from raytasks.runner.sizing import SizeRule

MAX_EXTRA = 8
"""How many runners a pool gets beyond its own limit while others of it wait."""

NOTICE_SECONDS = 1.0
"""How long an attempt waits for a task before the tracker hears of it. Most waits are shorter."""

_FRAMES = 50


class WaitNotice:
    """Notices when the attempt of a runner waits for the end of a task."""

    def __init__(self) -> None:
        self._since: tuple[Attempt, float] | None = None
        self._awaited: str | None = None

    def of(self, attempt: Attempt | None) -> str | None:
        """Return the task that this attempt waits for, after `NOTICE_SECONDS`; else None."""
        known = self._since is not None and self._since[0] is attempt
        return self._awaited if known else None

    def look(self, attempt: Attempt, thread_id: int | None, now: float) -> bool:
        """Look at the attempt that runs in a thread; return whether the result of `of` changed.

        `now` is in seconds on a clock that only goes forward.
        """
        before, self._awaited = self.of(attempt), None
        awaited = _awaited(attempt, thread_id)
        if awaited is None:
            self._since = None
        elif self._since is None or self._since[0] is not attempt:
            self._since = (attempt, now)
        elif now - self._since[1] >= NOTICE_SECONDS:
            self._awaited = awaited
        return self._awaited != before


def _awaited(attempt: Attempt, thread_id: int | None) -> str | None:
    blocked = attempt.waits.blocked()
    if blocked is not None or thread_id is None or not attempt.waits.has_references:
        return blocked
    frame = sys._current_frames().get(thread_id)
    return attempt.waits.referred() if frame is not None and is_waiting(frame) else None


def is_waiting(frame: FrameType) -> bool:
    """Return whether a thread waits in `ray.get` or `ray.wait`, or in an idle event loop."""
    present: FrameType | None = frame
    if frame.f_code.co_name == "select" and frame.f_code.co_filename.endswith("selectors.py"):
        return True
    for _ in range(_FRAMES):
        if present is None:
            return False
        module = present.f_globals.get("__name__", "")
        if module == "ray._private.worker" and present.f_code.co_name in ("get", "wait"):
            return True
        present = present.f_back
    return False


@dataclass(frozen=True)
class WaitingCall:
    """A call beside others in a runner: its type, its tasks, and the task it waits for, or None."""

    task_type: str
    tasks: frozenset[str]
    awaited: str | None


def stands_still(calls: Collection[WaitingCall], full: Collection[str]) -> str | None:
    """Return a task that is waited for by all calls of a type without a free slot, else None.

    `full` names the types without a free slot. A call that waits for one that goes on in the same
    runner goes on itself. Calls of other types take nothing from a type that stands still.
    """
    waiting = [call for call in calls if call.awaited is not None]
    if not waiting:
        return None
    moving = {task for call in calls if call.awaited is None for task in call.tasks}
    while more := [call for call in waiting if call.awaited in moving]:
        moving |= {task for call in more for task in call.tasks}
        waiting = [call for call in waiting if call not in more]
    for task_type in full:
        mine = [call for call in calls if call.task_type == task_type]
        if mine and all(call in waiting for call in mine):
            return mine[0].awaited
    return None


class Runner(Protocol):
    """The parts of a runner's state that this module needs."""

    waits_for: str | None

    @property
    def held(self) -> Mapping[str, Any]:
        """The attempts that it has claimed, by task id."""


@dataclass(frozen=True)
class PoolWaits:
    """A pool in which runners wait for tasks. `extra` is how many are beyond its own limit.

    `stuck` means that all of them wait, and that no more extra ones are allowed.
    """

    runners: int
    waiting: int
    extra: int
    stuck: bool


class NestedWaits:
    """The pools in which runners wait for tasks, by name."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.pools: dict[str, PoolWaits] = {}
        self._since: dict[str, float] = {}
        self._clock = clock

    def rule(self, pool: str, rule: SizeRule, size: int, states: Iterable[Runner]) -> SizeRule:
        """Return the rule of a pool of `size` runners, with a higher limit while some wait."""
        waiting = sum(bool(state.held) and state.waits_for is not None for state in states)
        return replace(rule, most=self.most(pool, rule.most, size, waiting))

    def most(self, pool: str, most: int, size: int, waiting: int) -> int:
        """Return how many runners a pool may have, and note how it waits.

        `most` is its own limit. It has `size` runners, of which `waiting` wait for tasks to end.
        """
        allowed = most_with_waiting(most, size, waiting)
        if waiting:
            stuck = waiting >= size >= allowed
            self.pools[pool] = PoolWaits(size, waiting, max(0, size - most), stuck)
            self._since.setdefault(pool, self._clock())
        else:
            self.pools.pop(pool, None)
            self._since.pop(pool, None)
        return allowed

    def reasons(self) -> list[dict[str, Any]]:
        """Return the reasons in `/health`: the pools of which all runners wait."""
        return [
            {
                "code": "pool_stands_still" if found.stuck else "pool_waits",
                "message": _message(name, found),
                "fix": "give the children a pool of their own, or let the parent end",
                "since": self._since[name],
                "count": found.waiting,
            }
            for name, found in sorted(self.pools.items())
            if found.waiting >= found.runners
        ]

    def report(self) -> list[Mapping[str, Any]]:
        """Return the pools for `/health` that have extra runners, or whose runners all wait."""
        return [
            {
                "pool": name,
                "runners": found.runners,
                "waiting_for_tasks": found.waiting,
                "extra": found.extra,
                "message": _message(name, found),
            }
            for name, found in sorted(self.pools.items())
            if found.extra or found.waiting >= found.runners
        ]


def most_with_waiting(most: int, size: int, waiting: int) -> int:
    """Return how many runners a pool may have while some of them wait for tasks.

    If all wait, it may have one more than now. It keeps extra ones while some still wait.
    """
    extra = most + min(waiting, MAX_EXTRA)
    wanted = size + 1 if size and waiting >= size else size
    return max(most, min(wanted, extra))


def _message(name: str, found: PoolWaits) -> str:
    text = f"{found.waiting} of the {found.runners} runners of pool {name} wait for other tasks"
    if found.stuck:
        return (
            f"{text}, and it gets no more than {MAX_EXTRA} extra ones: it stands still until they "
            "end or time out"
        )
    return f"{text}; it has {found.extra} extra for that"
