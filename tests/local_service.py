"""The real API over the real tracker's core and a warm runner, all in this process: no Ray."""

import asyncio
import contextlib
import socket
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from raytasks.api.app import create_app
from raytasks.api.direct_reads import DirectReads
from raytasks.artifacts.artifact_store import ArtifactStore
from raytasks.handling.registry import Registry
from raytasks.model.tasks import Accepted, NewTask
from raytasks.protocol.commands import Command
from raytasks.protocol.messages import Feed, FeedPart
from raytasks.protocol.queries import Answer, Query, is_stored
from raytasks.runner.exchange_loop import ExchangeLoop
from raytasks.runner.identity import Identity
from raytasks.runner.warm_work import WarmWork
from raytasks.runner.workplace import Workplace
from raytasks.settings import Settings
from raytasks.store.store import Store
from raytasks.tracker.core import Tracker
from raytasks.tracker.outlook import FleetOutlook

URL = "http://localhost"
"""Where the API seems to be for a client that calls it in this process."""


class Backend:
    """The tracker's core as the API's backend, beside direct reads, as in a replica.

    With `failure` set, every call raises that. `calls` counts those of the tracker.
    """

    def __init__(self, tracker: Tracker, reads: DirectReads) -> None:
        self._tracker = tracker
        self._reads = reads
        self.failure: Exception | None = None
        self.calls: Counter[str] = Counter()

    async def submit(self, tasks: Sequence[NewTask]) -> Accepted:
        """See `raytasks.api.backend.Backend`, as the others."""
        return await self._asked("submit").submit(tasks)

    async def execute(self, command: Command[Answer]) -> Answer:
        return await self._asked(type(command).__name__).execute(command)

    async def read(self, query: Query[Answer]) -> Answer:
        if is_stored(query):
            self._fail()
            return await self._reads.read(query)
        return await self._asked(type(query).__name__).read(query)

    async def changes(
        self, epoch: int, after: int, seconds: float, part: FeedPart = FeedPart.CHANGES
    ) -> Feed:
        return await self._asked("changes").changes(epoch, after, seconds, part)

    def _asked(self, name: str) -> Tracker:
        self._fail()
        self.calls[name] += 1
        return self._tracker

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure


class GivenSettings(Settings):
    """Settings that are given in full: nothing is read from the environment or a file."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the only source: looking through the others costs more than the service does."""
        return (init_settings,)


class LocalService:
    """A running service: `app` is the API, `backend` stands between it and the tracker."""

    def __init__(self, database_url: str, folder: Path, **settings: Any) -> None:
        self.settings = GivenSettings(
            database_url=database_url,
            **{
                "task_modules": ("tests.scripted",),
                "artifacts_url": str(folder / "artifacts"),
                **settings,
            },
        )
        self.registry = Registry.load(self.settings.task_modules)
        self.artifacts = ArtifactStore(self.settings.artifacts_url)
        self.tracker = Tracker(
            Store(database_url), lease_seconds=1.0, max_backlog=self.settings.max_backlog
        )
        self.tracker.observer.outlook = FleetOutlook(self.tracker.fleet, self.registry.task_types)
        self.tracker.set_handlers(self.registry.infos())
        self.reads = DirectReads(database_url)
        self.backend = Backend(self.tracker, self.reads)
        self.app = create_app(self.backend, self.registry, self.settings)

    @contextlib.asynccontextmanager
    async def running(self, *, runner: bool = True) -> AsyncIterator["LocalService"]:
        """Run the tracker, and with `runner` a warm runner that takes all task types."""
        await self.tracker.start()
        background = [asyncio.ensure_future(self.tracker.run())]
        if runner:
            background.append(asyncio.ensure_future(self._exchange().run()))
        try:
            yield self
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            await self.tracker.close()
            self.reads.close()

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        """Return a client of the API in this process."""
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
            yield client

    def _exchange(self) -> ExchangeLoop:
        work = WarmWork(
            self.registry,
            Workplace(
                artifacts=self.artifacts,
                offload_bytes=self.settings.offload_bytes,
                max_result_bytes=self.settings.max_result_bytes,
                node_id="node",
                worker_id="worker",
                puts_back=False,  # the process belongs to the tests
                host="machine",
            ),
            max_tasks=100_000,
            max_memory_bytes=2**40,
        )
        identity = Identity(
            "runner-1", "runner", "shared", "generation",
            node_id="node", worker_id="worker", host="machine", pid=42,
        )  # fmt: skip
        exchange = ExchangeLoop(identity, work, self.tracker.exchange)
        work.begin(exchange)
        return exchange


class Api:
    """A client of the API, and the service behind it."""

    def __init__(self, service: LocalService, client: httpx.AsyncClient) -> None:
        self.service = service
        self.client = client

    async def submit(self, **request: Any) -> dict[str, Any]:
        """Submit a task (by default one that succeeds), and return it."""
        body = {"task_type": "scripted", "payload": {}} | request
        response = await self.client.post("/tasks/", json=body)
        assert response.status_code == 202, response.text
        task: dict[str, Any] = response.json()
        return task

    async def finished(self, task: dict[str, Any]) -> dict[str, Any]:
        """Wait until a task has ended, and return it."""
        response = await self.client.get(f"/tasks/{task['task_id']}", params={"wait": 20})
        assert response.status_code == 200, response.text
        ended: dict[str, Any] = response.json()
        assert ended["finished_at"] is not None, ended
        return ended

    async def begun(self, task: dict[str, Any]) -> None:
        """Wait until an attempt of a task runs."""
        epoch, after = 0, -1
        while True:
            feed = await self.service.tracker.changes(epoch, after, 20)
            epoch, after = feed.epoch, feed.last
            current = await self.client.get(f"/tasks/{task['task_id']}")
            if current.json()["state"] == "RUNNING":
                return

    async def total(self) -> int:
        """Return how many tasks are stored."""
        response = await self.client.get("/tasks/")
        total: int = response.json()["total"]
        return total


async def call(
    api: Api, method: str, path: str, body: Any = None, status: int = 200
) -> dict[str, Any]:
    """Send a request, check its status, and return its answer."""
    response = await api.client.request(method, path, json=body)
    assert response.status_code == status, response.text
    document: dict[str, Any] = response.json()
    return document


@contextlib.asynccontextmanager
async def serving(service: LocalService, *, runner: bool) -> AsyncIterator[Api]:
    """Run a service, and give a client of it."""
    async with asyncio.timeout(100), service.running(runner=runner), service.client() as client:
        yield Api(service, client)


class _Server(uvicorn.Server):
    """Tells when it listens, since a thread cannot be awaited."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listens = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listens.set()


@contextlib.contextmanager
def served(service: LocalService, port: int = 0) -> Iterator[str]:
    """Serve the service on a loopback port, by default a free one; the URL is what it gives.

    It runs in a thread. What its handlers declare is in force before it answers.
    """
    listener = socket.create_server(("127.0.0.1", port))
    server = _Server(uvicorn.Config(service.app, log_level="critical", lifespan="off"))

    async def serve() -> None:
        async with service.running():
            await service.tracker.ticker.background.schedules.in_force.wait()
            await server.serve([listener])

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert server.listens.wait(20)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
    assert not thread.is_alive()
