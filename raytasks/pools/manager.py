"""The manager of the pools: it keeps as many runners of each kind as there should be."""

import asyncio
import contextlib
import logging
import math
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import ray
from ray.exceptions import ActorDiedError, RayError, RuntimeEnvSetupError

from raytasks.model.states import LossCause
from raytasks.model.tasks import REMOTE_POOL, HandlerInfo
from raytasks.pools.cluster_view import PoolView
from raytasks.pools.deaths import known_death, tell_death
from raytasks.pools.handlers_version import HandlersVersion
from raytasks.pools.make_room import plan_room, reserves
from raytasks.pools.roster import (
    PooledRunner,
    RunnerView,
    Tracked,
    free_slot,
    runner_name,
    runners_present,
)
from raytasks.pools.size_rules import idle_limit_of, size_rule
from raytasks.pools.start_failures import StartFailures
from raytasks.pools.viewing import pool_views
from raytasks.pools.worker_logs import end_of_log
from raytasks.runner.nested import NestedWaits
from raytasks.runner.on_ray.killing import kill
from raytasks.runner.on_ray.nodes import at_the_head
from raytasks.runner.on_ray.ray_internals import Death
from raytasks.runner.on_ray.ray_options import actor_options
from raytasks.runner.on_ray.remote_runner import TaskRunner
from raytasks.runner.on_ray.warm_runner import WarmRunner
from raytasks.runner.plan import RunnerPlan
from raytasks.runner.sizing import PoolState, SizeRule, change_of_size
from raytasks.settings import Settings

log = logging.getLogger(__name__)

RECONCILE_SECONDS = 0.5
_ADOPTION_SECONDS = 3.0
_DEATH_SECONDS = 0.1


class RunnerPools:
    """Makes, watches and ends the runners of the present version."""

    def __init__(self, tracked: Tracked) -> None:
        self._tracked = tracked
        self._version: HandlersVersion | None = None
        self._runners: dict[str, PooledRunner] = {}
        self._retired = False
        self._scarce: frozenset[str] = frozenset()
        self._news = asyncio.Event()
        self.nested = NestedWaits()
        self._killing: set[asyncio.Task[None]] = set()
        self.failures = StartFailures()
        self._sizes: dict[str, SizeRule] = {}  # by pool, as it was last looked after

    @property
    def settings(self) -> Settings | None:
        """The settings of the present version, if there is one."""
        return None if self._version is None else self._version.settings

    def views(self) -> list[PoolView]:
        """Return the pools with their runners, as they are now."""
        return pool_views(self._version, self._runners.values(), self._sizes, self.failures)

    def starting(self) -> dict[str, int]:
        """Return how many runners have not called yet, by pool."""
        known = {state.name for state in self._tracked.runners()}
        return Counter(item.pool for name, item in self._runners.items() if name not in known)

    def deploy(self, version: HandlersVersion) -> None:
        """Make this the present version. Safe to repeat."""
        if not self._retired:
            self._version = version
            self.failures.forget()
            self._news.set()

    def replace(self, name: str) -> None:
        """Have Ray end a runner's process and start it again."""
        runner = self._runners.get(name)
        if runner is not None:
            runner.active_at = time.monotonic()
            self._let_go(runner)
            self._kill_soon(runner, no_restart=False)

    async def run(self) -> None:
        """Adopt the runners that exist, and then keep the pools as they should be, for ever."""
        present, complete = await asyncio.to_thread(runners_present)
        for name, actor in present.items():
            self._adopt(name, actor).adopted = True
        if complete:  # else the leases decide
            await self._mark_strangers_lost()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RECONCILE_SECONDS):
                    await self._news.wait()
            self._news.clear()
            try:
                await self._reconcile()
            except Exception:
                log.exception("the pools could not be looked after; trying again")

    async def note_end(self, runner_id: str, worker_id: str | None) -> None:
        """Check whether an earlier life of a runner has ended; if so, tell the tracker why."""
        death = await known_death(worker_id) if worker_id else None
        await tell_death(self._tracked, runner_id, death)

    def stop(self) -> None:
        """Make no more runners, for good."""
        self._version = None
        self._retired = True

    async def end_all(self) -> None:
        """End all runners, also those that run attempts."""
        self.stop()
        for runner in list(self._runners.values()):
            await self._end(runner)

    async def _mark_strangers_lost(self) -> None:
        """Mark runners lost that are in the database but no longer in this cluster.

        After a restart of the whole cluster this saves the wait for their leases to end.
        """
        asked = [
            asyncio.wrap_future(runner.actor.identity.remote().future())
            for runner in self._runners.values()
        ]
        if asked:
            await asyncio.wait(asked, timeout=_ADOPTION_SECONDS)
        answers = [call for call in asked if call.done() and call.exception() is None]
        for call in asked:
            call.cancel()
        if len(answers) < len(asked):
            return  # one of them is being started again: the leases will decide
        present = {call.result()[0] for call in answers}
        for state in self._tracked.runners():
            if state.runner_id not in present:
                self._tracked.mark_lost(state.runner_id, "its runner is not there any more")

    async def _reconcile(self) -> None:
        version = self._version
        if version is None:
            return
        states = {state.name: state for state in self._tracked.runners()}
        pools: dict[str, list[HandlerInfo]] = {}
        for info in version.handlers:
            pools.setdefault(info.pool, []).append(info)
        drain_seconds = version.settings.drain_seconds
        for runner in list(self._runners.values()):
            old = runner.generation != version.generation or runner.pool not in pools
            if old and runner.unhurried:
                runner.unhurried, runner.retiring_since = False, None
            if old or runner.retiring_since is not None:
                await self._retire(runner, states.get(runner.name), drain_seconds)
        all_basic = all(runner.basic for runner in self._runners.values())
        idle_limit = await idle_limit_of(version.settings, all_basic=all_basic)
        self._scarce = await self._make_room(pools, version, states)
        for pool, infos in pools.items():
            try:
                await self._fit(pool, infos, version, states, idle_limit)
            except Exception:
                log.exception("the pool %s could not be looked after; trying again", pool)

    async def _retire(
        self, runner: PooledRunner, state: RunnerView | None, drain_seconds: float
    ) -> None:
        """Give a runner no more attempts, let it finish what it runs, and then end it.

        The first call stops its claims, and only a later call ends it: a tick on its way may still
        bring it a claim. Attempts that run longer than `drain_seconds` are given back, uncharged.
        A runner that the tracker has not heard of may hold attempts too, so it gets some time.
        """
        now = time.monotonic()
        if runner.retiring_since is None:
            runner.retiring_since = now
        retiring = now - runner.retiring_since
        if state is None:
            if retiring > _ADOPTION_SECONDS or not (runner.alive or runner.adopted):
                await self._end(runner)
            return
        if not state.retiring:
            state.retiring = True
        elif not state.held:
            await self._end(runner)
        elif retiring > drain_seconds and not runner.unhurried:
            runner.log("is ended; what it ran is given back", logging.WARNING)
            await self._end(runner)

    async def _make_room(
        self,
        pools: Mapping[str, list[HandlerInfo]],
        version: HandlersVersion,
        states: Mapping[str, RunnerView],
    ) -> frozenset[str]:
        """Retire runners if that makes room for what waits in Ray; return the scarce resources."""
        least = {}
        for pool, infos in pools.items():
            rule = await size_rule(infos[0], version.settings, 0.0)
            least[pool] = rule.least + rule.spare
        plan = await plan_room(pools, least, list(self._runners.values()), states)
        for name in plan.retire:
            if (runner := self._runners.get(name)) is not None:
                runner.log("makes room for what waits for resources")
                runner.unhurried = True
                await self._retire(runner, states.get(name), math.inf)
        return plan.scarce

    async def _fit(
        self,
        pool: str,
        infos: list[HandlerInfo],
        version: HandlersVersion,
        states: Mapping[str, RunnerView],
        idle_limit: float,
    ) -> None:
        """Add or retire runners of a pool, so that it has as many as it should have."""
        # Only this generation counts: an older runner that is leaving must not push the basic
        # runners into slots that reserve a processor.
        here = [
            runner
            for runner in self._runners.values()
            if runner.pool == pool and runner.generation == version.generation
        ]
        mine = [runner for runner in here if runner.retiring_since is None]
        now = time.monotonic()
        known = {
            runner.name: state
            for runner in mine
            if (state := states.get(runner.name)) is not None
            and (state.capacity_by_type or state.held)
        }
        for runner in mine:
            if runner.name not in states and runner.is_mute(now):
                runner.log("gives no sign, and is replaced", logging.WARNING)
                self.replace(runner.name)
        starting = [runner for runner in mine if runner.name not in known]
        idle = [
            runner
            for runner in mine
            if runner.name in known and runner.is_idle(known[runner.name], now)
        ]
        own = self._sizes[pool] = await size_rule(infos[0], version.settings, idle_limit)
        rule = self.nested.rule(pool, own, len(mine), known.values())
        change = change_of_size(
            PoolState(
                waiting=await self._tracked.has_ready([info.task_type for info in infos]),
                busy=len(mine) - len(idle) - len(starting),
                starting_seconds=tuple(now - runner.active_at for runner in starting),
                idle_seconds=tuple(now - runner.active_at for runner in idle),
            ),
            rule,
        )
        for _ in range(self.failures.allowed(pool, change)):
            slot = free_slot(here)
            # A runner beyond the limit stands in for one that waits: it reserves no processor.
            basic = slot <= rule.least + rule.spare or len(here) >= own.most
            if not basic and self._scarce & reserves(infos[0], basic=basic).keys():
                break
            here.append(await self._make(pool, slot, basic, infos, version))
        # Runners in the highest slots leave first: only they reserve a processor.
        leaving = sorted([*idle, *starting], key=lambda runner: -runner.slot)
        for runner in leaving[: max(0, -change)]:
            await self._retire(runner, states.get(runner.name), version.settings.drain_seconds)

    async def _make(
        self, pool: str, slot: int, basic: bool, infos: list[HandlerInfo], version: HandlersVersion
    ) -> PooledRunner:
        settings = version.settings
        name = runner_name(pool, slot, version.generation)
        plan = RunnerPlan(
            name=name,
            pool=pool,
            generation=version.generation,
            task_types=tuple(info.task_type for info in infos),
            modules=settings.task_modules,
            artifacts_url=settings.artifacts_url,
            max_tasks=settings.runner_max_tasks,
            max_memory_bytes=settings.runner_max_memory_bytes,
            environment=version.environment,
            offload_bytes=settings.offload_bytes,
            max_result_bytes=settings.max_result_bytes,
            folder=version.folder,
            trace_parenting=settings.trace_parenting,
        )
        options = actor_options(infos[0], plan, basic=basic)
        if pool == REMOTE_POOL:  # if it dies, all remote tasks on all nodes end
            options["scheduling_strategy"] = await asyncio.to_thread(at_the_head)
        kind = TaskRunner if pool == REMOTE_POOL else WarmRunner
        # In a thread, as it waits for the control store: is there an actor of this name?
        actor = await asyncio.to_thread(lambda: ray.remote(kind).options(**options).remote(plan))
        runner = self._adopt(name, actor, basic=basic)
        runner.log("is made")
        if self._retired:  # `stop` was called meanwhile
            await self._end(runner)
        return runner

    def _adopt(self, name: str, actor: Any, *, basic: bool = False) -> PooledRunner:
        runner = PooledRunner(name, actor, active_at=time.monotonic(), basic=basic)
        runner.watch = asyncio.ensure_future(self._watch(runner))
        self._runners[name] = runner
        return runner

    async def _end(self, runner: PooledRunner) -> None:
        self._runners.pop(runner.name, None)
        if runner.watch is not None:
            runner.watch.cancel()
        self._let_go(runner)
        await kill(runner.actor, no_restart=True)

    def _let_go(self, runner: PooledRunner) -> None:
        """Give back what a runner holds. It gets no more, even if it calls before its end."""
        lives = {state.runner_id for state in self._tracked.runners() if state.name == runner.name}
        if runner.life is not None:  # it may be about to make its first call
            lives.add(runner.life[0])
        for runner_id in lives:
            self._tracked.release_runner(runner_id)
            self._tracked.mark_lost(runner_id, "its runner was ended", cause=LossCause.OUTSIDE)

    def _forget(self, runner: PooledRunner) -> None:
        if self._runners.get(runner.name) is runner:
            del self._runners[runner.name]

    def _kill_soon(self, runner: PooledRunner, *, no_restart: bool) -> None:
        task = asyncio.ensure_future(kill(runner.actor, no_restart=no_restart))
        self._killing.add(task)
        task.add_done_callback(self._killing.discard)

    async def _watch(self, runner: PooledRunner) -> None:
        """Tell the tracker of each death of a runner; Ray starts it again by itself."""
        while True:
            try:
                present = await runner.actor.identity.remote()
                if runner.life not in (None, present):
                    self._note_death(runner, Death("its process was started again"))
                runner.life, runner.alive = present, True
                if not runner.up:
                    runner.trouble = await runner.actor.came_up.remote()
                    runner.up = runner.trouble is None
                    if runner.up:
                        self.failures.came_up(runner.pool)
                await runner.actor.watch.remote()
            except Exception as error:
                if not isinstance(error, RayError):
                    log.exception("%s cannot be watched; trying again", runner.name)
                death = await known_death(runner.life[1]) if runner.life is not None else None
                gone = isinstance(error, ActorDiedError | RuntimeEnvSetupError)
                if death is not None or gone:
                    self._note_death(runner, death or Death(_end_of(error)))
                if gone:
                    self._forget(runner)
                if self._runners.get(runner.name) is not runner:
                    return
                await asyncio.sleep(_DEATH_SECONDS)  # short, to know the next life before it dies

    def _note_death(self, runner: PooledRunner, death: Death) -> None:
        life, runner.life = runner.life, None
        came_up, trouble = runner.up, runner.trouble
        runner.up, runner.trouble = False, None
        if life is not None:
            runner.log(f"died: {death.reason}", logging.WARNING)
            runner.active_at, runner.alive = time.monotonic(), False
            self._mark_lost(life[0], death)
        if came_up:
            return
        lines = end_of_log(None if life is None else life[1])
        if self.failures.record(runner.pool, trouble or death.reason, lines):
            runner.log("cannot come up, and is tried again later", logging.ERROR)
            self._forget(runner)
            self._kill_soon(runner, no_restart=True)

    def _mark_lost(self, runner_id: str, death: Death) -> None:
        telling = asyncio.ensure_future(tell_death(self._tracked, runner_id, death))
        self._killing.add(telling)
        telling.add_done_callback(self._killing.discard)


def _end_of(error: Exception) -> str:
    return f"its actor is gone: {' '.join(str(error).split())[-300:]}"
