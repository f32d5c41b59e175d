"""`deploy`, `drain`, `pause`, `resume` and `stop` without a cluster; what a deployment tells."""

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ray._private import services

from raytasks.cli.operate import warnings
from raytasks.cluster import processes as cluster
from raytasks.pools.handlers_version import HandlersVersion
from raytasks.pools.versions import DeployAnswer
from raytasks.settings import Settings

# Ray Serve's own, when it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`")

Run = Callable[..., Any]
COMMANDS = ("deploy", "drain", "pause", "resume", "stop")
SOON = 15.0


@pytest.fixture
def dead_port() -> int:
    """A port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port where somebody listens who never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("command", COMMANDS)
def test_without_a_cluster_there_is_one_line_soon(
    run: Run, command: str, dead_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A cluster that was killed leaves its address behind, and Ray would ask there for minutes.
    monkeypatch.setattr(
        services, "canonicalize_bootstrap_address", lambda *_: f"127.0.0.1:{dead_port}"
    )
    begun = time.monotonic()
    done = run(command)
    assert done.code == 2
    assert "no Ray cluster answers at address 127.0.0.1" in done.err
    assert len(done.err.splitlines()) == 1
    assert time.monotonic() - begun < SOON


def test_no_cluster_was_ever_here(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: object) -> str:
        raise ConnectionError("Could not find any running Ray instance.")

    monkeypatch.setattr(services, "canonicalize_bootstrap_address", nothing)
    done = run("deploy")
    assert done.code == 2
    assert done.err == (
        "error: no Ray cluster found; start one with 'raytasks up', or say where one is with "
        "RAYTASKS_RAY_ADDRESS or --address\n"
    )


def test_what_listens_is_no_cluster(
    run: Run, silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_ANSWER_SECONDS", 0.5)
    done = run("resume", f"--address=127.0.0.1:{silent_port}")
    assert done.code == 2
    assert "does not answer as a Ray cluster" in done.err


@pytest.mark.parametrize("command", ["up", "deploy"])
def test_a_module_that_leaves_at_import_is_named(
    run: Run, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "leaves_now.py").write_text("import os\nos._exit(0)\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("TASK_MODULES", "leaves_now")
    monkeypatch.setattr(cluster, "connect", lambda _: None)
    done = run(command)
    assert done.code == 2
    assert "'leaves_now' ended the process when it was imported: exit status 0" in done.err


def test_what_a_deployment_tells() -> None:
    answer = DeployAnswer(3, None, 3, {"gone": 2}, ("LEASE_SECONDS",))
    first, second = warnings(answer)
    assert first.startswith("warning: 2 tasks of the type gone wait")
    assert second.startswith("not changed by a deployment: RAYTASKS_LEASE_SECONDS")
    assert list(warnings(DeployAnswer(3, None, 3, {}))) == []
    [gone] = warnings(DeployAnswer(3, None, 3, {"mail": 2}, (), ("mail", "sum"), ("nightly",)))
    assert gone == (
        "warning: this version no longer has the type mail (2 tasks wait), the type sum (0 tasks "
        "wait), the schedule nightly; if this is the wrong folder, deploy again from the right one"
    )
    database, lease = warnings(DeployAnswer(3, None, 3, {}, ("DATABASE_URL", "LEASE_SECONDS")))
    assert database.startswith("warning: RAYTASKS_DATABASE_URL differs here, and the service keeps")
    assert lease.startswith("not changed by a deployment: RAYTASKS_LEASE_SECONDS (")
    [later] = warnings(DeployAnswer(3, None, 4, {}))
    assert later == "version 4, which came later, is in force"


def test_warnings_of_a_deployment_go_to_standard_error(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from raytasks import service
    from raytasks.api.on_ray import deployment

    answer = DeployAnswer(3, None, 3, {"mail": 2}, (), ("mail",))
    version = HandlersVersion("token", "print", (), Settings(_env_file=None))
    monkeypatch.setattr(cluster, "connect", lambda _: None)
    monkeypatch.setattr(deployment, "present_version", lambda _: version)
    monkeypatch.setattr(service, "redeploy", lambda *_: answer)
    done = run("deploy")
    assert done.code == 0
    assert done.out.startswith("deployed version 3 ")
    assert done.err.startswith("warning: this version no longer has the type mail (2 tasks wait); ")
