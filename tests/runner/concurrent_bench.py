"""A tracker and a concurrent runner in the test's process, which dies as a process does."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from raytasks.artifacts.artifact_store import ArtifactStore
from raytasks.handling.declaration import handler_of
from raytasks.handling.registry import Registry
from raytasks.handling.submission import check_submission
from raytasks.model.states import OutcomeKind
from raytasks.model.tasks import Task
from raytasks.protocol.commands import CancelTask
from raytasks.protocol.messages import Exchange, Orders
from raytasks.protocol.queries import TaskDetail
from raytasks.runner.concurrent_work import ConcurrentWork
from raytasks.runner.exchange_loop import ExchangeLoop
from raytasks.runner.identity import Identity
from raytasks.runner.workplace import Workplace
from raytasks.store.store import Store
from raytasks.tracker.core import Tracker
from tests.tracking import wait_final

PATIENCE = 30
LEASE_SECONDS = 600  # whatever only a heartbeat would bring about fails by its time limit


async def until(condition: Callable[[], object]) -> None:
    """Return once something is true that nothing tells of."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.01)


class ConcurrentBench:
    """Whenever the runner has left, its attempts are lost as if its process had ended."""

    def __init__(self, url: str, folder: Path, *targets: Callable[..., Any]) -> None:
        self.registry = Registry(handler_of(target) for target in targets)
        self.tracker = Tracker(Store(url), lease_seconds=LEASE_SECONDS)
        self.folder = folder
        self.lives = 0
        self.queued: bool | None = None
        self.work: ConcurrentWork

    @asynccontextmanager
    async def running(self, *, max_tasks: int = 10_000) -> AsyncIterator["ConcurrentBench"]:
        await self.tracker.start()
        tracker = asyncio.ensure_future(self.tracker.run())
        runner = asyncio.ensure_future(self._lives(max_tasks))
        try:
            async with asyncio.timeout(PATIENCE):
                yield self
        finally:
            for task in (runner, tracker):
                task.cancel()
            await asyncio.gather(runner, tracker, return_exceptions=True)
            await self.tracker.close()

    async def _lives(self, max_tasks: int) -> None:
        while True:
            self.lives += 1
            workplace = Workplace(artifacts=ArtifactStore(str(self.folder / "artifacts")))
            work = self.work = ConcurrentWork(
                self.registry, workplace, max_tasks=max_tasks, max_memory_bytes=2**50
            )
            identity = Identity(f"life-{self.lives}", "runner", "concurrent", "g")
            exchange = ExchangeLoop(
                identity, work, self._call, waits_for=work.waits_for, slots=True
            )
            work.begin(exchange)
            await exchange.run()
            self.tracker.mark_lost(identity.runner_id, "its process ended")

    async def _call(self, exchange: Exchange) -> Orders:
        """Make an exchange. If `queued` is set, the orders say that instead of what is so."""
        orders = await self.tracker.exchange(exchange)
        return orders if self.queued is None else replace(orders, queued=self.queued)

    async def submit(self, task_type: str, *payloads: Any, **options: Any) -> list[str]:
        return await self.submit_all(
            [{"task_type": task_type, "payload": payload, **options} for payload in payloads]
        )

    async def submit_all(self, requests: list[dict[str, Any]]) -> list[str]:
        """Submit tasks in one tick, so that one claim gets them all."""
        tasks = [check_submission(request, self.registry) for request in requests]
        await self.tracker.submit(tasks)
        return [task.task_id for task in tasks]

    async def ends(self, task_ids: list[str]) -> list[Task]:
        found = [await wait_final(self.tracker, task_id) for task_id in task_ids]
        return [task for task in found if task is not None]

    async def outcomes(self, task_id: str) -> list[OutcomeKind]:
        found = await self.tracker.read(TaskDetail(task_id))
        assert found is not None
        return [OutcomeKind(attempt.outcome) for attempt in found[1]]

    async def cancel(self, task_id: str) -> None:
        await self.tracker.execute(CancelTask(task_id))
