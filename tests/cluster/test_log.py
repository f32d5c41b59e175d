"""The service's log where an operator looks: in the terminal, in the file, by `raytasks logs`."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from raytasks.protocol.queries import TaskDetail
from raytasks.store.store import Store
from tests.cluster.conftest import STOP_SECONDS, Service
from tests.cluster.head_of_others import wait_for
from tests.cluster.processes import PATIENCE_SECONDS, TRACKER, kill, only
from tests.cluster.test_own_ray import own_ray, variables


def written(log: Path, text: str, count: int = 1) -> list[str]:
    """Wait until so many lines of a file have a text, and return all lines that have it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(found := [line for line in log.read_text().splitlines() if text in line]) < count:
        assert time.monotonic() < deadline, log.read_text()[-5000:]
        time.sleep(0.1)
    return found


def fails(submit: Callable[[], str]) -> tuple[str, "re.Pattern[str]"]:
    """Submit a task that fails; return its id, and what the line of its attempt looks like."""
    task_id = submit()
    return task_id, re.compile(
        rf"20\S+Z WARNING attempt 1 of scripted failed task_id={task_id} task_type=scripted "
        r"namespace=default attempt=1 outcome=failed state=FAILED seconds=\S+ error=.*"
        r"runner=\S+ pool=shared host=\S+ pid=\d+ node=\w+"
    )


def test_up_shows_it_from_the_first_line_on(service: Service) -> None:
    task_id, expected = fails(
        lambda: str(service.run("scripted", {"step": "permanent", "lines": 1})["task_id"])
    )
    [ended] = written(service.log, f"scripted failed task_id={task_id}")
    assert expected.search(ended), ended
    [said] = written(service.log, f"line 1 logger=raytasks.handlers.scripted task_id={task_id}")
    assert " INFO " in said
    text = service.log.read_text()
    first = re.search(r"version \d+ of the handlers", text)
    assert first is not None
    places = [
        text.index(found)
        for found in (
            "Ctrl-C",
            "has taken over the database",
            f"{first[0]} is tried",
            f"{first[0]} is in force",
            "is made runner=runner.shared",
            "is up runner=runner.shared",
        )
    ]
    assert places == sorted(places)
    assert "\n(" not in text  # none of Ray's own lines


def test_raytasks_logs_has_the_same_lines(service: Service) -> None:
    task = service.run("scripted", {"step": "permanent", "lines": 1})

    def logs(*arguments: str) -> str:
        command = [sys.executable, "-m", "raytasks", "logs", f"--url={service.url}", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        return done.stdout

    of_service = logs("--type", "scripted", "--level", "warning", "-n", "1")
    assert f"attempt 1 of scripted failed task_id={task['task_id']}" in of_service
    of_task = logs(str(task["task_id"]))
    assert [word for word in ("PENDING", "RUNNING", "line 1", "FAILED") if word in of_task] == [
        "PENDING", "RUNNING", "line 1", "FAILED"
    ]  # fmt: skip


def test_the_next_tracker_goes_on_with_it(service: Service) -> None:
    before = written(service.log, "has taken over the database")
    kill(only(service, TRACKER))
    after = written(service.log, "has taken over the database", len(before) + 1)
    assert len({re.search(r"epoch=(\d+)", line)[1] for line in after}) == len(after)  # type: ignore[index]
    assert "retries remaining" not in service.log.read_text()


@pytest.mark.ends_service
def test_sigterm_stops_in_order_as_ctrl_c_does(service: Service, tmp_path: Path) -> None:
    script = {"step": "wait_file", "file": str(tmp_path / "never")}
    running = [service.submit(kind, script) for kind in ("scripted", "scripted_remote")]
    for task in running:
        service.wait_until(task, "RUNNING")
    service.http.close()
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(STOP_SECONDS) == 0
    text = service.log.read_text()
    assert "2 running tasks were given back" in text
    assert "the service stops; running attempts have 1 seconds" in text
    assert "graceful_shutdown failed" not in text
    with contextlib.closing(Store(service.environment["DATABASE_URL"])) as store:
        for item in running:
            kept = store.read(TaskDetail(item["task_id"]))
            assert kept is not None
            stored, history = kept
            assert (stored.state, stored.crashes, stored.failures) == ("PENDING", 0, 0)
            assert [attempt.outcome for attempt in history] == ["released"]


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.usefixtures("no_service")
def test_it_is_in_the_terminal_of_serve_run_and_in_the_file(tmp_path: Path) -> None:
    output, file = tmp_path / "serve.log", tmp_path / "own.log"
    environment = variables(tmp_path)
    with own_ray(tmp_path, environment) as address:
        command = [sys.executable, "-m", "ray.serve.scripts", "run", f"--address={address}"]
        own = {"RAYTASKS_LOG_FILE": str(file), "RAY_AUTH_MODE": "token"}
        with output.open("wb") as opened:
            serve = subprocess.Popen(
                [*command, "serve_app:app"],
                stdout=opened,
                stderr=opened,
                env={**environment, **own},
                start_new_session=True,
            )
        try:
            wait_for(output, "in force", serve)
            task_id, expected = fails(lambda: _submit_failing(address, environment))
            [line] = written(output, f"scripted failed task_id={task_id}")
            assert expected.search(line), line
            [kept] = written(file, f"scripted failed task_id={task_id}")
            assert expected.fullmatch(kept), kept
        finally:
            os.killpg(serve.pid, signal.SIGINT)
            try:
                serve.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(serve.pid, signal.SIGKILL)
                serve.wait(10)


def _submit_failing(address: str, environment: dict[str, str]) -> str:
    """Submit by a driver, which needs no port of the API; return the task's id."""
    script = (
        "import ray, raytasks\n"
        f"ray.init({address!r}, log_to_driver=False)\n"
        "print('id', raytasks.submit('scripted', {'step': 'permanent'}).id)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**environment, "RAY_AUTH_MODE": "token"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("id ")[2].split()[0]
