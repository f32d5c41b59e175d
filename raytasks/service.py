"""Bringing the service up on a Ray cluster, and taking it down in order."""

import contextlib
import logging
import time
from dataclasses import dataclass
from typing import Any

import httpx
import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve.config import HTTPOptions

from raytasks.api.deployment import APP_NAME, application, listening_host
from raytasks.models import RaytasksError
from raytasks.runner.link import NAMESPACE, TRACKER_NAME
from raytasks.runner.pool import Deployment
from raytasks.tracker.actor import get_or_create_tracker
from raytasks.tracker.results import RESULTS_NAME

_READY_SECONDS = 90.0
_POLL_SECONDS = 0.1


class ServiceError(RaytasksError):
    """The service did not come up. The text says what is missing."""


@dataclass(frozen=True)
class Endpoint:
    """Where the API listens."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """The URL for clients on this machine."""
        local = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host  # noqa: S104
        return f"http://{f'[{local}]' if ':' in local else local}:{self.port}"


def start_tracker(deployment: Deployment) -> Any:
    """Make the tracker, or find the one that is there; it makes the runners. Returns its handle."""
    tracker = get_or_create_tracker(deployment.settings)
    ray.get(tracker.deploy.remote(deployment))
    return tracker


def start_api(deployment: Deployment, endpoint: Endpoint) -> None:
    """Deploy the API on Ray Serve, and wait until it answers.

    Raises `ServiceError`, and `SettingsError` where it would be open to strangers.
    """
    logging.getLogger("ray.serve").setLevel(logging.WARNING)  # we tell what happens ourselves
    serve.start(http_options=HTTPOptions(host=endpoint.host, port=endpoint.port))
    deployment.settings.check_served(listening_host())  # maybe Serve ran before, elsewhere
    serve.run(application(deployment), name=APP_NAME, route_prefix="/")
    _wait_for(lambda: _answers(endpoint), f"the API does not answer at {endpoint.url}")


def wait_for_runners(tracker: Any, deployment: Deployment) -> dict[str, int]:
    """Wait until every pool that always has runners has one; return how many each pool has."""
    settings = deployment.settings
    wanted = {
        info.pool
        for info in deployment.handlers
        if (info.actors[0] if info.actors[1] else settings.warm_runners_min)
    }
    found: dict[str, int] = {}

    def there() -> bool:
        found.update(ray.get(tracker.ready.remote()))
        return wanted <= found.keys()

    _wait_for(there, "not all runners came up; the Ray logs say why")
    return found


def redeploy(deployment: Deployment) -> None:
    """Roll a new deployment out over the API that runs, and tell the tracker of it.

    A drain is over with it.
    Raises `ServiceError` if no service runs in this cluster.
    """
    tracker = _tracker()
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    ray.get(tracker.deploy.remote(deployment))
    ray.get(tracker.resume.remote())
    serve.run(application(deployment), name=APP_NAME, route_prefix="/")


def drain(seconds: float) -> int:
    """Have no task handed out any more, and wait until nothing runs.

    What runs for longer than `seconds` is given back, uncharged; returns how many attempts those
    are. Raises `ServiceError` if no service runs in this cluster.
    """
    released: int = ray.get(_tracker().drain.remote(seconds))
    return released


def resume() -> None:
    """Have tasks handed out again. Raises `ServiceError`."""
    ray.get(_tracker().resume.remote())


def stop_service(grace_seconds: float) -> int:
    """Take the API and its ingress down, then the runners, then the tracker.

    Running attempts get `grace_seconds` to end; the others are given back, uncharged, and run
    again when the service is up again. Returns how many those are.
    """
    serve.shutdown()
    try:
        tracker = _tracker()
        released: int = ray.get(tracker.stop.remote(grace_seconds), timeout=grace_seconds + 30)
        ray.kill(tracker, no_restart=True)
        with contextlib.suppress(ValueError):  # made by the first driver script
            ray.kill(ray.get_actor(RESULTS_NAME, NAMESPACE), no_restart=True)
    except (RayError, ServiceError):
        return 0
    return released


def _tracker() -> Any:
    try:
        return ray.get_actor(TRACKER_NAME, NAMESPACE)
    except ValueError:
        raise ServiceError("no raytasks service runs in this Ray cluster") from None


def _answers(endpoint: Endpoint) -> bool:
    try:
        answer = httpx.get(f"{endpoint.url}/openapi.json", timeout=2, trust_env=False)
    except httpx.HTTPError:
        return False
    return answer.status_code == 200


def _wait_for(condition: Any, complaint: str) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise ServiceError(complaint)
        time.sleep(_POLL_SECONDS)
