"""Starting, being killed, and starting again; and the demo."""

import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.cluster.conftest import (
    FLOODED_CPUS,
    Service,
    Services,
    ingress_ports,
    start_pooled,
)
from tests.cluster.processes import PATIENCE_SECONDS, kill_control_store, wait_gone


@pytest.mark.ends_service
def test_killed_service_starts_again_on_its_port_and_finishes_every_task(
    services: Services, flooded_service: Service, tmp_path: Path
) -> None:
    """All processes of the first one end with it, also where the control store was restarted."""
    first = flooded_service
    end_flood(first)
    done = first.run("scripted", {})
    running = first.submit("scripted", {"step": "wait_file", "file": str(tmp_path / "gate")})
    first.wait_until(running, "RUNNING")
    waiting = first.submit("scripted", {}, delay_seconds=1)
    load = [first.submit("scripted", {"step": "sleep", "seconds": 0.05}) for _ in range(100)]
    first.wait(load[10])
    kill_control_store(first)
    family = psutil.Process(first.process.pid).children(recursive=True)
    os.kill(first.process.pid, signal.SIGKILL)
    first.process.wait()
    wait_gone(*family, seconds=10)

    second = start_pooled(services, "flooded_service", FLOODED_CPUS, first)
    assert second.url == first.url
    (tmp_path / "gate").touch()
    assert second.get(done)["state"] == "COMPLETED"
    again = second.wait(running)
    assert again["state"] == "COMPLETED"
    assert [attempt["outcome"] for attempt in again["attempts"]] == ["lost", "succeeded"]
    for task in [waiting, *load]:
        assert second.wait(task)["state"] == "COMPLETED"


def end_flood(service: Service) -> None:
    """Cancel all tasks, and wait until that is done."""
    answer = service.http.post("/bulk", json={"action": "cancel", "task_type": "scripted"})
    assert answer.status_code == 202, answer.text
    deadline = time.monotonic() + PATIENCE_SECONDS
    while service.http.get(answer.headers["Location"]).json()["finished_at"] is None:
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.timeout(400)
@pytest.mark.usefixtures("no_service")
def test_demo_shows_every_task_completed(tmp_path: Path) -> None:
    # Ports of its own: one that starts at the same moment would find the same ones free.
    environment = {**os.environ, **ingress_ports(), "ARTIFACTS_URL": str(tmp_path / "artifacts")}
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
