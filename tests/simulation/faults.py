"""Faults that strike from time to time: processes, clocks, the database as a whole."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from raytasks.model.tasks import StoreUnavailable
from raytasks.protocol.queries import BulkList
from tests.simulation.kinds import ON_CALLS, ON_SUBMISSIONS, ON_TRANSACTIONS, Fault

if TYPE_CHECKING:
    from tests.simulation.world import World


class Injector:
    """Injects the faults of a schedule's swarm, each kind at random times."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self._draw = world.draw
        self._kinds: dict[Fault, Callable[[], Awaitable[bool]]] = {
            Fault.CUT_OFF: self._cut_off,
            Fault.STORE_AWAY: self._store_away,
            Fault.STORE_HANGS: self._store_hangs,
            Fault.STORE_READ_ONLY: self._store_read_only,
            Fault.TRANSACTION_REFUSED: self._refuse,
            Fault.CLOCK_OF_TRACKER: self._step_tracker,
            Fault.CLOCK_ELSEWHERE: self._step_elsewhere,
            Fault.RUNNER_KILLED: self._kill_runner,
            Fault.RUNNER_FROZEN: self._freeze_runner,
            Fault.RUNNER_DOUBLED: self._double_runner,
            Fault.RUNNER_GIVEN_UP: self._give_up_runner,
            Fault.TRACKER_KILLED: self._kill_tracker,
            Fault.TRACKER_FROZEN: self._freeze_tracker,
            Fault.TRACKER_DOUBLED: self._double_tracker,
            Fault.TRACKER_RIVALLED: self._rival_tracker,
            Fault.REPLICA_KILLED: self._kill_replica,
        }
        assert {*self._kinds, *ON_CALLS, *ON_TRANSACTIONS, *ON_SUBMISSIONS} == {*Fault}

    def begin(self) -> None:
        """Begin with every kind that the schedule has."""
        for fault, inject in self._kinds.items():
            rate = self.world.swarm.rates.get(fault)
            if rate is not None:
                self.world.loop.outside.start(self._repeat(fault, rate, inject))

    async def _repeat(
        self, fault: Fault, a_minute: float, inject: Callable[[], Awaitable[bool]]
    ) -> None:
        while True:
            await asyncio.sleep(self._draw.expovariate(a_minute / 60.0))
            if not self.world.swarm.active:
                return
            self.world.trace("fault", fault.value)
            if await inject():
                self.world.swarm.occurred[fault] += 1

    async def _while(self, seconds: float) -> None:
        """Let a fault last, but not beyond the end of all faults."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.world.faults_stop.wait()

    # The database

    async def _store_away(self) -> bool:
        trouble = self.world.trouble
        trouble.away = True
        await self._while(self._draw.choice((0.1, 1.0, 4.0)) * self._draw.random())
        trouble.away = False
        return True

    async def _store_read_only(self) -> bool:
        trouble = self.world.trouble
        if trouble.read_only:
            return False
        trouble.read_only = True
        if self._draw.random() < 0.5:
            self.world.loop.outside.start(self._read_meanwhile())
        await self._while(self._draw.choice((0.5, 3.0, 16.0)) * self._draw.random())
        trouble.read_only = False
        return True

    async def _read_meanwhile(self) -> None:
        """Have the tracker read all the time while nothing can be written, as a page does."""
        while self.world.trouble.read_only:
            life = self.world.present_tracker
            if life is not None and life.tracker is not None and life.process.runs:
                life.process.start(_quietly(life.tracker.read(BulkList("default"))))
            await asyncio.sleep(0.02)

    async def _store_hangs(self) -> bool:
        self.world.trouble.hangs = True
        await self._while(self._draw.choice((0.5, 3.0, 12.0)) * self._draw.random())
        self.world.trouble.hangs = False
        self.world.threads.go_on()
        return True

    async def _refuse(self) -> bool:
        self.world.trouble.refused = self._draw.choice((1, 2, 3, 4, 6, 10))
        return True

    # Clocks

    async def _step_tracker(self) -> bool:
        step = self._draw.choice((-20.0, -3.0, -0.5, 0.5, 3.0, 20.0, 3600.0))
        checker = self.world.checker  # which sees the clock only when somebody writes
        checker.latest_clock = max(checker.latest_clock, self.world.wall_of_tracker())
        self.world.tracker_skew += step
        for life in self.world.trackers:
            life.process.skew = self.world.tracker_skew
        return True

    async def _step_elsewhere(self) -> bool:
        step = self._draw.choice((-3600.0, -20.0, -0.5, 0.5, 20.0, 3600.0))
        self.world.elsewhere_skew += step
        for runner in self.world.runners:
            runner.process.skew = self.world.elsewhere_skew
        for replica in self.world.replicas:
            replica.process.skew = self.world.elsewhere_skew
        return True

    # Processes

    async def _kill_runner(self) -> bool:
        return self._with_runner(self.world.crash)

    async def _freeze_runner(self) -> bool:
        living = [life for life in self.world.runners if life.process.runs]
        if not living:
            return False
        process = self._draw.choice(living).process
        process.freeze()
        await self._while(self._draw.choice((0.5, 5.0, 25.0)) * self._draw.random())
        process.thaw()
        return True

    async def _double_runner(self) -> bool:
        return self._with_runner(
            lambda life: self.world.start_runner(life.name, life.pool, life.owner)
        )

    async def _give_up_runner(self) -> bool:
        """Tell the tracker that a living runner is dead, as Ray does of one on a frozen node."""
        tracker = self.world.present_tracker
        if tracker is None or not tracker.process.runs or tracker.tracker is None:
            return False
        if tracker.tracker.outpost.active:
            return False
        if tracker.loaded_at > self.world.loop.time():
            return False
        mine = [life for life in self.world.runners if life.process.runs and life.owner == "me"]
        if not mine:
            return False
        self.world.tell_of_death(tracker, self._draw.choice(mine).runner_id)
        return True

    async def _cut_off(self) -> bool:
        living = [life for life in self.world.runners if life.process.runs]
        if not living:
            return False
        process = self._draw.choice(living).process
        process.cut_off = True
        await self._while(self._draw.choice((0.5, 5.0, 25.0)) * self._draw.random())
        process.cut_off = False
        return True

    def _with_runner(self, harm: Callable[..., object]) -> bool:
        living = [life for life in self.world.runners if life.process.runs]
        if not living:
            return False
        harm(self._draw.choice(living))
        return True

    async def _kill_tracker(self) -> bool:
        life = self.world.present_tracker
        if life is None or life.process.dead:
            return False
        life.process.kill()
        return True

    async def _freeze_tracker(self) -> bool:
        life = self.world.present_tracker
        if life is None or not life.process.runs:
            return False
        life.process.freeze()
        await self._while(self._draw.choice((0.5, 5.0, 15.0)) * self._draw.random())
        life.process.thaw()
        return True

    async def _double_tracker(self) -> bool:
        """Begin another life of the tracker while the present one lives, as after a partition."""
        life = self.world.present_tracker
        if life is None or not life.process.runs or life.owner != "me":
            return False
        frozen = self._draw.random() < 0.5
        if frozen:
            life.process.freeze()
        self.world.start_tracker(life.owner, again=True)
        if frozen:
            await self._while(self._draw.uniform(0.1, 4.0))
            life.process.thaw()
        return True

    async def _rival_tracker(self) -> bool:
        """Have another cluster take the database over, and die after a while; two at most."""
        names = [name for name in ("rival", "rival 2") if name not in self.world.clusters]
        if not names:
            return False
        self.world.start_cluster(names[0])
        await self._while(self._draw.choice((10.0, 40.0, 90.0)) * self._draw.random())
        self.world.kill_cluster(names[0])
        return True

    async def _kill_replica(self) -> bool:
        self.world.kill_replica(self._draw.choice(self.world.replicas))
        return True


async def _quietly(asked: Awaitable[object]) -> None:
    with contextlib.suppress(StoreUnavailable):
        await asked
