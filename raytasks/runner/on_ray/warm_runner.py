"""The warm runner: a detached actor that runs attempts in its own process.

It runs them one at a time, or side by side if a handler of its pool is concurrent.
"""

import asyncio

import ray

from raytasks.artifacts.artifact_store import ArtifactStore
from raytasks.observe.traces import flush
from raytasks.runner.concurrent_work import ConcurrentWork
from raytasks.runner.exchange_loop import ExchangeLoop
from raytasks.runner.on_ray.children import ChildTasks
from raytasks.runner.on_ray.other_tasks import namespace_of
from raytasks.runner.on_ray.ray_internals import Connected
from raytasks.runner.on_ray.tracker_client import RunnerActor, TrackerClient
from raytasks.runner.warm_work import LINGER_SECONDS, WarmWork
from raytasks.runner.workplace import Workplace


class WarmRunner(RunnerActor):
    """The actor of a warm runner."""

    _work: WarmWork | ConcurrentWork | None = None

    @property
    def is_up(self) -> bool:
        """Whether the handlers' modules and classes are loaded."""
        return self._work is not None and self._work.loaded

    async def stack(self, task_id: str, attempt: int) -> str | None:
        """Return the stack of an attempt: see `RunnerActor.stack`."""
        return None if self._work is None else self._work.stack(task_id, attempt)

    async def _main(self) -> None:
        context = ray.get_runtime_context()
        workplace = Workplace(
            artifacts=ArtifactStore(self._plan.artifacts_url),
            offload_bytes=self._plan.offload_bytes,
            max_result_bytes=self._plan.max_result_bytes,
            node_id=context.get_node_id(),
            worker_id=context.get_worker_id(),
            make_children=ChildTasks,
            own_process=True,
            unfit=Connected().lost,
            trace_parenting=self._plan.trace_parenting,
            namespace_of=namespace_of,
        )
        registry = self._plan.registry()
        kind = ConcurrentWork if registry.is_concurrent else WarmWork
        work = kind(
            registry,
            workplace,
            max_tasks=self._plan.max_tasks,
            max_memory_bytes=self._plan.max_memory_bytes,
        )
        self._work = work
        exchange = ExchangeLoop(
            self._identity,
            work,
            TrackerClient().exchange,
            linger_seconds=LINGER_SECONDS,
            is_alive=work.is_alive,
            waits_for=work.waits_for,
            slots=registry.is_concurrent,
        )
        work.begin(exchange)
        await exchange.run()
        await asyncio.to_thread(flush)
