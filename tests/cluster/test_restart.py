"""Starting, being killed, and starting again; and how `raytasks up` refuses what cannot work.

This module runs services of its own, and so must come before the one that all others share.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from raytasks.cluster.ingress import free_port
from raytasks.protocol.queries import TaskDetail
from raytasks.store.store import Store
from tests.cluster.conftest import start_service


def up(*arguments: str, cwd: Path | None = None, **environment: str) -> tuple[int, str]:
    """Run `raytasks up` where it should refuse, and return its exit code and what it says."""
    done = subprocess.run(  # noqa: PLW1510 - the exit code is what is looked at
        [sys.executable, "-m", "raytasks", "up", *arguments],
        env={**os.environ, "PYTHONPATH": os.getcwd(), "TASK_MODULES": "handlers", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        cwd=cwd,
    )
    return done.returncode, done.stderr


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
        ([], {"DEBUG": "false", "SECRET_KEY": "own"}, "API_KEYS must be set when DEBUG is off"),
        (["--host=0.0.0.0"], {}, "API_KEYS must be set to listen on 0.0.0.0; make one with"),
        (["--host=0.0.0.0"], {"API_KEYS": f"a:read::{'0' * 64}"}, "SECRET_KEY must be set"),
        ([], {"API_KEYS": "a:read::hunter2"}, "API_KEYS: entry 1: (a) the hash is not a hex"),
        ([], {"LEASE_SECONDS": "soon"}, "LEASE_SECONDS: Input should be a valid number"),
        ([], {"REDIS_URL": "http://h:1"}, "REDIS_URL: not redis://[user:password@]HOST:PORT"),
        (
            [],
            {"REDIS_URL": "redis://127.0.0.1:1"},
            "REDIS_URL: Redis cannot be used at",
        ),
        (["--address", "127.0.0.1:1"], {}, "no Ray cluster answers at address 127.0.0.1:1"),
    ],
)
def test_up_refuses_what_cannot_work_in_one_line(
    arguments: list[str], environment: dict[str, str], said: str, tmp_path: Path
) -> None:
    environment = {"DATABASE_URL": f"sqlite:///{tmp_path}/tasks.db", **environment}
    code, errors = up(f"--port={free_port()}", *arguments, **environment)
    assert code != 0
    assert said in errors
    assert errors.startswith("error: ")
    assert len(errors.strip().splitlines()) == 1


def test_up_refuses_a_port_that_another_process_uses(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        database = f"sqlite:///{tmp_path}/tasks.db"
        code, errors = up(f"--port={port}", f"--database-url={database}")
    assert code != 0
    assert f"--port: {port} is in use by " in errors
    assert f"(pid {os.getpid()})" in errors


def test_worker_refuses_an_address_where_no_ray_is() -> None:
    done = subprocess.run(  # noqa: PLW1510
        [sys.executable, "-m", "raytasks", "worker", "--address=127.0.0.1:1"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0
    assert "error: no Ray cluster answers at address 127.0.0.1:1" in done.stderr


def test_killed_service_starts_again_on_its_port_and_finishes_every_task(tmp_path: Path) -> None:
    first = start_service(tmp_path)
    done = first.run("noop", {})
    running = first.submit("scripted", {"step": "wait_file", "file": str(tmp_path / "gate")})
    first.wait_until(running, "RUNNING")
    waiting = first.submit("noop", {}, delay_seconds=1)
    load = [first.submit("scripted", {"step": "sleep", "seconds": 0.05}) for _ in range(100)]
    first.wait(load[10])
    os.kill(first.process.pid, signal.SIGKILL)
    first.process.wait()
    first.http.close()

    second = start_service(tmp_path, port=httpx.URL(first.url).port or 0)
    (tmp_path / "gate").touch()
    assert second.get(done)["state"] == "COMPLETED"
    again = second.wait(running)
    assert again["state"] == "COMPLETED"
    assert [attempt["outcome"] for attempt in again["attempts"]] == ["lost", "succeeded"]
    for task in [waiting, *load]:
        assert second.wait(task)["state"] == "COMPLETED"

    script = {"step": "wait_file", "file": str(tmp_path / "never")}
    stopped = [second.submit(kind, script) for kind in ("scripted", "scripted_remote")]
    for task in stopped:
        second.wait_until(task, "RUNNING")
    second.http.close()
    assert second.stop() == 0, second.log.read_text()
    assert "2 running tasks were given back" in second.log.read_text()
    with contextlib.closing(Store(f"sqlite:///{tmp_path}/tasks.db")) as store:
        for item in stopped:
            kept = store.read(TaskDetail(item["task_id"]))
            assert kept is not None
            task, history = kept
            assert (task.state, task.crashes, task.failures) == ("PENDING", 0, 0)
            assert [attempt.outcome for attempt in history] == ["released"]


def test_demo_shows_every_task_completed(tmp_path: Path) -> None:
    environment = {**os.environ, "ARTIFACTS_URL": str(tmp_path / "artifacts")}
    done = subprocess.run(  # noqa: PLW1510
        ["make", "demo"],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for task_type in ("text_processing", "ai_summarization", "batch_processing"):
        assert f"{task_type}: COMPLETED" in done.stdout
    assert "flaky: RETRYING (attempt 2)" in done.stdout
    assert "attempt 3             succeeded" in done.stdout
    assert len(list((tmp_path / "artifacts").glob("*/resized.jpg"))) == 1
