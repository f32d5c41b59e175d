"""The head's processes are killed: the control store comes back, and so does a whole head.

This module runs services of its own, and so must come before the one that all others share.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.cluster.conftest import START_SECONDS, Service, start_service
from tests.cluster.processes import CONTROL_STORE, RAYLET, TRACKER, kill, only, wait_gone
from tests.cluster.recovery import recovering
from tests.redis_server import RedisServer, running_redis

KINDS = ("scripted", "scripted_class", "scripted_remote")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the service that all tests of the default store use has its files."""
    return tmp_path_factory.mktemp("default")


@pytest.fixture(scope="class")
def default_service(folder: Path) -> Iterator[Service]:
    """A service with the embedded control store, in a folder of this test."""
    (folder / "control").mkdir()
    service = start_service(folder, RAY_gcs_storage_path=str(folder / "control"))
    yield service
    service.http.close()
    service.process.kill()
    service.process.wait()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis server."""
    with running_redis(tmp_path) as server:
        yield server


class TestDefault:
    def test_the_control_store_comes_back_and_nothing_is_cut(
        self, default_service: Service, tmp_path: Path, folder: Path
    ) -> None:
        kill_control_store_and_tracker(default_service, tmp_path, "RocksDB")
        (kept,) = (folder / "control").iterdir()  # so it was not in memory
        assert list(kept.rglob("CURRENT"))

    def test_after_the_whole_head_has_died_the_service_starts_again(
        self, default_service: Service, tmp_path: Path, folder: Path
    ) -> None:
        service = default_service
        (before,) = (folder / "control").iterdir()
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
        (after,) = (folder / "control").iterdir()
        assert after != before  # a new head reads nothing of the old one

    def test_all_that_was_started_ends_when_the_service_is_killed(
        self, default_service: Service
    ) -> None:
        kill_control_store(default_service)
        family = psutil.Process(default_service.process.pid).children(recursive=True)
        default_service.process.kill()
        wait_gone(*family, seconds=10)


def test_the_control_store_comes_back_from_redis(tmp_path: Path, redis: RedisServer) -> None:
    service = start_service(tmp_path, REDIS_URL=redis.url)
    assert {key.partition(b"-")[0] for key in redis.all_keys()} == {b"RAYraytasks"}
    kill_control_store_and_tracker(service, tmp_path, "Redis")
    service.http.close()
    assert service.stop() == 0, service.log.read_text()
    assert redis.all_keys() == []


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
        assert (done["state"], done["attempt"]) == ("COMPLETED", 1)
    assert service.log.read_text().count("Ctrl-C") == 1  # it has not started again


def kill_control_store(service: Service) -> None:
    """Kill gcs_server, and wait until there is another one."""
    old = only(service, CONTROL_STORE)
    kill(old)
    assert only(service, CONTROL_STORE) != old


def run_all_kinds(service: Service) -> None:
    accepted = [service.submit(kind, {}) for kind in KINDS]
    for task in accepted:
        done = service.wait(task)
        assert (done["state"], done["attempt"]) == ("COMPLETED", 1)


def wait_for_announcement(service: Service, count: int) -> None:
    """Wait until the service has said so many times that it is ready, and answers."""
    deadline = time.monotonic() + START_SECONDS
    while service.log.read_text().count("Ctrl-C") < count:
        assert service.process.poll() is None, service.log.read_text()
        assert time.monotonic() < deadline, service.log.read_text()
        time.sleep(0.1)
    service.http.close()  # its connections are those of the old ingress
    service.http = httpx.Client(base_url=service.url, timeout=70, trust_env=False)
