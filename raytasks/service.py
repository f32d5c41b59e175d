"""The service on a Ray cluster: its start, its deployments, and its stop in order."""

import contextlib
import logging
import time
from dataclasses import dataclass
from typing import Any

import click
import httpx
import ray
from ray import serve
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError
from ray.serve._private.constants import SERVE_NAMESPACE
from ray.serve.config import HTTPOptions
from ray.serve.exceptions import RayServeException

from raytasks.api.on_ray.deployment import (
    API_NAME,
    APP_NAME,
    application,
    listening_host,
    present_version,
)
from raytasks.cluster.tracker_calls import (
    Keeping,
    NoServiceHere,
    ServiceError,
    check_version,
    keep_nothing,
    tracker_here,
)
from raytasks.model.lines import end_of_line, one_line
from raytasks.pools.handlers_version import HandlersVersion
from raytasks.pools.roster import runners_present
from raytasks.pools.versions import DeployAnswer
from raytasks.protocol.person import person_here
from raytasks.runner.on_ray.ray_internals import is_away
from raytasks.settings import Settings
from raytasks.tracker.on_ray.creation import get_or_create_tracker

_READY_SECONDS = 90.0
_POLL_SECONDS = 0.1
_STOP_SECONDS = 30.0  # for the tracker's stop, beside the grace of what runs
_LOOK_SECONDS = 1.0
_AWAY_SECONDS = 20.0  # a tracker that another node can have is back before that


@dataclass(frozen=True)
class Endpoint:
    """The address where the API listens."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """The URL for clients on this machine."""
        local = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host  # noqa: S104
        return f"http://{f'[{local}]' if ':' in local else local}:{self.port}"


class AlreadyServed(ServiceError):
    """The handlers were refused.

    An earlier version is in force, and the service continues with it.

    The text says why, and names that version.
    """


def start_tracker(version: HandlersVersion) -> tuple[Any, DeployAnswer]:
    """Make the tracker, or find the existing one, and put the handlers in force.

    The tracker tries them first, and makes their runners. Returns its handle, and its answer.
    Raises `ServiceError` if they fail their trial, `AlreadyServed` if others are in force, and
    `OtherVersion` if a service of another version of raytasks runs.
    """
    tracker = get_or_create_tracker(version.settings)
    check_version(tracker)
    return tracker, _answer(tracker.deploy.remote(version, person_here()))


def _answer(call: Any) -> DeployAnswer:
    try:
        answer: DeployAnswer = ray.get(call)
    except RayTaskError as error:
        raise ServiceError(f"the handlers could not be tried: {error.cause}") from None
    if answer.error is None:
        return answer
    if answer.in_force is None:
        raise ServiceError(f"the handlers are refused: {answer.error}")
    raise AlreadyServed(
        f"the handlers are refused, and version {answer.in_force} stays in force: {answer.error}"
    )


def built_application(settings: Settings) -> serve.Application:
    """Return the application of the handlers as they are now, after a trial in the cluster.

    Serve calls it to build the application. With `serve run`, that is in its own process, before it
    connects to Ray. With `serve deploy`, it is in a task of the cluster. Serve removes the old
    replicas before the new ones are up, so the handlers are tried here. Raises `ServiceError`.
    """
    # Read this first: a deployment that Serve gets later is not in this build.
    applied = _applied() if ray.is_initialized() else {}
    version = present_version(settings)
    if not ray.is_initialized():
        ray.init(**_init_arguments())
    start_tracker(version)
    return application(version, applied)


def _applied() -> dict[str, float]:
    """Return when each application was last deployed to Serve, by Serve's own clock."""
    try:
        return {name: app.last_deployed_time_s for name, app in serve.status().applications.items()}
    except Exception:  # then the replicas take the first time that they see
        return {}


def _init_arguments() -> dict[str, Any]:
    """Return the arguments with which `serve run` will connect to Ray."""
    from ray.dashboard.modules.dashboard_sdk import parse_runtime_env_args

    command = click.get_current_context(silent=True)
    asked = command.params if command is not None else {}
    runtime_env = parse_runtime_env_args(
        runtime_env=asked.get("runtime_env"),
        runtime_env_json=asked.get("runtime_env_json"),
        working_dir=asked.get("working_dir"),
    )
    return {
        "address": asked.get("address"),
        "namespace": SERVE_NAMESPACE,
        "runtime_env": runtime_env,
    }


def start_api(version: HandlersVersion, endpoint: Endpoint) -> None:
    """Deploy the API on Ray Serve, and wait until it answers.

    Raises `ServiceError`, and `SettingsError` if it would be open to strangers.
    """
    _start_ingress(endpoint)
    version.settings.check_served(listening_host())  # Serve may have run before, elsewhere
    try:
        serve.run(application(version), name=APP_NAME, route_prefix="/")
    except (RuntimeError, TimeoutError) as error:
        raise ServiceError(
            f"the API does not come up at {endpoint.url}: {end_of_line(error)} "
            "(the logs of Ray Serve say more)"
        ) from error
    _wait_for(lambda: _answers(endpoint), f"the API does not answer at {endpoint.url}")


def _start_ingress(endpoint: Endpoint) -> None:
    """Start Serve, or find the running one, which keeps its address.

    On a busy machine Serve may give up its first proxy; then it starts another one by itself.
    Raises `ServiceError` if Serve does not start at all.
    """
    logging.getLogger("ray.serve").setLevel(logging.WARNING)  # we report the steps ourselves
    options = HTTPOptions(host=endpoint.host, port=endpoint.port)
    try:
        try:
            serve.start(http_options=options)
        except (RayActorError, TimeoutError):
            serve.start(http_options=options)  # finds its controller, and does not wait for proxies
    except (RayError, TimeoutError, RuntimeError) as error:
        raise ServiceError(f"Ray Serve does not start: {end_of_line(error)}") from error


def wait_for_runners(tracker: Any, version: HandlersVersion) -> dict[str, int]:
    """Wait until every pool that always has runners has one.

    Returns how many runners each pool has.
    """
    found: dict[str, int] = {}

    def there() -> bool:
        sizes = ray.get(tracker.ready.remote())
        found.update({pool: size for pool, (size, _) in sizes.items() if size})
        pools = {info.pool for info in version.handlers}
        known = all(sizes.get(pool, (0, None))[1] is not None for pool in pools)
        return known and all(size or not least for size, least in sizes.values())

    _wait_for(there, "not all runners came up; the Ray logs say why")
    return found


def redeploy(version: HandlersVersion, keeping: Keeping = keep_nothing) -> DeployAnswer:
    """Try a build, put it in force, and roll the running API; return the tracker's answer.

    It also ends a drain. Raises `ServiceError` if no service runs in this cluster, or if the API
    could not be rolled. It also raises it if the build fails its trial; then nothing has changed.
    """
    tracker = tracker_here()
    check_version(tracker)
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    by = person_here()
    with keeping("the version may still come into force: see 'raytasks versions'"):
        answer = _answer(tracker.deploy.remote(version, by))
    with keeping(
        f"version {answer.number} is deployed, and its runners take the tasks, but the API may "
        "still be of the one before: deploy again"
    ):
        ray.get(tracker.end_drain.remote(by))
        _roll(version, answer)
    return answer


def _roll(version: HandlersVersion, answer: DeployAnswer) -> None:
    try:
        serve.run(application(version), name=_app_name(), route_prefix="/")
    except Exception as error:
        raise ServiceError(
            f"version {answer.number} is in force, and its runners take the tasks; but Ray Serve "
            f"could not roll the API, which may be away: {one_line(error)}; deploy again, and see "
            "'serve status'"
        ) from None


def _app_name() -> str:
    """Return the name of the API's application.

    `serve run` and `serve deploy` may set another one.
    """
    running = serve.status().applications
    if APP_NAME in running:
        return APP_NAME
    ours = [name for name, app in running.items() if set(app.deployments) == {API_NAME}]
    return ours[0] if len(ours) == 1 else APP_NAME


def stop_service(grace_seconds: float) -> int | None:
    """Stop the API and its ingress, then the runners, then the tracker.

    Running attempts get `grace_seconds` to end. The others are released, uncharged, and run again
    when the service is up again. Returns how many were released; None if no tracker answered. Then
    the next one finds in SQL what ran.
    """
    serve.shutdown()
    try:
        return _stop_tracker(tracker_here(), grace_seconds)
    except NoServiceHere:  # somebody has stopped it
        return 0
    except RayError:
        return None


def leave_cluster(grace_seconds: float, keeping: Keeping = keep_nothing) -> int | None:
    """Stop the service in this cluster like `stop_service`, and nothing else of Serve.

    Raises `ServiceError` if none runs here.
    """
    tracker = tracker_here()
    with keeping("the service may be stopped in part: run 'raytasks stop' again"):
        with contextlib.suppress(RayServeException):  # Serve is gone already
            serve.delete(_app_name())
        return _stop_tracker(tracker, grace_seconds)


def _stop_tracker(tracker: Any, grace_seconds: float) -> int | None:
    try:
        call = tracker.stop.remote(grace_seconds, person_here())
    except TypeError:  # a tracker of an earlier version does not ask who
        call = tracker.stop.remote(grace_seconds)
    if not _is_answered(call, tracker, grace_seconds + _STOP_SECONDS):
        ray.kill(tracker, no_restart=True)
        for runner in runners_present()[0].values():  # nobody else would end them
            ray.kill(runner, no_restart=True)
        return None
    released: int = ray.get(call)
    ray.kill(tracker, no_restart=True)
    return released


def _is_answered(call: Any, tracker: Any, seconds: float) -> bool:
    """Wait for the answer to a call. False: the tracker has had no process for `_AWAY_SECONDS`.

    Such a tracker waits for a node that can have it. Raises `GetTimeoutError` after `seconds`.
    """
    began = seen = time.monotonic()
    while not ray.wait([call], timeout=_LOOK_SECONDS)[0]:
        now = time.monotonic()
        if not is_away(tracker._actor_id):
            seen = now
        if now - seen > _AWAY_SECONDS:
            return False
        if now - began > seconds:
            raise GetTimeoutError(f"the tracker has not stopped within {seconds:g} seconds")
    return True


def _answers(endpoint: Endpoint) -> bool:
    try:
        answer = httpx.get(f"{endpoint.url}/livez", timeout=2, trust_env=False)
    except httpx.HTTPError:
        return False
    return answer.status_code == 200


def _wait_for(condition: Any, complaint: str) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise ServiceError(complaint)
        time.sleep(_POLL_SECONDS)
