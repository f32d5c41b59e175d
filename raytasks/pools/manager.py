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

from raytasks.model.callbacks import CALLBACK_POOL
from raytasks.model.lines import end_of_line
from raytasks.model.states import LossCause
from raytasks.pools.cluster_view import PoolView
from raytasks.pools.deaths import known_death, tell_death
from raytasks.pools.declared_pools import DeclaredPool, declared_pools
from raytasks.pools.departures import Departures
from raytasks.pools.fitting import Fitting, counts_as_leaving
from raytasks.pools.handlers_version import HandlersVersion
from raytasks.pools.make_room import plan_room, reserves
from raytasks.pools.roster import (
    PooledRunner,
    RunnerView,
    Tracked,
    free_slots,
    runner_name,
    runners_present,
)
from raytasks.pools.size_rules import bounds_of, idle_limit_of, size_rule
from raytasks.pools.start_failures import StartFailures
from raytasks.pools.strangers import mark_strangers_lost
from raytasks.pools.viewing import pool_views
from raytasks.pools.worker_logs import end_of_log
from raytasks.runner.nested import NestedWaits
from raytasks.runner.on_ray.killing import kill
from raytasks.runner.on_ray.nodes import at_the_head, off_passing_nodes
from raytasks.runner.on_ray.ray_internals import Death
from raytasks.runner.on_ray.ray_options import actor_options
from raytasks.runner.on_ray.remote_runner import TaskRunner
from raytasks.runner.on_ray.warm_runner import WarmRunner
from raytasks.runner.plan import RunnerPlan
from raytasks.runner.sizing import SizeRule
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
        self.departures = Departures()
        self._fitting = Fitting(tracked, self.nested)
        self._declared: dict[str, tuple[int, int]] = {}  # by pool, as it was last looked after

    @property
    def settings(self) -> Settings | None:
        """The settings of the present version, if there is one."""
        return None if self._version is None else self._version.settings

    def views(self) -> list[PoolView]:
        """Return the pools with their runners, as they are now."""
        return pool_views(
            self._version,
            self._runners.values(),
            self._declared,
            self._tracked.pool_settings(),
            self.failures,
        )

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
        complete = await self.adopt()
        if complete and not self._tracked.has_predecessors():  # else the leases decide
            await mark_strangers_lost(self._tracked, list(self._runners.values()))
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RECONCILE_SECONDS):
                    await self._news.wait()
            self._news.clear()
            try:
                await self._reconcile()
            except Exception:
                log.exception("the pools could not be looked after; trying again")

    async def adopt(self) -> bool:
        """Find the runners that exist; return whether these are certainly all."""
        present, complete = await asyncio.to_thread(runners_present)
        for name, actor in present.items():
            if name not in self._runners:
                self._adopt(name, actor).adopted = True
        return complete

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

    async def _reconcile(self) -> None:
        version = self._version
        if version is None:
            return
        states = {state.name: state for state in self._tracked.runners()}
        pools = declared_pools(version.all_handlers)
        self.departures.look()
        for runner in list(self._runners.values()):
            state = states.get(runner.name)
            drain_seconds = version.settings.drain_seconds
            old = runner.generation != version.generation or runner.pool not in pools
            if old and runner.unhurried:
                runner.unhurried, runner.retiring_since = False, None
            left = self.departures.patience(None if state is None else state.node_id)
            if left is not None:
                runner.unhurried = left > 0 and not old
                drain_seconds = drain_seconds if left > 0 else 0
            if old or left is not None or runner.retiring_since is not None:
                await self._retire(runner, state, drain_seconds)
        all_basic = all(runner.basic for runner in self._runners.values())
        idle_limit = await idle_limit_of(version.settings, all_basic=all_basic)
        set_now = self._tracked.pool_settings()
        rules: dict[str, SizeRule] = {}
        for name, pool in pools.items():
            bounds = await bounds_of(pool, version.settings, set_now.get(name))
            self._declared[name] = bounds.declared
            rules[name] = size_rule(pool, bounds, idle_limit)
        self._scarce = await self._make_room(pools, rules, states)
        for name, pool in pools.items():
            try:
                await self._fit(pool, version, states, rules[name])
            except Exception:
                log.exception("the pool %s could not be looked after; trying again", name)

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
        pools: Mapping[str, DeclaredPool],
        rules: Mapping[str, SizeRule],
        states: Mapping[str, RunnerView],
    ) -> frozenset[str]:
        """Retire runners if that makes room for what waits in Ray; return the scarce resources."""
        least = {name: rule.least + rule.spare for name, rule in rules.items()}
        plan = await plan_room(pools, least, list(self._runners.values()), states)
        for name in plan.retire:
            if (runner := self._runners.get(name)) is not None:
                runner.log("makes room for what waits for resources")
                await self._retire_for_size(runner, states.get(name))
        return plan.scarce

    async def _retire_for_size(self, runner: PooledRunner, state: RunnerView | None) -> None:
        """Retire a runner that its pool does without. It finishes what it runs."""
        runner.unhurried = True
        await self._retire(runner, state, math.inf)

    async def _fit(
        self,
        pool: DeclaredPool,
        version: HandlersVersion,
        states: Mapping[str, RunnerView],
        rule: SizeRule,
    ) -> None:
        """Add or retire runners of a pool, so that it has as many as it should have."""
        # Only this generation counts: an older runner that is leaving must not push the basic
        # runners into slots that reserve a processor.
        here = [
            runner
            for runner in self._runners.values()
            if runner.pool == pool.name and runner.generation == version.generation
        ]
        now = time.monotonic()
        mine = [
            runner
            for runner in here
            if runner.retiring_since is None
            and not counts_as_leaving(runner, states.get(runner.name), now)
        ]
        for runner in mine:
            if runner.name not in states and runner.is_mute(now):
                runner.log("gives no sign, and is replaced", logging.WARNING)
                self.replace(runner.name)
        fit = await self._fitting.fit(
            pool, mine, states, rule, version.settings.runner_idle_seconds
        )
        growth = self.failures.allowed(pool.name, fit.change, fit.starting)
        making = []
        for size, slot in enumerate(free_slots(here, growth), len(here)):
            # The first runner always finds a place. One beyond the limit stands in for another.
            basic = slot <= max(1, rule.least + rule.spare) or size >= rule.most
            if not basic and self._scarce & reserves(pool, basic=basic).keys():
                break
            making.append(self._make(pool, slot, basic, version))
        made = await asyncio.gather(*making, return_exceptions=True)
        for error in filter(None, made):
            log.error("a runner of the pool %s could not be made: %r", pool.name, error)
        for runner in fit.leaving[: max(0, -fit.change)]:
            await self._retire_for_size(runner, states.get(runner.name))

    async def _make(
        self, pool: DeclaredPool, slot: int, basic: bool, version: HandlersVersion
    ) -> None:
        settings = version.settings
        name = runner_name(pool.name, slot, version.generation)
        plan = RunnerPlan(
            name=name,
            pool=pool.name,
            generation=version.generation,
            task_types=pool.task_types,
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
        if pool.name == CALLBACK_POOL:  # no other process gets the secrets
            plan = plan.for_callbacks(settings.callback_secrets, settings.callback_allowed_hosts)
        options = actor_options(pool.infos[0], plan, basic=basic)
        if pool.is_remote:  # if it dies, all remote tasks on all nodes end
            options |= await asyncio.to_thread(at_the_head)
        elif basic and not reserves(pool, basic=True):
            options = await asyncio.to_thread(off_passing_nodes, options)
        kind = TaskRunner if pool.is_remote else WarmRunner
        # In a thread, as it waits for the control store: is there an actor of this name?
        actor = await asyncio.to_thread(lambda: ray.remote(kind).options(**options).remote(plan))
        runner = self._adopt(name, actor, basic=basic)
        runner.log("is made")
        if self._retired:  # `stop` was called meanwhile
            await self._end(runner)

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
                    begun_at = time.monotonic()
                    runner.trouble = await runner.actor.came_up.remote()
                    runner.up = runner.trouble is None
                    if runner.up:
                        self.failures.came_up(runner.pool)
                        self._fitting.starts.add(runner.pool, time.monotonic() - begun_at)
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
    return f"its actor is gone: {end_of_line(error)}"
