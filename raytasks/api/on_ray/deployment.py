"""The Ray Serve deployment of the API."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import ray
from ray import serve
from ray.serve.schema import ApplicationStatus
from starlette.types import ASGIApp

from raytasks.api.announcement import Announcement
from raytasks.api.app import create_app
from raytasks.api.listening.replica_listener import ReplicaListener
from raytasks.api.on_ray.replica_end import replica_ends
from raytasks.api.on_ray.replica_place import hosts_now, rank_here
from raytasks.api.on_ray.short_way import open_short_way
from raytasks.api.on_ray.tracker_backend import TrackerBackend
from raytasks.api.reapplied import Applied, Reapplied
from raytasks.api.request_bounds import max_requests
from raytasks.api.spreading import Spreading
from raytasks.api.watchdog import Watchdog
from raytasks.handling.registry import Registry
from raytasks.observe.log_setup import LogOptions, log_to_stderr
from raytasks.pools.handlers_version import HandlersVersion
from raytasks.pools.reading import read_version
from raytasks.pools.versions import DeployAnswer
from raytasks.settings import Settings, is_loopback, load_settings
from raytasks.tracker.on_ray.creation import get_or_create_tracker

log = logging.getLogger(__name__)

APP_NAME = "raytasks"
API_NAME = "api"
NEAR_SECONDS = 5.0
"""How often a replica without direct access to the tracker's database looks for it, in seconds."""


@serve.deployment(
    name=API_NAME,
    ray_actor_options={"num_cpus": 0},
    health_check_period_s=5,
    health_check_timeout_s=10,
    graceful_shutdown_timeout_s=20,
)
@serve.ingress()
class ApiDeployment:
    """A stateless replica of the API. It makes the tracker if there is none."""

    def __init__(self, version: HandlersVersion, applied: Mapping[str, float]) -> None:
        log_to_stderr(LogOptions.of(version.settings))
        self._version = version
        self._applied = applied
        self._backend = TrackerBackend(version.settings)
        self._keeping: asyncio.Future[Any] | None = None
        self._announcing: asyncio.Future[Any] | None = None
        self._moving: asyncio.Future[None] | None = None
        self._listener: ReplicaListener | None = None
        self._spreading = Spreading(
            version.settings.api_replicas,
            lambda name: self._backend.is_first(f"{_app_name()} {name}"),
            rank=rank_here,
            hosts=hosts_now,
        )

    async def __serve_build_asgi_app__(self) -> ASGIApp:
        """Return the app; called by Serve in the replica, after the constructor.

        Raises `SettingsError` if it would be open to strangers, and `VersionRefused` if the trial
        of this replica's build has failed.
        """
        settings = self._version.settings
        host = await asyncio.to_thread(listening_host)
        settings.check_served(host)
        backend = self._backend
        watchdog = Watchdog(
            backend.ping,
            backend.replace,
            backend.epoch,
            backend.life,
            lease_seconds=settings.lease_seconds,
        )
        self._keeping = asyncio.gather(self._keep_near(), watchdog.run())
        announcement = Announcement(lambda: self._backend.announce(self._version))
        await announcement.first()
        reapplied = Reapplied(_applied, self._look_at_the_code, self._applied.get(_app_name()))
        self._announcing = asyncio.gather(announcement.repeat(), reapplied.run())
        if host is not None and not is_loopback(host):  # else other hosts do not reach a replica
            self._moving = asyncio.ensure_future(self._spreading.run())
        registry = Registry.load(settings.task_modules, self._version.folder)
        app = create_app(self._backend, registry, settings)
        if settings.listen_port is not None:
            service = f"Ray cluster {ray.get_runtime_context().gcs_address}"
            self._listener = ReplicaListener(app, settings, service, replica_ends)
            backend.reasons_here = self._listener.reasons
            self._listener.begin()
        open_short_way(app, max_requests(settings.max_waiting_clients))
        return app

    async def check_health(self) -> None:
        """Raise `MakesWay` if this replica is to be replaced; Serve calls this now and then."""
        self._spreading.check()

    async def __del__(self) -> None:
        """End the listener; Serve calls this when the replica ends, and waits for it."""
        if self._listener is not None:
            await self._listener.end()

    async def _look_at_the_code(self, applied_at: float) -> None:
        """Deploy the code as it is now, if it has changed. One of all replicas does it."""
        if await self._backend.is_first(f"{_app_name()} {applied_at}"):
            await _DEPLOY_CHANGED.remote(self._version.fingerprint, _app_name())

    async def _keep_near(self) -> None:
        while True:
            for find in (self._backend.find_channel, self._backend.find_database):
                try:
                    await find()
                except Exception as error:
                    log.warning("%s failed, and is tried again: %s", find.__name__, error)
            await asyncio.sleep(NEAR_SECONDS)


def _deploy_changed(fingerprint: str, app_name: str) -> None:
    """Have the tracker try the code as it is now, and roll the API. Runs in a fresh process."""
    version = present_version(load_settings())
    if version.fingerprint == fingerprint:
        return
    answer: DeployAnswer = ray.get(get_or_create_tracker(version.settings).deploy.remote(version))
    if answer.error is None:
        serve.run(application(version), name=app_name, route_prefix="/")


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
    """Return the host where Serve listens. No public call tells this from within a replica."""
    client: Any = serve.context._get_global_client()
    host: str | None = client.http_config.host
    return host


def present_version(settings: Settings) -> HandlersVersion:
    """Return a new build of the handlers as their modules are now; see `read_version`.

    Raises `HandlerError`, and `SettingsError` if it would be open to strangers.
    """
    settings.check_served()
    return read_version(settings)


def application(
    version: HandlersVersion, applied: Mapping[str, float] | None = None
) -> serve.Application:
    """Return the Serve application of the API, for `serve.run` and `serve deploy`.

    `applied` holds, by name, when each application was last deployed to Serve before this build.
    Times are seconds since the epoch, by Serve's clock: see `Reapplied`.
    """
    settings = version.settings
    options = {
        "num_replicas": settings.api_replicas,
        "max_ongoing_requests": max_requests(settings.max_waiting_clients),
    }
    app: serve.Application = ApiDeployment.options(**options).bind(version, applied or {})  # type: ignore[attr-defined]
    return app
