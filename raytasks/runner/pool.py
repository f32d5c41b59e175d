"""The pools of runners: keeps as many runners of each kind as there should be."""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import ray
from ray.exceptions import ActorDiedError, RayError

from raytasks.models import REMOTE_POOL, HandlerInfo, HandlerKind
from raytasks.runner.link import NAMESPACE
from raytasks.runner.plan import RunnerPlan
from raytasks.runner.sizing import PoolState, change_of_size
from raytasks.runner.task import TaskRunner
from raytasks.runner.warm import WarmRunner
from raytasks.settings import Settings

log = logging.getLogger(__name__)

RECONCILE_SECONDS = 0.5
_ADOPTION_SECONDS = 3.0
_START_SECONDS = 30.0
_CROWDED_IDLE_SECONDS = 2.0
_PREFIX = "runner."
_TASK_ONLY_OPTIONS = ("max_retries", "retry_exceptions")


@dataclass(frozen=True)
class Deployment:
    """What a deployer brings: the handlers, and the settings that their runners get.

    `generation` names the version of the handlers' code; of two deployments, the one with the
    later `deployed_at` (seconds since the epoch) counts.
    """

    generation: str
    deployed_at: float
    handlers: tuple[HandlerInfo, ...]
    settings: Settings
    environment: dict[str, str] = field(default_factory=dict)


class RunnerView(Protocol):
    """What the pools look at of a runner's state in the tracker."""

    name: str
    runner_id: str
    batch: int
    retiring: bool

    @property
    def held(self) -> Mapping[str, Any]:
        """What the runner has claimed, by task id."""


@dataclass
class _Runner:
    """A runner's actor. `name` is `runner.{pool}.{slot}@{generation}`."""

    name: str
    actor: Any
    active_at: float
    basic: bool = True
    batch: int = 0
    retiring: bool = False
    watch: "asyncio.Task[None] | None" = None

    def is_idle(self, state: RunnerView | None, now: float) -> bool:
        """Return whether the runner has nothing to do; one that is only starting has not begun."""
        if state is None:
            return now - self.active_at > _START_SECONDS
        if state.held or state.batch != self.batch:
            self.active_at, self.batch = now, state.batch
        return not state.held

    @property
    def pool(self) -> str:
        return self.name.removeprefix(_PREFIX).rpartition("@")[0].rpartition(".")[0]

    @property
    def slot(self) -> int:
        return int(self.name.rpartition("@")[0].rpartition(".")[2])

    @property
    def generation(self) -> str:
        return self.name.rpartition("@")[2]


class RunnerPools:
    """Makes, watches and ends the runners of the present deployment.

    It knows the tracker by functions: `states` returns the states of all runners, `waits` whether
    tasks of these types wait that could run now, and `lose` is told of each runner that died.
    """

    def __init__(
        self,
        *,
        states: Callable[[], Sequence[RunnerView]],
        waits: Callable[[tuple[str, ...]], Awaitable[bool]],
        lose: Callable[[str, str], None],
    ) -> None:
        self._states = states
        self._waits = waits
        self._lose = lose
        self._deployment: Deployment | None = None
        self._runners: dict[str, _Runner] = {}
        self._retired = False
        self._news = asyncio.Event()

    def deploy(self, deployment: Deployment) -> None:
        """Make this the present deployment, unless a later one is. Safe to repeat."""
        known = self._deployment
        if self._retired:
            return
        if known is None or deployment.deployed_at >= known.deployed_at:
            self._deployment = deployment
            self._news.set()

    async def run(self) -> None:
        """Adopt the runners that are there, and keep the pools as they should be, for ever."""
        for name in await asyncio.to_thread(_names_of_runners):
            with contextlib.suppress(ValueError):  # it has just gone
                self._adopt(name, ray.get_actor(name, NAMESPACE))
        await self._lose_strangers()
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), RECONCILE_SECONDS)
            self._news.clear()
            try:
                await self._reconcile()
            except Exception:
                log.exception("the pools could not be looked after; trying again")

    def stop(self) -> None:
        """Make no more runners, for good."""
        self._deployment = None
        self._retired = True

    async def end_all(self) -> None:
        """End all runners, whatever they run."""
        self.stop()
        for runner in list(self._runners.values()):
            await self._end(runner)

    async def _lose_strangers(self) -> None:
        """Tell the tracker of runners in its database that are not in this cluster any more.

        After a restart of the whole cluster this saves waiting for their leases to end.
        """
        asked = [runner.actor.runner_id.remote() for runner in self._runners.values()]
        try:
            present = await asyncio.wait_for(asyncio.gather(*asked), _ADOPTION_SECONDS)
        except (TimeoutError, RayError):
            return  # one of them is being started again: the leases will tell
        for state in self._states():
            if state.runner_id not in present:
                self._lose(state.runner_id, "its runner is not there any more")

    async def _reconcile(self) -> None:
        deployment = self._deployment
        if deployment is None:
            return
        states = {state.name: state for state in self._states()}
        pools: dict[str, list[HandlerInfo]] = {}
        for info in deployment.handlers:
            pools.setdefault(info.pool, []).append(info)
        for runner in list(self._runners.values()):
            old = runner.generation != deployment.generation or runner.pool not in pools
            if old or runner.retiring:
                await self._retire(runner, states.get(runner.name))
        idle_limit = await self._idle_limit(deployment.settings)
        for pool, infos in pools.items():
            await self._fit(pool, infos, deployment, states, idle_limit)

    async def _retire(self, runner: _Runner, state: RunnerView | None) -> None:
        """Let a runner finish what it runs, give it nothing more, and then end it.

        It is ended by a later call than the one that stops its claims: a tick that is on its way
        may still bring it one.
        """
        if state is not None and not (state.retiring and not state.held):
            runner.retiring = state.retiring = True
            return
        await self._end(runner)

    async def _idle_limit(self, settings: Settings) -> float:
        """Return how long a runner beyond the least may be idle: less where it is in the way.

        Such a runner reserves a processor, which a remote task may be waiting for.
        """
        if all(runner.basic for runner in self._runners.values()):
            return settings.runner_idle_seconds
        available = await asyncio.to_thread(ray.available_resources)
        crowded = available.get("CPU", 0.0) < 1
        return min(settings.runner_idle_seconds, _CROWDED_IDLE_SECONDS if crowded else math.inf)

    async def _fit(
        self,
        pool: str,
        infos: list[HandlerInfo],
        deployment: Deployment,
        states: Mapping[str, RunnerView],
        idle_limit: float,
    ) -> None:
        """Add or retire runners of a pool, so that it has as many as it should have."""
        here = [runner for runner in self._runners.values() if runner.pool == pool]
        mine = [runner for runner in here if not runner.retiring]
        now = time.monotonic()
        idle = [runner for runner in mine if runner.is_idle(states.get(runner.name), now)]
        starting = [runner for runner in mine if runner.name not in states and runner not in idle]
        least, most = await self._bounds(infos[0], deployment.settings)
        change = change_of_size(
            PoolState(
                waiting=await self._waits(tuple(info.task_type for info in infos)),
                busy=len(mine) - len(idle) - len(starting),
                starting=len(starting),
                idle_seconds=tuple(now - runner.active_at for runner in idle),
            ),
            least=least,
            most=most,
            idle_limit_seconds=idle_limit,
        )
        for _ in range(change):
            # Of this generation only: an older one that is leaving must not push the basic
            # runners into slots that reserve a processor.
            slot = _free_slot(
                [runner for runner in here if runner.generation == deployment.generation]
            )
            here.append(self._make(pool, slot, slot <= least, infos, deployment))
        # The runners in the highest slots go first: only they reserve a processor.
        for runner in sorted(idle, key=lambda runner: -runner.slot)[: max(0, -change)]:
            await self._retire(runner, states.get(runner.name))

    async def _bounds(self, info: HandlerInfo, settings: Settings) -> tuple[int, int]:
        match info.kind:
            case HandlerKind.CLASS:
                return info.actors
            case HandlerKind.REMOTE:
                return 1, 1
            case HandlerKind.FUNCTION:
                most = settings.warm_runners_max
                if most is None:
                    resources = await asyncio.to_thread(ray.cluster_resources)
                    most = int(resources.get("CPU", 1))
                return settings.warm_runners_min, max(1, settings.warm_runners_min, most)

    def _make(
        self, pool: str, slot: int, basic: bool, infos: list[HandlerInfo], deployment: Deployment
    ) -> _Runner:
        settings = deployment.settings
        name = f"{_PREFIX}{pool}.{slot}@{deployment.generation}"
        plan = RunnerPlan(
            name=name,
            pool=pool,
            generation=deployment.generation,
            task_types=tuple(info.task_type for info in infos),
            modules=settings.task_modules,
            artifacts_url=settings.artifacts_url,
            max_tasks=settings.runner_max_tasks,
            max_memory_bytes=settings.runner_max_memory_bytes,
            environment=deployment.environment,
        )
        options = actor_options(infos[0], plan, basic=basic)
        kind = TaskRunner if pool == REMOTE_POOL else WarmRunner
        log.info("making %s", name)
        return self._adopt(name, ray.remote(kind).options(**options).remote(plan), basic=basic)

    def _adopt(self, name: str, actor: Any, *, basic: bool = False) -> _Runner:
        runner = _Runner(name, actor, active_at=time.monotonic(), basic=basic)
        runner.watch = asyncio.ensure_future(self._watch(runner))
        self._runners[name] = runner
        return runner

    async def _end(self, runner: _Runner) -> None:
        self._runners.pop(runner.name, None)
        if runner.watch is not None:
            runner.watch.cancel()
        ray.kill(runner.actor, no_restart=True)
        for state in self._states():
            if state.name == runner.name:
                self._lose(state.runner_id, "its runner was ended")

    async def _watch(self, runner: _Runner) -> None:
        """Tell the tracker of each death of a runner; Ray starts it again by itself."""
        while True:
            runner_id = None
            try:
                runner_id = await runner.actor.runner_id.remote()
                await runner.actor.watch.remote()
            except RayError as error:
                if runner_id is not None:
                    log.warning("%s died: %s", runner.name, type(error).__name__)
                    self._lose(runner_id, "its runner's process died")
                if isinstance(error, ActorDiedError):
                    self._runners.pop(runner.name, None)
                    return
                await asyncio.sleep(RECONCILE_SECONDS)


def actor_options(info: HandlerInfo, plan: RunnerPlan, *, basic: bool) -> dict[str, Any]:
    """Return the Ray options of a runner's actor.

    The `basic` runners, those that a pool always has, reserve no processor, so that they leave
    room for remote tasks on a small machine; each one beyond reserves one, so that Ray places it
    well and its autoscaler sees the need. A class handler's own options come before that.
    """
    own: dict[str, Any] = dict(info.ray_options) if info.kind is HandlerKind.CLASS else {}
    for name in _TASK_ONLY_OPTIONS:
        own.pop(name, None)
    return {
        "num_cpus": 0 if basic else 1,
        **own,
        "name": plan.name,
        "namespace": NAMESPACE,
        "lifetime": "detached",
        "get_if_exists": True,
        "max_restarts": -1,
        "max_concurrency": 1000,
        "runtime_env": plan.runtime_env(own.get("runtime_env")),
    }


def _names_of_runners() -> list[str]:
    named = ray.util.list_named_actors(all_namespaces=True)
    return [
        actor["name"]
        for actor in named
        if actor["namespace"] == NAMESPACE and actor["name"].startswith(_PREFIX)
    ]


def _free_slot(runners: list[_Runner]) -> int:
    taken = {runner.slot for runner in runners}
    return next(slot for slot in range(1, len(taken) + 2) if slot not in taken)
