"""The Ray Serve deployment of the API, and the way from a replica to the tracker."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayActorError, RayTaskError
from ray.serve.schema import ApplicationStatus
from starlette.types import ASGIApp

from raytasks.api.announcement import Announcement
from raytasks.api.app import create_app
from raytasks.api.on_ray.tracker_sight import epoch_of, life_of
from raytasks.api.reads import DirectReads, Reads, open_reads
from raytasks.api.reapplied import Applied, Reapplied
from raytasks.api.watchdog import Watchdog
from raytasks.handling.registry import Registry
from raytasks.model.bulk import BulkFilter, BulkOperation, NewBulk
from raytasks.model.events import EventPage, EventQuery
from raytasks.model.tasks import Accepted, Attempt, NewTask, Page, StoreUnavailable, Task, TaskQuery
from raytasks.pools.deployment import Deployment
from raytasks.pools.reading import read_deployment
from raytasks.pools.versions import Announced, DeployAnswer
from raytasks.protocol import codec as wire
from raytasks.protocol import local_socket as local_rpc
from raytasks.protocol.messages import Feed, FeedPart, FeedQuery
from raytasks.runner.on_ray.killing import kill
from raytasks.runner.on_ray.tracker_client import BY_RAY, SOCKET, open_line
from raytasks.settings import Settings, load_settings
from raytasks.store.place import DatabasePlace
from raytasks.tracker.on_ray.actor import get_or_create_tracker

log = logging.getLogger(__name__)

APP_NAME = "raytasks"
API_NAME = "api"
REQUESTS_BESIDE_WAITING = 1000
"""How many requests a replica takes at a time beside those that wait."""

CALL_SECONDS = 9.0
"""How long a call of the tracker may take, so that an HTTP request is answered in ten seconds. The
tracker itself refuses what takes too long a little earlier."""

MUTE = "the tracker does not answer; try again soon"

_TAKE_OVER_SECONDS = 30.0

NEAR_SECONDS = 5.0
"""How often a replica looks for a way to the tracker's database, while it has none."""


class RayBackend:
    """The API's backend: the tracker's actor, and for reads its database, once it is found."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._tracker = get_or_create_tracker(settings)
        self._reads: Reads = _TrackerReads(self._call)
        self._place: DatabasePlace | None = None
        self._known: DatabasePlace | None = None  # where it is, whether it can be read or not
        self._line: local_rpc.Connection | None = None

    async def submit(self, tasks: Sequence[NewTask]) -> Accepted:
        """See `Backend.submit`."""
        return wire.duplicates_of(await self._send("submit", wire.encode(tasks)))

    async def cancel(self, task_id: str, namespace: str | None = None) -> Task:
        """See `Backend.cancel`."""
        task: Task = await self._call("cancel", task_id, namespace)
        return task

    async def retry(self, task_id: str, namespace: str | None = None) -> Task:
        """See `Backend.retry`."""
        task: Task = await self._call("retry", task_id, namespace)
        return task

    async def task(self, task_id: str) -> tuple[Task, list[Attempt]] | None:
        """See `Backend.task`."""
        return await self._reads.task(task_id)

    async def tasks(self, task_ids: Sequence[str]) -> dict[str, Task]:
        """See `Backend.tasks`."""
        return await self._reads.tasks(task_ids)

    async def page(self, query: TaskQuery) -> Page:
        """See `Backend.page`."""
        return await self._reads.page(query)

    async def events(self, queries: Sequence[EventQuery]) -> list[EventPage | None]:
        """See `Backend.events`."""
        return await self._reads.events(queries)

    async def changes(
        self, epoch: int, after: int, seconds: float, part: FeedPart = FeedPart.CHANGES
    ) -> Feed:
        """See `Backend.changes`."""
        query = wire.encode(FeedQuery(epoch, after, seconds, part))
        return wire.feed_of(await self._send("changes", query, CALL_SECONDS + seconds))

    async def bulk_start(self, new: NewBulk) -> tuple[BulkOperation, bool]:
        """See `Backend.bulk_start`."""
        made: tuple[BulkOperation, bool] = await self._call("bulk_start", new)
        return made

    async def bulk_count(self, asked: BulkFilter) -> int | None:
        """See `Backend.bulk_count`."""
        return await self._reads.bulk_count(asked)

    async def bulk_get(self, bulk_id: str, namespace: str) -> BulkOperation | None:
        """See `Backend.bulk_get`."""
        return await self._reads.bulk_get(bulk_id, namespace)

    async def bulk_list(self, namespace: str) -> list[BulkOperation]:
        """See `Backend.bulk_list`."""
        return await self._reads.bulk_list(namespace)

    async def stats(self, namespace: str) -> dict[str, Any]:
        """See `Backend.stats`."""
        stats: dict[str, Any] = await self._call("stats", namespace)
        return stats

    async def waiting_for(self, task_id: str) -> list[dict[str, Any]] | None:
        """See `Backend.waiting_for`."""
        reasons: list[dict[str, Any]] | None = await self._call("waiting_for", task_id)
        return reasons

    async def health(self) -> dict[str, Any]:
        """See `Backend.health`."""
        report: dict[str, Any] = await self._call("health")
        report["tracker"]["way"] = BY_RAY if self._line is None or self._line.lost else SOCKET
        return report

    async def ping(self) -> None:
        """Return when the tracker has answered."""
        await self._tracker.ping.remote()

    async def epoch(self) -> object:
        """Return the tracker's epoch as it is in SQL; see `raytasks.api.on_ray.tracker_sight`."""
        return None if self._known is None else await epoch_of(self._tracker, self._known)

    async def life(self) -> object:
        """Return what tells one process of the tracker from the next."""
        return await life_of(self._tracker)

    async def replace(self) -> None:
        """End the tracker's process; Ray starts it again, and sends it the open calls again."""
        await kill(self._tracker, no_restart=False)

    async def announce(self, deployment: Deployment) -> Announced:
        """Tell the tracker of this replica's build. Raises `StoreUnavailable`."""
        told: Announced = await self._call("announce", deployment)
        return told

    async def is_first(self, name: str) -> bool:
        """Return whether this is the first call with this name, of all replicas."""
        first: bool = await self._call("is_first", name)
        return first

    async def find_database(self) -> None:
        """Read from the tracker's database from now on, if it can be read from this node.

        Until then, and where it cannot, the tracker reads. Does nothing once that is decided.
        """
        if isinstance(self._reads, DirectReads):
            return
        tracker, here = self._tracker, ray.get_runtime_context().get_node_id()
        if self._place is not None and self._place.is_bound_elsewhere(here):
            return
        place: DatabasePlace = await self._call("database", seconds=_TAKE_OVER_SECONDS)
        if tracker is self._tracker:
            self._known = place
        reads = await open_reads(place, here)
        if tracker is not self._tracker:
            return  # replaced meanwhile: the next look will tell
        self._place = place
        if reads is not None:
            self._reads = reads

    async def find_line(self) -> None:
        """Call the tracker over a connection of our own from now on, if it is on this node.

        To be asked again and again: it may be another process meanwhile.
        """
        tracker = self._tracker
        line = await open_line(tracker, self._line)
        if tracker is self._tracker:
            self._line = line
        elif line is not None:
            line.close()

    async def _send(self, method: str, message: bytes, seconds: float = CALL_SECONDS) -> bytes:
        """Send a message of `raytasks.protocol.codec`, in the fastest way that there is."""
        line = self._line
        if line is not None and not line.lost:
            try:
                async with asyncio.timeout(seconds):
                    return await line.call(method, message)
            except local_rpc.ConnectionLost:
                pass  # it may have arrived: to say it twice does no harm, as with Ray's own retries
            except TimeoutError:
                raise StoreUnavailable(MUTE) from None
        answer: bytes = await self._call(method, message, seconds=seconds)
        return answer

    async def _call(
        self, method: str, *arguments: Any, seconds: float | None = CALL_SECONDS
    ) -> Any:
        """Call the tracker; an error that it raised comes as it was raised there.

        Raises `StoreUnavailable` when it has not answered after so many seconds (None: for ever).
        """
        tracker = self._tracker
        try:
            async with asyncio.timeout(seconds):
                return await getattr(tracker, method).remote(*arguments)
        except TimeoutError:
            raise StoreUnavailable(MUTE) from None
        except RayTaskError as error:
            raise error.cause from None
        except RayActorError as error:
            # Dead for good, e.g. ended by hand: the next call finds, or makes, another one.
            log.warning("the tracker is gone: %s", error)
            await self._find_another(tracker)
            raise StoreUnavailable("the tracker is away; try again soon") from None

    async def _find_another(self, former: Any) -> None:
        tracker = await asyncio.to_thread(get_or_create_tracker, self._settings)
        if self._tracker is not former:  # another call was faster
            return
        self._tracker = tracker
        if self._line is not None:
            self._line.close()
        # It may be elsewhere, and use another database.
        reads, self._reads = self._reads, _TrackerReads(self._call)
        self._place = self._known = None
        if isinstance(reads, DirectReads):
            reads.close()


class _TrackerReads:
    """Reads that the tracker makes."""

    def __init__(self, call: Callable[..., Awaitable[Any]]) -> None:
        self._call = call

    async def task(self, task_id: str) -> tuple[Task, list[Attempt]] | None:
        found: tuple[Task, list[Attempt]] | None = await self._call("task", task_id)
        return found

    async def tasks(self, task_ids: Sequence[str]) -> dict[str, Task]:
        found: dict[str, Task] = await self._call("tasks", list(task_ids))
        return found

    async def page(self, query: TaskQuery) -> Page:
        page: Page = await self._call("page", query)
        return page

    async def events(self, queries: Sequence[EventQuery]) -> list[EventPage | None]:
        pages: list[EventPage | None] = await self._call("events", list(queries))
        return pages

    async def bulk_count(self, asked: BulkFilter) -> int | None:
        matched: int | None = await self._call("bulk_count", asked)
        return matched

    async def bulk_get(self, bulk_id: str, namespace: str) -> BulkOperation | None:
        found: BulkOperation | None = await self._call("bulk_get", bulk_id, namespace)
        return found

    async def bulk_list(self, namespace: str) -> list[BulkOperation]:
        found: list[BulkOperation] = await self._call("bulk_list", namespace)
        return found


@serve.deployment(
    name=API_NAME,
    ray_actor_options={"num_cpus": 0},
    health_check_period_s=5,
    health_check_timeout_s=10,
    graceful_shutdown_timeout_s=20,
)
@serve.ingress()
class Api:
    """A replica of the API: stateless. It makes the tracker if there is none."""

    def __init__(self, deployment: Deployment, applied: Mapping[str, float]) -> None:
        self._deployment = deployment
        self._applied = applied
        self._backend = RayBackend(deployment.settings)
        self._keeping: asyncio.Future[Any] | None = None
        self._announcing: asyncio.Future[Any] | None = None

    async def __serve_build_asgi_app__(self) -> ASGIApp:
        """Return the app; called by Serve in the replica, after the constructor.

        Raises `SettingsError` where it would be open to strangers, and `VersionRefused` where the
        trial of this replica's build has failed.
        """
        settings = self._deployment.settings
        settings.check_served(await asyncio.to_thread(listening_host))
        backend = self._backend
        watchdog = Watchdog(
            backend.ping,
            backend.replace,
            backend.epoch,
            backend.life,
            lease_seconds=settings.lease_seconds,
        )
        self._keeping = asyncio.gather(self._keep_near(), watchdog.run())
        announcement = Announcement(lambda: self._backend.announce(self._deployment))
        await announcement.first()
        reapplied = Reapplied(_applied, self._look_at_the_code, self._applied.get(_app_name()))
        self._announcing = asyncio.gather(announcement.repeat(), reapplied.run())
        registry = Registry.load(settings.task_modules, self._deployment.folder)
        return create_app(self._backend, registry, settings)

    async def _look_at_the_code(self, applied_at: float) -> None:
        """Deploy the code as it is now, if it has changed; one replica of all does it."""
        if await self._backend.is_first(f"{_app_name()} {applied_at}"):
            await _DEPLOY_CHANGED.remote(self._deployment.fingerprint, _app_name())

    async def _keep_near(self) -> None:
        while True:
            for find in (self._backend.find_line, self._backend.find_database):
                try:
                    await find()
                except Exception as error:
                    log.warning("%s failed, and is tried again: %s", find.__name__, error)
            await asyncio.sleep(NEAR_SECONDS)


def _deploy_changed(fingerprint: str, app_name: str) -> None:
    """Run in a fresh process: have the tracker try the code as it is now, and roll the API."""
    deployment = present_deployment(load_settings())
    if deployment.fingerprint == fingerprint:
        return
    answer: DeployAnswer = ray.get(
        get_or_create_tracker(deployment.settings).deploy.remote(deployment)
    )
    if answer.error is None:
        serve.run(application(deployment), name=app_name, route_prefix="/")


_DEPLOY_CHANGED = ray.remote(num_cpus=0, max_calls=1, max_retries=0)(_deploy_changed)


def _app_name() -> str:
    return serve.get_replica_context().app_name


async def _applied() -> Applied | None:
    status = await asyncio.to_thread(serve.status)
    app = status.applications.get(_app_name())
    if app is None:
        return None
    return Applied(app.last_deployed_time_s, app.status == ApplicationStatus.RUNNING)


def listening_host() -> str | None:
    """Return where Serve listens. There is no public way to ask it, from within."""
    client: Any = serve.context._get_global_client()
    host: str | None = client.http_config.host
    return host


def present_deployment(settings: Settings) -> Deployment:
    """Return a new build of the handlers as their modules are now; see `read_deployment`.

    Raises `HandlerError`, and `SettingsError` if it would be open to strangers.
    """
    settings.check_served()
    return read_deployment(settings)


def application(
    deployment: Deployment, applied: Mapping[str, float] | None = None
) -> serve.Application:
    """Return the Serve application of the API, for `serve.run` and `serve deploy`.

    `applied` says when Serve was last told of its applications, before this build (by name, in
    seconds since the epoch, by Serve's clock): see `Reapplied`.
    """
    settings = deployment.settings
    options = {
        "num_replicas": settings.api_replicas,
        "max_ongoing_requests": settings.max_waiting_clients + REQUESTS_BESIDE_WAITING,
    }
    app: serve.Application = Api.options(**options).bind(deployment, applied or {})  # type: ignore[attr-defined]
    return app
