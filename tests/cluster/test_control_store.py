"""The head's processes are killed: the control store comes back, and so does a whole head."""

import time
from pathlib import Path

import httpx
import pytest

from tests.cluster.conftest import START_SECONDS, Service
from tests.cluster.processes import RAYLET, TRACKER, kill, kill_control_store, only
from tests.cluster.recovery import recovering
from tests.redis_server import RedisServer

KINDS = ("scripted", "scripted_class", "scripted_remote")


class TestDefault:
    # By a fault of Ray 2.60, a process that owns an actor may crash when the control store comes
    # back ("Check failed" in `CompletePendingTask`). Other tests leave such ones.
    @pytest.mark.fresh_service
    def test_the_control_store_comes_back_and_nothing_is_cut(
        self, service: Service, tmp_path: Path
    ) -> None:
        kill_control_store_and_tracker(service, tmp_path, "RocksDB")
        (kept,) = control_of(service).iterdir()  # so it was not in memory
        assert list(kept.rglob("CURRENT"))

    @pytest.mark.slow
    @pytest.mark.ends_service
    def test_after_the_whole_head_has_died_the_service_starts_again(
        self, service: Service, tmp_path: Path
    ) -> None:
        (before,) = control_of(service).iterdir()
        script = {"step": "wait_file", "file": str(tmp_path / "gate")}
        running = service.submit("scripted", script)
        service.wait_until(running, "RUNNING")
        waiting = service.submit("noop", {}, delay_seconds=2)
        with recovering("the head's raylet killed (SIGKILL): all of Ray starts again"):
            kill(only(service, RAYLET))
            wait_for_announcement(service, 2)
        assert "raylet has ended (SIGKILL)" in service.log.read_text()
        (tmp_path / "gate").touch()
        again = service.wait(running)
        assert [attempt["outcome"] for attempt in again["attempts"]] == ["lost", "succeeded"]
        assert service.wait(waiting)["state"] == "COMPLETED"
        (after,) = control_of(service).iterdir()
        assert after != before  # a new head reads nothing of the old one


@pytest.mark.fresh_service
def test_the_control_store_comes_back_from_redis(
    durable_service: Service, tmp_path: Path, redis: RedisServer
) -> None:
    assert {key.partition(b"-")[0] for key in redis.all_keys()} == {b"RAYraytasks"}
    kill_control_store_and_tracker(durable_service, tmp_path, "Redis")


def control_of(service: Service) -> Path:
    """Return where the service's head keeps its control store."""
    return Path(service.environment["RAY_gcs_storage_path"])


def kill_control_store_and_tracker(service: Service, folder: Path, kept_in: str) -> None:
    """Kill them one after the other while tasks run and come; all must be done in one attempt."""
    script = {"step": "wait_file", "file": str(folder / "gate")}
    running = [service.submit(kind, script) for kind in ("scripted_single", "scripted_remote")]
    for task in running:
        service.wait_until(task, "RUNNING")
    with recovering(f"the control store ({kept_in}) killed (SIGKILL)"):
        kill_control_store(service)
        run_all_kinds(service)
    with recovering(f"the tracker killed after that ({kept_in})"):
        kill(only(service, TRACKER))  # Ray finds in the control store how to start it again
        run_all_kinds(service)
    assert service.http.get("/health").status_code == 200
    (folder / "gate").touch()
    for task in running:
        done = service.wait(task)
        assert (done["state"], done["attempt"]) == ("COMPLETED", 1), done["attempts"]
    assert service.log.read_text().count("Ctrl-C") == 1  # it has not started again


def run_all_kinds(service: Service) -> None:
    accepted = [service.submit(kind, {}) for kind in KINDS]
    for task in accepted:
        done = service.wait(task)
        assert (done["state"], done["attempt"]) == ("COMPLETED", 1), done["attempts"]


def wait_for_announcement(service: Service, count: int) -> None:
    """Wait until the service has said so many times that it is ready, and answers."""
    deadline = time.monotonic() + START_SECONDS
    while service.log.read_text().count("Ctrl-C") < count:
        assert service.process.poll() is None, service.log.read_text()
        assert time.monotonic() < deadline, service.log.read_text()
        time.sleep(0.1)
    service.http.close()  # its connections are those of the old ingress
    service.http = httpx.Client(base_url=service.url, timeout=70, trust_env=False)
