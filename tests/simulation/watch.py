"""Looks now and then at what no single commit shows: bounds, pauses, health, promises in time."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING

from raytasks.protocol.queries import Health
from raytasks.tracker.core import Tracker
from tests.simulation.account import LOST
from tests.simulation.loop import Process

if TYPE_CHECKING:
    from tests.simulation.trackers import TrackerLife
    from tests.simulation.world import World

LOOK_SECONDS = 0.1

SOON_SECONDS = 5.0
"""How long the tracker may take for what it was told, counted from the end of the last trouble."""

MAX_REFUSED = 45
"""How many writes a tracker may try in three seconds while all are refused: its own, with pauses
that grow, and those of impatient clients."""

SICK_SECONDS = 11.0
"""After how long without a write that works `/health` must say so, at the latest."""


class Watch:
    """Watches all trackers of a schedule."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self._told_of_death: dict[str, tuple[TrackerLife, float]] = {}
        self._given_up: set[str] = set()
        self._late: dict[tuple[str, int], tuple[TrackerLife, str]] = {}
        self._refused: defaultdict[Process, list[float]] = defaultdict(list)
        self._sick_since: float | None = None
        self._asked_health = False

    async def run(self) -> None:
        """Look again and again."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for life in self.world.trackers:
                if life.process.runs and life.tracker is not None:
                    self._look_at_inbox(life.tracker)
            self._look_at_deaths()
            self._look_at_refusals()
            self._look_at_health()

    # What others tell

    def told_of_death(self, runner_id: str, life: "TrackerLife") -> None:
        """Note that a tracker was told that a runner is dead."""
        self._told_of_death[runner_id] = (life, self.world.loop.time())
        self._given_up.add(runner_id)

    def was_told(self, runner_id: str) -> bool:
        """Return whether some tracker was told that a runner is dead."""
        return runner_id in self._given_up

    def acknowledged(self, life: "TrackerLife", task_id: str, attempt: int) -> None:
        """Note that a tracker has acknowledged an outcome: maybe one that comes too late."""
        said = self.world.account.said.get((task_id, attempt))
        ended = self.world.checker.history.get((task_id, attempt))
        if said is None or ended is None or ended.outcome not in LOST:
            return
        if said[0] == ended.runner_id:
            self._late.setdefault((task_id, attempt), (life, said[0]))

    def at_the_end(self) -> None:
        """See that the late outcomes are in the history that were acknowledged."""
        for (task_id, attempt), (life, runner_id) in self._late.items():
            if life.process.dead or task_id not in self.world.checker.rows:
                continue
            ended = self.world.checker.ended(task_id, attempt)
            if ended is not None and ended.late_outcome is None:
                self.world.fail(f"{runner_id} forgets a late outcome that is not kept: {ended}")

    # What is looked at

    def _look_at_inbox(self, tracker: Tracker) -> None:
        """See that what is said again does not add to what waits."""
        for inbox in tracker.ticker.inbox.groups():
            for what, keys in (
                ("outcomes", [(said.task_id, said.attempt) for _, said in inbox.outcomes]),
                ("late", [(by, said.task_id, said.attempt) for by, said in inbox.late]),
                ("logs", [(by, said.number) for by, said in inbox.logs]),
                ("reports", [(by, said.number) for by, said in inbox.reports if said.number]),
            ):
                if doubled := _doubled(keys):
                    self.world.fail(f"of {what} these wait twice for their commit: {doubled}")

    def _look_at_deaths(self) -> None:
        """See that what a dead runner held does not go on running, once the tracker knows."""
        now, trouble = self.world.loop.time(), self.world.trouble
        for runner_id, (life, at) in list(self._told_of_death.items()):
            if life.process.dead:
                del self._told_of_death[runner_id]
            elif (
                life.process.runs and now - max(at, trouble.seen_at, life.frozen_at) > SOON_SECONDS
            ):
                held = [
                    row for row in self.world.checker.rows.values() if row.runner_id == runner_id
                ]
                if held and life.epoch == self.world.checker.epoch:
                    self.world.fail(f"{runner_id} is dead, as was told, and holds {held}")

    def _look_at_refusals(self) -> None:
        """See that a tracker does not try without a pause to write what is refused."""
        now = self.world.loop.time()
        for process, at in self.world.trouble.take_refused():
            self._refused[process].append(at)
        for process, times in self._refused.items():
            recent = [at for at in times if now - at < 3.0]
            if len(recent) > MAX_REFUSED:
                self.world.fail(f"{process.name} has tried {len(recent)} writes in three seconds")
            self._refused[process] = recent

    def _look_at_health(self) -> None:
        """See that a tracker says so when nothing can be written."""
        trouble, now = self.world.trouble, self.world.loop.time()
        if not (trouble.away or trouble.read_only or trouble.hangs):
            self._sick_since = None
            return
        if self._sick_since is None:
            self._sick_since, self._asked_health = now, False
        if now - self._sick_since < SICK_SECONDS or self._asked_health:
            return
        self._asked_health = True
        for life in self.world.trackers:
            if life.process.runs and max(life.loaded_at, life.frozen_at) < self._sick_since:
                life.process.start(self._ask(life, self._sick_since))

    async def _ask(self, life: "TrackerLife", since: float) -> None:
        assert life.tracker is not None
        health = await life.tracker.read(Health())
        if self._sick_since == since and health["database"]["ok"] and life.process.runs:
            self.world.fail(f"nothing can be written, and {life.process.name} says it is well")


def _doubled(keys: Iterable[Hashable]) -> list[Hashable]:
    return [key for key, times in Counter(keys).items() if times > 1]
