"""`raytasks up`: the whole service, in the foreground until Ctrl-C."""

import os
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Annotated

import typer

from raytasks.cli import former_cluster, operate
from raytasks.cli.db import prepare_database
from raytasks.cli.foreground import (
    catch_signals,
    console,
    step,
    stop_signals,
    wait_for_signal,
    while_there,
)
from raytasks.cli.machine_options import (
    Labels,
    Memory,
    NumCpus,
    NumGpus,
    OwnResources,
    resources_of,
)
from raytasks.cluster import token as ray_token
from raytasks.cluster.ray_node import Restarts

if TYPE_CHECKING:
    from raytasks.cluster.node_resources import NodeResources
    from raytasks.cluster.processes import RayEnded, RayProcess
    from raytasks.cluster.runs import Note
    from raytasks.pools.handlers_version import HandlersVersion
    from raytasks.service import Endpoint
    from raytasks.settings import Settings

READY = "raytasks is ready at"
"""How the line begins that says that the service takes tasks. The URL of the page follows."""

ANNOUNCED = "  stop: "
"""How the last line of what `up` says at the start begins. From then on it shows the log."""

_ENDS = "RAYTASKS_HEAD_ENDS"
_STARTS = 3  # restarts within _STARTS_SECONDS
_STARTS_SECONDS = 600.0


def up(
    host: Annotated[str, typer.Option(help="Where the API listens.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The API's port.", min=1, max=65535)] = 8000,
    address: Annotated[
        str | None,
        typer.Option(
            help="Join this Ray cluster. By default RAYTASKS_RAY_ADDRESS, else a new one."
        ),
    ] = None,
    database_url: Annotated[
        str | None, typer.Option(help="Default: RAYTASKS_DATABASE_URL.")
    ] = None,
    dashboard: Annotated[bool, typer.Option(help="Start Ray's dashboard, on loopback.")] = True,
    num_cpus: NumCpus = None,
    num_gpus: NumGpus = None,
    memory: Memory = None,
    resource: OwnResources = None,
    labels: Labels = None,
    node_address: Annotated[
        str | None, typer.Option(help="Where the other machines reach Ray here (an IP address).")
    ] = None,
) -> None:
    """Run the whole service in the foreground: Ray, tracker, runners and API.

    Stops in order at Ctrl-C: no new tasks, then RAYTASKS_STOP_GRACE_SECONDS for what runs.
    When Ray has died, it starts again.
    """
    from raytasks.cluster.processes import RayEnded
    from raytasks.service import Endpoint
    from raytasks.settings import SettingsError, load_settings

    host = host.removeprefix("[").removesuffix("]")
    settings = load_settings(database_url=database_url, ray_address=address)
    settings.check_served(host)
    if node_address is not None and settings.ray_address is not None:
        raise SettingsError("--node-address: Ray runs already; give it to the one who starts Ray")
    resources = resources_of(num_cpus, num_gpus, memory, resource, labels, node_address)
    try:
        _run(settings, Endpoint(host, port), resources, dashboard=dashboard)
    except RayEnded as error:
        _start_again(error)


def _run(
    settings: "Settings", endpoint: "Endpoint", resources: "NodeResources", *, dashboard: bool
) -> None:
    from raytasks.api.on_ray.deployment import present_version
    from raytasks.cluster.environment import ray_environment
    from raytasks.cluster.runs import noted
    from raytasks.handling.builtin_extra import left_out_line

    with step(f"Reading the handlers ({', '.join(settings.task_modules)})"):
        version = present_version(settings)
    if line := left_out_line(settings.task_modules):
        console.print(line, soft_wrap=True, markup=False)
    with step("Preparing the database"):
        prepare_database(settings.database_url)
        former_cluster.forget_former(settings.database_url)
    _take_ports(endpoint, settings)
    if settings.ray_address is None and _ENDS not in os.environ:
        former_cluster.refuse_second(settings)
    stopping = stop_signals()
    os.environ.update(ray_environment(endpoint.host))
    with noted(endpoint.port, endpoint.url, settings.stop_grace_seconds) as note:
        _run_on_ray(version, endpoint, resources, stopping, note, dashboard=dashboard)


def _run_on_ray(
    version: "HandlersVersion",
    endpoint: "Endpoint",
    resources: "NodeResources",
    stopping: threading.Event,
    note: "Note",
    *,
    dashboard: bool,
) -> None:
    from raytasks.cluster import processes as cluster
    from raytasks.cluster import run_files
    from raytasks.cluster.control_store import open_control_store
    from raytasks.cluster.ray_noise import leave_out_noise
    from raytasks.cluster.runs import folder, starting

    settings = version.settings
    head: RayProcess | None = None
    try:
        if settings.ray_address is None:
            with step("Starting Ray"), starting():
                store = open_control_store(settings.redis_url)
                head = cluster.start_head(store, dashboard=dashboard, resources=resources)
        with step("Connecting to Ray"):
            cluster.connect(head.address if head else str(settings.ray_address))
        catch_signals(stopping)  # Ray has taken SIGTERM for its own
        leave_out_noise()
        if head is not None:
            run_files.record(folder(), run_files.files_here(head.log))
        if head is None:
            _tell_what_is_lacking(endpoint.host)
        _serve(version, endpoint, head, stopping, note)
    finally:
        if _is_there(head):
            cluster.disconnect()
        else:
            cluster.forget()
        if head is not None:
            with step("Stopping Ray"):
                head.stop()


def _start_again(error: "RayEnded") -> None:
    """Replace this process by a new `raytasks up`: SQL has all tasks.

    Raises the error if that happened too often.

    A new process image is needed: Ray ends a driver a minute after it has lost its cluster.
    """
    ends = Restarts(_STARTS, _STARTS_SECONDS, deque(map(float, os.environ.get(_ENDS, "").split())))
    if not ends.allow(time.monotonic()):
        raise error
    os.environ[_ENDS] = " ".join(map(str, ends.times))
    console.print(f"{error}; starting again", soft_wrap=True)
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - no shell


def _serve(
    version: "HandlersVersion",
    endpoint: "Endpoint",
    head: "RayProcess | None",
    stopping: threading.Event,
    note: "Note",
) -> None:
    from raytasks import service
    from raytasks.cli.shown_log import ShownLog
    from raytasks.cluster import tracker_calls

    ours = True
    log = ShownLog(tracker_calls.log_lines, _show_line, version.settings.log_format)
    try:
        with step("Starting the tracker, and trying the handlers"):
            try:
                tracker, answer = service.start_tracker(version)
                former_cluster.remember(tracker._actor_id.hex())
            except (service.AlreadyServed, tracker_calls.OtherVersion):
                ours = False
                raise
            if _ENDS not in os.environ:  # a person starts it, and wants a drain to end
                tracker_calls.end_drain()
        with step("Starting the API"):
            service.start_api(version, endpoint)
        with step("Starting the runners"):
            service.wait_for_runners(tracker, version)
        _announce(endpoint, head, version.settings)
        for line in operate.warnings(answer):
            console.print(line, soft_wrap=True)
        log.start()
        wait_for_signal(stopping, head)
    finally:
        if ours and _is_there(head):
            note.given_back(_stop_service(version.settings.stop_grace_seconds, head) or 0)
        log.stop()


def _show_line(text: str, color: str) -> None:
    """Print a line of the service's log."""
    console.print(text, style=color, soft_wrap=True, markup=False, emoji=False)


def _is_there(head: "RayProcess | None") -> bool:
    """Return whether Ray answers. Without a head, Ray's own calls would wait for a minute."""
    return head is None or head.alive()


def _tell_what_is_lacking(host: str) -> None:
    """Say what is worse in a cluster that somebody else has started, and how to mend it."""
    from raytasks.cluster.environment import lacking, variables_at_the_head

    names = variables_at_the_head()
    lines = [] if names is None else list(lacking(names, host))
    if not lines:
        return
    console.print("this cluster runs without some of Ray's variables, which works, but:")
    for line in lines:
        console.print(f"  {line}", soft_wrap=True)
    console.print("to mend it: eval \"$(raytasks env)\" before 'ray start', on each machine")


def _stop_service(grace: float, head: "RayProcess | None") -> int | None:
    from raytasks import service
    from raytasks.cluster.processes import RayEnded

    with step(f"Stopping the service (running tasks have {grace:g} seconds)"):
        try:
            released = while_there(head, lambda: service.stop_service(grace))
        except RayEnded as error:  # such as a drained head, which ends when nothing runs there
            console.print(f"{error}; what still ran runs at the next start", soft_wrap=True)
            return None
    if released is None:
        console.print(operate.NO_TRACKER, soft_wrap=True)
    elif released:
        console.print(f"{released} running tasks were given back; they run at the next start")
    return released


def _announce(endpoint: "Endpoint", head: "RayProcess | None", settings: "Settings") -> None:
    from raytasks.service import Endpoint
    from raytasks.store.database_url import without_password

    console.print(f"{READY} {endpoint.url}/ui/", soft_wrap=True)
    console.print(f"  API:             {endpoint.url} (documents: /docs)", soft_wrap=True)
    if settings.listen_port is not None:
        own = Endpoint(settings.listen_host, settings.listen_port)
        console.print(f"  without Serve:   {own.url}", soft_wrap=True)
    console.print(f"  database:        {without_password(settings.database_url)}", soft_wrap=True)
    if head is not None:
        if head.dashboard_url:
            console.print(f"  Ray dashboard:   {head.dashboard_url}", soft_wrap=True)
        console.print(f"  more machines:   {_how_others_join(head.address)}", soft_wrap=True)
        if ray_token.is_wanted():
            console.print(f"  Ray's token:     {_where_the_token_is()}", soft_wrap=True)
    console.print(f"{ANNOUNCED}           Ctrl-C")


def _how_others_join(address: str) -> str:
    command = f"raytasks worker --address {address}"
    if not address.startswith("127."):
        return command
    return f"{command} (on this machine alone: for others, start with --node-address)"


def _where_the_token_is() -> str:
    if os.environ.get(ray_token.TOKEN):
        return f"in {ray_token.TOKEN}; other machines and drivers need it there, too"
    return f"{ray_token.token_file()}; copy it to ~/.ray/auth_token of the other machines"


def _take_ports(endpoint: "Endpoint", settings: "Settings") -> None:
    """Make sure that the ports are free. End leftovers of a killed run of our own on them."""
    from raytasks.cluster import processes as cluster
    from raytasks.cluster import run_files
    from raytasks.cluster.runs import folder, present_runs
    from raytasks.settings import SettingsError

    left = cluster.end_leftovers()
    run_files.remove_old(folder())
    if left:
        console.print(f"ended {left} processes that an earlier run had left when it was killed")
    wanted = [("--host", endpoint.host, "--port", endpoint.port)]
    if settings.listen_port == endpoint.port:
        raise SettingsError(
            f"RAYTASKS_LISTEN_PORT: {endpoint.port} is the --port of Serve; choose another"
        )
    if settings.listen_port is not None and settings.ray_address is None:
        wanted.append(
            (
                "RAYTASKS_LISTEN_HOST",
                settings.listen_host,
                "RAYTASKS_LISTEN_PORT",
                settings.listen_port,
            )
        )
    runs_here = present_runs()
    for host_name, host, port_name, port in wanted:
        other = cluster.listener_on(host, port, host_name)
        if other is None:
            continue
        ours = next((run for run in runs_here if run.port == port), None)
        if ours is not None:
            raise SettingsError(
                f"{port_name}: {port} is in use by another raytasks service (pid {ours.pid}, "
                f"{ours.url}); stop it with 'raytasks down --port {port}', or choose another one"
            )
        raise SettingsError(f"{port_name}: {port} is in use by {other}; choose another one")
