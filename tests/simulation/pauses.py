"""Pauses of a namespace, a type, both, or of everything: who makes and ends them, and their judge.

A copy of an order can arrive late. So each pause is ended at most once in a schedule, and only
after that it is not judged any more.
"""

import asyncio
import math
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from raytasks.model.steering import EVERYTHING
from raytasks.protocol.commands import PauseWork, ResumeWork
from tests.simulation.account import Row
from tests.simulation.kinds import Fault
from tests.simulation.probes import Probes

if TYPE_CHECKING:
    from tests.simulation.world import World

SHARE = 0.3
"""In how many schedules there are such pauses."""

Key = tuple[str, str]
"""Namespace and type; an empty text for all of them."""

_TYPES = ("short", "short", "other", "far")
_SOON_SECONDS = 10.0


@dataclass(frozen=True)
class _Told:
    """A pause that somebody was told to hold, until a time by the trackers' clock."""

    until: float
    steps: int
    """How often that clock was set before."""


class Pauses:
    """The pauses of one schedule. What is paused may not be claimed, once this was answered."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._draw = Random(f"pauses {world.seed}")
        self.is_active = self._draw.random() < SHARE
        self._told: dict[Key, _Told] = {}
        self._asked: set[Key] = set()
        """The pauses that may be in force, whether this was answered or not."""
        self._ended: set[Key] = set()
        """Those that the ending of the schedule ends, whatever a person does at the same time."""

    def begin(self, *, may_be_all: bool) -> None:
        """Begin to pause, in some schedules: with `may_be_all` maybe everything."""
        if not self.is_active:
            return
        choices = [self._key() for _ in range(self._draw.choice((1, 2, 3)))]
        if may_be_all and self._draw.random() < 0.3:
            choices.append(EVERYTHING)
        for key in dict.fromkeys(choices):
            self._world.clients.begin(self._person(key))

    def _key(self) -> Key:
        draw = self._draw
        space, task_type = self._world.spaces.one(), draw.choice(_TYPES)
        return draw.choice(((space, ""), ("", task_type), (space, task_type)))

    async def _person(self, key: Key) -> None:
        draw, clients = self._draw, self._world.clients
        seconds = draw.choice((None, 1.0, 4.0))
        await asyncio.sleep(draw.uniform(0.2, 5.0))
        for _ in range(draw.choice((1, 1, 2))):  # the second one takes the place of the first one
            await self._pause(key, seconds)
            await asyncio.sleep(draw.uniform(0.2, 5.0))
        if seconds is None or draw.random() < 0.5:
            self._told.pop(key, None)
            await clients.insist(ResumeWork(*key))

    async def _pause(self, key: Key, seconds: float | None) -> None:
        self._asked.add(key)
        pause = await self._world.clients.insist(PauseWork(*key, seconds))
        if pause.key != key or (pause.until is None) != (seconds is None):
            self._world.fail(f"{key} was to be paused for {seconds} s, and the answer is {pause}")
        until = math.inf if pause.until is None else pause.until
        if key not in self._ended:
            self._told[key] = _Told(until, self._steps)
        self._world.trace("paused", *key, until)

    @property
    def _steps(self) -> int:
        """How often the trackers' clock was set: then nobody can say when a pause ends."""
        return self._world.swarm.occurred[Fault.CLOCK_OF_TRACKER]

    def claimed(self, row: Row, now: float) -> None:
        """Judge a claim that a tick has made which began at `now`, by its tracker's clock."""
        for key in (
            EVERYTHING,
            (row.namespace, ""),
            ("", row.task_type),
            (row.namespace, row.task_type),
        ):
            told = self._told.get(key)
            if told is None:
                continue
            if told.until < math.inf and (told.steps != self._steps or told.until <= now):
                del self._told[key]
            else:
                self._world.fail(f"{row} was claimed at {now}, and {key} is paused: {told}")

    # When the faults have stopped

    def everything_goes_on(self) -> None:
        """Judge the pause of everything no more: somebody else is about to end it."""
        self._forget(EVERYTHING)

    def _forget(self, key: Key) -> None:
        self._told.pop(key, None)
        self._ended.add(key)

    async def end(self, but: float = _SOON_SECONDS) -> None:
        """End all pauses, but those that end by themselves within so many seconds."""
        world = self._world
        soon = world.wall_of_tracker() + but
        for key in sorted(self._asked):
            told = self._told.get(key)
            if told is None or told.steps != self._steps or told.until > soon:
                self._forget(key)
                await world.clients.begin(world.clients.insist(ResumeWork(*key)))

    async def probe(self, probes: Probes) -> None:
        """Pause a part of the tasks: others go on, and those wait until it is over, no longer."""
        world, draw = self._world, self._draw
        if not self.is_active or draw.random() < 0.3:
            return
        key, seconds = self._key(), draw.choice((None, 0.7))
        space, task_type = key[0] or world.spaces.one(), key[1] or "short"
        self._ended.clear()
        await self._pause(key, seconds)
        until = self._told[key].until
        held = await probes.submit(task_type=task_type, namespace=space)
        if key[1]:
            free = await probes.submit(task_type="far" if key[1] == "short" else "short")
        else:
            free = await probes.submit(task_type=task_type, namespace="another")
        await probes.until_done(free)
        if seconds is None:
            await asyncio.sleep(0.3)
            del self._told[key]
            await world.clients.insist(ResumeWork(*key))
        await probes.until_done(held, 0.0 if seconds is None else until - world.wall_of_tracker())

    def at_the_end(self) -> None:
        """See that nothing is paused any more, in memory and on disk, but what ends by itself."""
        world, present = self._world, self._world.present_tracker
        now = world.wall_of_tracker()
        rows = world.files.reader.execute("SELECT * FROM pauses WHERE until IS NULL").fetchall()
        memory = []
        if present is not None and present.tracker is not None:
            in_force = present.tracker.ticker.steering.in_force(now)
            memory = [pause for pause in in_force if pause.until is None]
        if rows or memory:
            world.fail(f"everything goes on again, and this is paused: {rows}, {memory}")
