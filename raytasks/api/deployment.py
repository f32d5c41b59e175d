"""The Ray Serve deployment of the API, and the way from a replica to the tracker."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import ray
from ray import serve
from ray.exceptions import RayActorError, RayTaskError
from starlette.types import ASGIApp

from raytasks import wire
from raytasks.api.app import create_app
from raytasks.api.watchdog import Watchdog
from raytasks.events import EventPage, EventQuery
from raytasks.models import (
    Attempt,
    Duplicate,
    Feed,
    NewTask,
    Page,
    StoreUnavailable,
    Task,
    TaskQuery,
)
from raytasks.operations import BulkFilter, BulkOperation, NewBulk
from raytasks.registry import Registry
from raytasks.runner.options import check_ray_options
from raytasks.runner.pool import Deployment
from raytasks.settings import Settings, handler_environment
from raytasks.tracker.actor import get_or_create_tracker

log = logging.getLogger(__name__)

APP_NAME = "raytasks"
REQUESTS_BESIDE_WAITING = 1000
"""How many requests a replica takes at a time beside those that wait."""

DEPLOY_SECONDS = 5.0
"""How often a replica makes sure that the tracker knows its deployment: a new tracker does not."""

Answer = TypeVar("Answer")


class RayBackend:
    """The tracker's actor as the API's backend."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._tracker = get_or_create_tracker(settings)

    async def submit(self, tasks: Sequence[NewTask]) -> dict[str, Duplicate]:
        """See `Backend.submit`."""
        message = wire.encode(tasks)
        return wire.duplicates_of(await self._call(lambda tracker: tracker.submit.remote(message)))

    async def cancel(self, task_id: str, namespace: str | None = None) -> Task:
        """See `Backend.cancel`."""
        task: Task = await self._call(lambda tracker: tracker.cancel.remote(task_id, namespace))
        return task

    async def retry(self, task_id: str, namespace: str | None = None) -> Task:
        """See `Backend.retry`."""
        task: Task = await self._call(lambda tracker: tracker.retry.remote(task_id, namespace))
        return task

    async def task(self, task_id: str) -> tuple[Task, list[Attempt]] | None:
        """See `Backend.task`."""
        found: tuple[Task, list[Attempt]] | None = await self._call(
            lambda tracker: tracker.task.remote(task_id)
        )
        return found

    async def tasks(self, task_ids: Sequence[str]) -> dict[str, Task]:
        """See `Backend.tasks`."""
        found: dict[str, Task] = await self._call(
            lambda tracker: tracker.tasks.remote(list(task_ids))
        )
        return found

    async def page(self, query: TaskQuery) -> Page:
        """See `Backend.page`."""
        page: Page = await self._call(lambda tracker: tracker.page.remote(query))
        return page

    async def events(self, queries: Sequence[EventQuery]) -> list[EventPage | None]:
        """See `Backend.events`."""
        pages: list[EventPage | None] = await self._call(
            lambda tracker: tracker.events.remote(list(queries))
        )
        return pages

    async def changes(self, epoch: int, after: int, seconds: float) -> Feed:
        """See `Backend.changes`."""
        feed: Feed = await self._call(lambda tracker: tracker.changes.remote(epoch, after, seconds))
        return feed

    async def bulk_start(self, new: NewBulk) -> tuple[BulkOperation, bool]:
        """See `Backend.bulk_start`."""
        made: tuple[BulkOperation, bool] = await self._call(
            lambda tracker: tracker.bulk_start.remote(new)
        )
        return made

    async def bulk_count(self, asked: BulkFilter) -> int | None:
        """See `Backend.bulk_count`."""
        matched: int | None = await self._call(lambda tracker: tracker.bulk_count.remote(asked))
        return matched

    async def bulk_get(self, bulk_id: str, namespace: str) -> BulkOperation | None:
        """See `Backend.bulk_get`."""
        found: BulkOperation | None = await self._call(
            lambda tracker: tracker.bulk_get.remote(bulk_id, namespace)
        )
        return found

    async def bulk_list(self, namespace: str) -> list[BulkOperation]:
        """See `Backend.bulk_list`."""
        found: list[BulkOperation] = await self._call(
            lambda tracker: tracker.bulk_list.remote(namespace)
        )
        return found

    async def stats(self, namespace: str) -> dict[str, Any]:
        """See `Backend.stats`."""
        stats: dict[str, Any] = await self._call(lambda tracker: tracker.stats.remote(namespace))
        return stats

    async def health(self) -> dict[str, Any]:
        """See `Backend.health`."""
        report: dict[str, Any] = await self._call(lambda tracker: tracker.health.remote())
        return report

    async def ping(self) -> None:
        """Return when the tracker has answered."""
        await self._tracker.ping.remote()

    async def replace(self) -> None:
        """End the tracker's process; Ray starts it again, and sends it the open calls again."""
        await asyncio.to_thread(ray.kill, self._tracker, no_restart=False)

    async def deploy(self, deployment: Deployment) -> None:
        """Tell the tracker which handlers there are; it makes their runners."""
        await self._call(lambda tracker: tracker.deploy.remote(deployment))

    async def _call(self, call: Callable[[Any], Awaitable[Answer]]) -> Answer:
        """Call the tracker; an error that it raised comes as it was raised there."""
        try:
            return await call(self._tracker)
        except RayTaskError as error:
            raise error.cause from None
        except RayActorError as error:
            # Dead for good, e.g. ended by hand: the next call finds, or makes, another one.
            log.warning("the tracker is gone: %s", error)
            self._tracker = await asyncio.to_thread(get_or_create_tracker, self._settings)
            raise StoreUnavailable("the tracker is away; try again soon") from None


@serve.deployment(
    name="api",
    ray_actor_options={"num_cpus": 0},
    health_check_period_s=5,
    health_check_timeout_s=10,
    graceful_shutdown_timeout_s=20,
)
@serve.ingress()
class Api:
    """A replica of the API: stateless. It makes the tracker if there is none."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._backend = RayBackend(deployment.settings)
        self._keeping: asyncio.Future[Any] | None = None

    async def __serve_build_asgi_app__(self) -> ASGIApp:
        """Return the app; called by Serve in the replica, after the constructor.

        Raises `SettingsError` where it would be open to strangers.
        """
        settings = self._deployment.settings
        settings.check_served(await asyncio.to_thread(listening_host))
        watchdog = Watchdog(self._backend.ping, self._backend.replace)
        self._keeping = asyncio.gather(self._keep_deployed(), watchdog.run())
        return create_app(self._backend, Registry.load(settings.task_modules), settings)

    async def _keep_deployed(self) -> None:
        while True:
            try:
                await self._backend.deploy(self._deployment)
            except Exception as error:
                log.warning("the deployment could not be announced: %s", error)
            await asyncio.sleep(DEPLOY_SECONDS)


def listening_host() -> str | None:
    """Return where Serve listens. There is no public way to ask it, from within."""
    client: Any = serve.context._get_global_client()
    host: str | None = client.http_config.host
    return host


def present_deployment(settings: Settings) -> Deployment:
    """Return the deployment of the handlers as their modules are now.

    Raises `HandlerError`, and `SettingsError` if it would be open to strangers.
    """
    settings.check_served()
    registry = Registry.load(settings.task_modules)
    check_ray_options(registry)
    return Deployment(
        generation=registry.fingerprint(),
        deployed_at=time.time(),
        handlers=registry.infos(),
        settings=settings,
        environment=handler_environment(),
    )


def application(deployment: Deployment) -> serve.Application:
    """Return the Serve application of the API, for `serve.run` and `serve deploy`."""
    settings = deployment.settings
    options = {
        "num_replicas": settings.api_replicas,
        "max_ongoing_requests": settings.max_waiting_clients + REQUESTS_BESIDE_WAITING,
    }
    app: serve.Application = Api.options(**options).bind(deployment)  # type: ignore[attr-defined]
    return app
