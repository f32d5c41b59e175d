"""How HTTP comes in, and what a machine must allow for that."""

import os
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raytasks.cluster import environment, ingress, ports
from raytasks.cluster import processes as cluster
from raytasks.cluster import token as ray_token
from raytasks.cluster.control_store import ControlStore

SWITCH = "RAY_SERVE_ENABLE_HA_PROXY"


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which another process listens."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


@pytest.mark.parametrize("host", [None, "127.0.0.1", "localhost", "0.0.0.0"])
def test_haproxy_listens_where_it_finds_the_replicas(host: str | None) -> None:
    variables = ingress.ingress_environment(host)
    assert variables[SWITCH] == "1"
    assert {"RAY_SERVE_HAPROXY_METRICS_PORT", "RAY_SERVE_HAPROXY_STATS_PORT"} <= variables.keys()


@pytest.mark.parametrize("host", ["::1", "::", "127.0.0.2", "192.0.2.7", "a.host"])
def test_elsewhere_serves_own_proxy_does(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ingress.ingress_environment(host) == {SWITCH: "0"}
    monkeypatch.delenv(SWITCH, raising=False)
    assert environment.ray_environment(host)[SWITCH] == "0"


@pytest.mark.parametrize(
    ("allowed", "connections"), [(1024, 369), (4096, 1598), (10_275, 4070), (20_000, 4096)]
)
def test_haproxy_gets_no_more_connections_than_it_may_have(
    monkeypatch: pytest.MonkeyPatch, allowed: int, connections: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (allowed, allowed))
    wanted = ingress.ingress_environment()["RAY_SERVE_HAPROXY_MAXCONN"]
    assert wanted == str(connections)
    ingress.check_open_files()


def test_no_limit_is_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, resource.RLIM_INFINITY))
    assert ingress.ingress_environment()["RAY_SERVE_HAPROXY_MAXCONN"] == "4096"
    ingress.check_open_files()


def test_too_few_files_are_one_line(tmp_path: Path) -> None:
    script = "ulimit -n 256; exec {} -m raytasks up --port {}"
    done = subprocess.run(
        ["/bin/sh", "-c", script.format(sys.executable, ports.free_port())],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: a process may open 256 files here, and Ray needs 1024")
    assert len(done.stderr.splitlines()) == 1


def test_a_second_ray_on_a_machine_gets_ports_of_its_own(
    monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    started: list[list[str]] = []

    def start(command: list[str], *_others: Any) -> cluster.RayProcess:
        started.append(command)
        raise cluster.ClusterError("only the command is looked at")

    monkeypatch.setattr(cluster, "_start", start)
    monkeypatch.setattr(ray_token, "make_token", lambda: None)
    monkeypatch.setattr(cluster, "_check_answers", lambda _: None)
    for name in ("RAY_PORT", "DASHBOARD_PORT", "AGENT_PORT"):
        monkeypatch.setattr(cluster, name, taken)
    with pytest.raises(cluster.ClusterError):
        cluster.start_head(ControlStore())
    with pytest.raises(cluster.ClusterError):
        cluster.start_worker("127.0.0.1:1")
    for command in started:
        ports = [word.rpartition("=")[2] for word in command if "port=" in word]
        assert any(word.startswith("--dashboard-agent-listen-port=") for word in command)
        assert str(taken) not in ports
        assert len(set(ports)) == len(ports)


FIRST = "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT"
LAST = "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT"


def test_a_cluster_gets_no_replica_ports_near_which_somebody_listens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(FIRST, raising=False)
    monkeypatch.delenv(LAST, raising=False)
    monkeypatch.setattr(ingress, "keep", lambda _: True)  # whatever runs beside this test
    left = range(30_150, 30_200)
    monkeypatch.setattr(ingress, "is_free", lambda port: port in left or port % 50 != 49)
    assert ingress.replica_ports() == {FIRST: "30150", LAST: "30199"}
    assert ingress.replica_ports() == {FIRST: "30150", LAST: "30199"}  # its Ray was started again
    monkeypatch.setattr(ingress, "is_free", lambda _: False)
    assert ingress.replica_ports() == {}
    monkeypatch.setenv(FIRST, "40000")
    monkeypatch.setattr(ingress, "is_free", lambda _: True)
    assert ingress.replica_ports() == {}


@pytest.mark.parametrize("host", [None, "127.0.0.1"])
def test_serves_own_proxy_gets_a_port_that_no_other_cluster_has(
    monkeypatch: pytest.MonkeyPatch, host: str | None
) -> None:
    monkeypatch.setattr(ports, "_free", lambda port: port if port != 8500 else None)
    assert ingress.fallback_environment(host) == {"RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": "8501"}
    assert ingress.fallback_environment("127.0.0.2") == {}
