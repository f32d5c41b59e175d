"""Starting, being killed, and starting again; and the demo."""

import contextlib
import os
import signal
import subprocess
from pathlib import Path

import httpx
import pytest

from raytasks.protocol.queries import TaskDetail
from raytasks.store.store import Store
from tests.cluster.conftest import Service, start_service


@pytest.mark.ends_service
def test_killed_service_starts_again_on_its_port_and_finishes_every_task(
    service: Service, tmp_path: Path
) -> None:
    first = service
    done = first.run("noop", {})
    running = first.submit("scripted", {"step": "wait_file", "file": str(tmp_path / "gate")})
    first.wait_until(running, "RUNNING")
    waiting = first.submit("noop", {}, delay_seconds=1)
    load = [first.submit("scripted", {"step": "sleep", "seconds": 0.05}) for _ in range(100)]
    first.wait(load[10])
    os.kill(first.process.pid, signal.SIGKILL)
    first.process.wait()
    first.http.close()

    folder = first.log.parent
    second = start_service(folder, port=httpx.URL(first.url).port or 0, LEASE_SECONDS="5")
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
    with contextlib.closing(Store(second.environment["DATABASE_URL"])) as store:
        for item in stopped:
            kept = store.read(TaskDetail(item["task_id"]))
            assert kept is not None
            stored, history = kept
            assert (stored.state, stored.crashes, stored.failures) == ("PENDING", 0, 0)
            assert [attempt.outcome for attempt in history] == ["released"]


@pytest.mark.timeout(400)
@pytest.mark.usefixtures("no_service")
def test_demo_shows_every_task_completed(tmp_path: Path) -> None:
    environment = {**os.environ, "ARTIFACTS_URL": str(tmp_path / "artifacts")}
    done = subprocess.run(  # noqa: PLW1510
        ["make", "demo"],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        timeout=350,  # on a busy machine
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for task_type in ("text_processing", "ai_summarization", "batch_processing"):
        assert f"{task_type}: COMPLETED" in done.stdout
    assert "flaky: RETRYING (attempt 2)" in done.stdout
    assert "attempt 3             succeeded" in done.stdout
    assert len(list((tmp_path / "artifacts").glob("*/resized.jpg"))) == 1
