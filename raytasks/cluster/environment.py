"""The variables that Ray's processes need before they start, and what is worse without them.

The command `raytasks up` sets them for the Ray that it starts. For another Ray, `raytasks env`
prints them. What a cluster lacks, `raytasks up --address` says.
"""

import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import ray
from ray.exceptions import RayError

from raytasks.cluster import token as ray_token
from raytasks.cluster.ingress import fallback_environment, ingress_environment
from raytasks.cluster.ports import Choice, free, kept
from raytasks.runner.on_ray.nodes import at_the_head

_ASK_SECONDS = 20.0


@dataclass(frozen=True)
class Group:
    """Variables that serve the same end. `without` says what is worse where they are missing."""

    why: str
    without: str
    variables: Mapping[str, str]


_FIXED = (
    Group(
        "Serve's replicas use one event loop, log in blocks, and open no gRPC ports.",
        "HTTP requests take more processor time",
        {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1", "RAY_SERVE_USE_GRPC_BY_DEFAULT": "0"},
    ),
    Group(
        "HTTP is back, and a new version is rolled out, within seconds.",
        "HTTP is away for half a minute when its proxy dies, and a deployment takes as long",
        {
            "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
            "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "2",
            # A machine that is busy with everything else that starts takes more than 5 seconds.
            "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "30",
            "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
        },
    ),
    Group(
        "Serve's controller does not look ten times a second after what hardly ever changes.",
        "an idle service uses more processor time",
        {
            "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.3",
            "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "1000",
        },
    ),
    Group(
        "A node that is frozen or cut off is dead after some 10 seconds.",
        "a node that is frozen or cut off is noticed after minutes",
        {
            "RAY_health_check_initial_delay_ms": "1000",
            "RAY_health_check_period_ms": "1000",
            "RAY_health_check_timeout_ms": "2000",
            "RAY_health_check_failure_threshold": "4",
            "RAY_grpc_client_keepalive_time_ms": "5000",
            "RAY_grpc_client_keepalive_timeout_ms": "5000",
        },
    ),
    Group(
        "What handlers print is in files of Ray's, which are bounded.",
        "the files of what handlers print grow without bound",
        {"RAY_ROTATION_MAX_BYTES": str(64 * 2**20), "RAY_ROTATION_BACKUP_COUNT": "1"},
    ),
    Group(
        "An attempt that runs out of memory ends, and raytasks retries it.",
        "Ray retries what runs out of memory without end, within one attempt",
        {"RAY_task_oom_retries": "0"},
    ),
    Group(
        "Ray reports nothing to its makers, and hides no GPU from tasks without one.",
        "",
        {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"},
    ),
)


def groups(host: str | None = None, choose: Choice = free) -> list[Group]:
    """Return all variables, for an API that listens at `host`. Raises `MachineError`.

    `host` is None for a machine that only joins a cluster. Ports are chosen by `choose`.
    """
    found = [
        Group(
            "HTTP comes in by HAProxy.",
            "HTTP comes in by Ray's own proxy, which takes 6 to 10 times fewer requests",
            ingress_environment(host, choose),
        ),
        Group(
            "Requests reach no other cluster on this machine.",
            "requests can reach another cluster on the same machine while no replica is up",
            fallback_environment(host, choose),
        ),
        *_FIXED,
    ]
    if ray_token.has_token():
        found.append(
            Group(
                "Who joins the cluster, or submits to it, needs Ray's token.",
                "whoever reaches Ray's ports can run code in the cluster",
                {ray_token.MODE: "token"},
            )
        )
    return [group for group in found if group.variables]


def ray_environment(host: str | None = None) -> dict[str, str]:
    """Return the variables that all Ray processes need, beyond those that are set already.

    They set up the ingress at `host` (see `cluster.ingress`), so that it recovers and rolls in
    seconds. They make Ray ask for its token, and put this directory on the path of all workers.
    They must be set before Ray starts. The ports among them are kept until this process ends.
    Raises `MachineError`.
    """
    found = groups(host, kept)
    wanted = {name: value for group in found for name, value in group.variables.items()}
    return {
        name: value for name, value in wanted.items() if name not in os.environ
    } | _path_of_modules()


def exports(host: str) -> list[Group]:
    """Return what is to be exported before `ray start`. What is set already keeps its value.

    Raises `MachineError`.
    """
    path = _path_of_modules() or {"PYTHONPATH": os.environ["PYTHONPATH"]}
    here = Group("Ray's workers find the modules of this directory.", "", path)
    return [
        Group(
            group.why,
            group.without,
            {name: os.environ.get(name, value) for name, value in group.variables.items()},
        )
        for group in groups(host)
    ] + [here]


def shell_lines(found: list[Group]) -> Iterator[str]:
    """Yield the lines of a shell script that exports the variables."""
    for group in found:
        yield f"# {group.why}"
        for name, value in group.variables.items():
            yield f"export {name}={shlex.quote(value)}"


def lacking(names: set[str], host: str) -> Iterator[str]:
    """Yield what is worse in a cluster whose processes have only the variables of these names.

    A variable that has another value is somebody's choice. Raises `MachineError`.
    """
    for group in groups(host):
        missing = sorted(group.variables.keys() - names)
        if missing and group.without:
            yield f"{group.without} ({', '.join(missing)})"


def variables_at_the_head() -> set[str] | None:
    """Return the names of the variables that Ray's processes have on the head of this cluster.

    None where they cannot be had within some seconds. This process must be connected.
    """
    placed = ray.remote(_names_here).options(num_cpus=0, **at_the_head())
    try:
        names: set[str] = ray.get(placed.remote(), timeout=_ASK_SECONDS)
    except RayError:
        return None
    return names


def _names_here() -> set[str]:
    return set(os.environ)


def _path_of_modules() -> dict[str, str]:
    """Return `PYTHONPATH` with this directory, if that is not on it yet."""
    path = os.environ.get("PYTHONPATH", "")
    here = str(Path.cwd())
    if here in path.split(os.pathsep):
        return {}
    return {"PYTHONPATH": os.pathsep.join(part for part in (here, path) if part)}
