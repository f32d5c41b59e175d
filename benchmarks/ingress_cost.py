"""The cost of the ways to a replica: HAProxy, Serve's own server in the replica, and our listener.

    python -m benchmarks.ingress_cost [--request livez|get|submit] [--pairs 5] [--new-connections]

One service is asked in turn by each way. `livez` does nothing in the app. The ratios are taken
within a turn, and the table has their median.
"""

import argparse
import json
import statistics
import tempfile
from collections import defaultdict
from pathlib import Path

import httpx
import psutil

from benchmarks.handlers import BODY
from benchmarks.lean_load import LeanLoad, LeanPlan, generate_lean
from benchmarks.measures import percentile
from benchmarks.servers.programs import ProgramFailed
from benchmarks.servers.service import Service, running_service

CONNECTIONS = (1, 16, 64)
SECONDS = 2.0

_REPLICA = "ray::ServeReplica:raytasks:api"
_HAPROXY, _SERVE, _LISTENER = "HAProxy", "Serve's server", "own listener"


def main() -> None:
    """Measure, and print."""
    asked = _asked()
    with (
        tempfile.TemporaryDirectory(prefix="raytasks-bench-") as folder,
        running_service(Path(folder) / "service") as service,
    ):
        service.warm_up()
        port, listen = (httpx.URL(url).port or 80 for url in (service.url, service.listener_url))
        ways = {_HAPROXY: port, _SERVE: _serve_port(service, listen), _LISTENER: listen}
        found: dict[tuple[int, str], list[LeanLoad]] = defaultdict(list)
        for turn in range(asked.pairs):
            for connections in CONNECTIONS:
                order = list(ways) if turn % 2 == 0 else list(reversed(ways))
                for way in order:
                    found[connections, way].append(_measure(service, ways[way], connections, asked))
    _show(found, asked)


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What the ways to a replica cost.")
    parser.add_argument("--request", choices=("livez", "get", "submit"), default="livez")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--new-connections", action="store_true", help="one for each request")
    return parser.parse_args()


def _serve_port(service: Service, listen: int) -> int:
    """Return the port where HAProxy calls the replica: the other ones speak no HTTP."""
    for process in service.program.family():
        if not (process.cmdline() or [""])[0].startswith(_REPLICA):
            continue
        for item in process.net_connections("tcp"):
            port = item.laddr.port if item.laddr else 0
            if item.status == psutil.CONN_LISTEN and port != listen and _is_http(port):
                return port
    raise ProgramFailed("no replica was found")


def _is_http(port: int) -> bool:
    try:
        url = f"http://127.0.0.1:{port}/livez"
        return httpx.get(url, timeout=2, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def _measure(service: Service, port: int, connections: int, asked: argparse.Namespace) -> LeanLoad:
    before = service.completed()
    method, path, body = "GET", "/livez", ""
    if asked.request == "submit":
        method, path, body = "POST", "/tasks/", json.dumps(BODY)
    elif asked.request == "get":
        [task_id] = service.submit(1)
        before += 1
        service.wait_completed(before)
        path = f"/tasks/{task_id}"
    keep = not asked.new_connections
    plan = LeanPlan(port, method, path, connections, asked.seconds, body, keep)
    load = generate_lean(plan)
    if not load.latencies or load.failures:
        raise ProgramFailed(f"{load.failures} requests failed on port {port}")
    if asked.request == "submit":
        service.wait_completed(before + len(load.latencies))
    return load


def _show(found: dict[tuple[int, str], list[LeanLoad]], asked: argparse.Namespace) -> None:
    kind = "a new connection each" if asked.new_connections else "kept alive"
    print(f"{asked.request}, {kind}, {asked.pairs} turns of {asked.seconds:g} s")
    print(
        f"{'connections':>11} {'way':16}{'a second':>10}{'p50 ms':>9}{'p99 ms':>9}"
        f"{'generator':>11}  x HAProxy"
    )
    for (connections, way), loads in found.items():
        base = found[connections, _HAPROXY]
        ratios = [load.per_second / one.per_second for load, one in zip(loads, base, strict=True)]
        rate = statistics.median(load.per_second for load in loads)
        p50, p99 = (
            1000 * statistics.median(percentile(load.latencies, share) for load in loads)
            for share in (0.5, 0.99)
        )
        used = statistics.median(load.processor for load in loads)
        print(
            f"{connections:>11} {way:16}{rate:10.0f}{p50:9.2f}{p99:9.2f}{used:11.0%}  "
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
