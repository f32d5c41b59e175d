"""The warm runner: a detached actor that runs attempts in its own process, one at a time."""

import asyncio

import ray

from raytasks.artifacts import ArtifactStore
from raytasks.runner.attempt import Workplace
from raytasks.runner.exchange import ExchangeLoop
from raytasks.runner.host import RunnerHost
from raytasks.runner.link import identity, tracker_call
from raytasks.runner.plan import RunnerPlan
from raytasks.runner.warm_work import WarmWork


class WarmRunner:
    """The actor. It works by itself from the start; its methods are for its pool."""

    def __init__(self, plan: RunnerPlan) -> None:
        self._plan = plan
        self._identity = identity(plan)
        self._host = RunnerHost(self._main)
        self._host.start()

    async def runner_id(self) -> str:
        """Return the id of this life of the actor."""
        return self._identity.runner_id

    async def watch(self) -> None:
        """Never return: the call fails when this process dies, and so the pool hears of it."""
        await asyncio.Event().wait()

    async def _main(self) -> None:
        context = ray.get_runtime_context()
        workplace = Workplace(
            artifacts=ArtifactStore(self._plan.artifacts_url),
            node_id=context.get_node_id(),
            worker_id=context.get_worker_id(),
        )
        work = WarmWork(
            self._plan.registry(),
            workplace,
            max_tasks=self._plan.max_tasks,
            max_memory_bytes=self._plan.max_memory_bytes,
        )
        exchange = ExchangeLoop(self._identity, work, tracker_call())
        work.begin(exchange)
        await exchange.run()
