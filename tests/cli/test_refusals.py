"""`raytasks up` and `raytasks worker` refuse what cannot work: in one line, before Ray starts."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from raytasks.cluster.ports import free_port
from tests.cli.conftest import Done, Run

# Ray Serve's own, when it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`")


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["--database-url", "nonsense"], {}, "DATABASE_URL: not a database URL"),
        (["--database-url", "mysql://localhost/x"], {}, "DATABASE_URL: 'mysql' is not supported"),
        (["--database-url", "sqlite://"], {}, "DATABASE_URL: a database in memory keeps nothing"),
        (["--database-url", "sqlite:////no/such/folder/t.db"], {}, "DATABASE_URL: the database"),
        (["--database-url", "postgresql://u@127.0.0.1:1/x"], {}, "DATABASE_URL: the database"),
        ([], {"TASK_MODULES": "no_such_module"}, "handler module 'no_such_module' not found"),
        ([], {"TASK_MODULES": "json"}, "no handler found in json"),
        ([], {"DEBUG": "false"}, "SECRET_KEY must be set"),
        (
            [],
            {"DEBUG": "false", "SECRET_KEY": "own"},
            "RAYTASKS_API_KEYS must be set when RAYTASKS_DEBUG is off",
        ),
        (["--host=0.0.0.0"], {}, "API_KEYS must be set to listen on 0.0.0.0; make one with"),
        (["--host=0.0.0.0"], {"API_KEYS": f"a:read::{'0' * 64}"}, "SECRET_KEY must be set"),
        ([], {"API_KEYS": "a:read::hunter2"}, "API_KEYS: entry 1: (a) the hash is not a hex"),
        ([], {"LEASE_SECONDS": "soon"}, "LEASE_SECONDS: Input should be a valid number"),
        ([], {"REDIS_URL": "http://h:1"}, "REDIS_URL: not redis://[user:password@]HOST:PORT"),
        (
            ["--address=127.0.0.1:1", "--node-address=127.0.0.1"],
            {},
            "--node-address: Ray runs already",
        ),
    ],
)
def test_up_refuses_what_cannot_work_in_one_line(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    environment: dict[str, str],
    said: str,
    tmp_path: Path,
) -> None:
    variables = {
        "TASK_MODULES": "handlers",
        "DATABASE_URL": f"sqlite:///{tmp_path}/tasks.db",
        **environment,
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    refused(run("up", f"--port={free_port()}", *arguments), said)


def refused(done: Done, said: str) -> None:
    assert done.code != 0
    assert said in done.err
    assert done.err.startswith("error: ")
    assert len(done.err.strip().splitlines()) == 1


def up(folder: Path, *arguments: str, **environment: str) -> Done:
    """Run `raytasks up` as a process of its own, which it changes before it refuses."""
    done = subprocess.run(  # noqa: PLW1510 - the exit code is what is looked at
        [sys.executable, "-m", "raytasks", "up", *arguments],
        env={
            **os.environ,
            "PYTHONPATH": os.getcwd(),
            "TASK_MODULES": "handlers",
            "DATABASE_URL": f"sqlite:///{folder}/tasks.db",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=100,
    )
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        ([], {"REDIS_URL": "redis://127.0.0.1:1"}, "REDIS_URL: Redis cannot be used at"),
        (["--address=127.0.0.1:1"], {}, "no Ray cluster answers at address 127.0.0.1:1"),
    ],
)
def test_so_it_does_as_a_process_of_its_own(
    arguments: list[str], environment: dict[str, str], said: str, tmp_path: Path
) -> None:
    refused(up(tmp_path, f"--port={free_port()}", *arguments, **environment), said)


def test_up_refuses_a_port_that_another_process_uses(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = up(tmp_path, f"--port={port}")
    assert done.code != 0
    assert f"--port: {port} is in use by " in done.err
    assert f"(pid {os.getpid()})" in done.err


def test_worker_refuses_an_address_where_no_ray_is() -> None:
    done = subprocess.run(  # noqa: PLW1510
        [sys.executable, "-m", "raytasks", "worker", "--address=127.0.0.1:1"],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode != 0
    assert "error: no Ray cluster answers at address 127.0.0.1:1" in done.stderr
