"""Clients retry with their key while what answers them is killed or frozen; nothing doubles."""

import threading
import time
from pathlib import Path

import httpx
import pytest

from raytasks.client import Client
from tests.cluster.conftest import Service
from tests.cluster.processes import (
    CONTROLLER,
    HAPROXY,
    PATIENCE_SECONDS,
    REPLICA,
    TRACKER,
    begun,
    frozen,
    kill,
    marks,
    only,
    processes,
    released,
)
from tests.cluster.recovery import recovering


class Submitters:
    """Clients that submit all the time, each task with a key, until it is accepted."""

    def __init__(self, service: Service, clients: int = 4) -> None:
        self._url = service.url
        self._stopping = threading.Event()
        self.accepted: dict[str, str] = {}
        self.troubles = 0
        self._threads = [
            threading.Thread(target=self._submit, args=(number,)) for number in range(clients)
        ]

    def __enter__(self) -> "Submitters":
        for thread in self._threads:
            thread.start()
        self.more(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def more(self, tasks: int) -> None:
        """Wait until so many more were accepted."""
        wanted = len(self.accepted) + tasks
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(self.accepted) < wanted:
            assert time.monotonic() < deadline, (len(self.accepted), wanted, self.troubles)
            time.sleep(0.01)

    def _submit(self, client: int) -> None:
        number = 0
        with httpx.Client(base_url=self._url, timeout=20, trust_env=False) as http:
            while not self._stopping.is_set():
                key = f"{id(self)}-{client}-{number}"
                body = {"task_type": "noop", "payload": {"key": key}}
                try:
                    answer = http.post("/tasks/", json=body, headers={"Idempotency-Key": key})
                except httpx.HTTPError:
                    answer = None
                if answer is not None and answer.status_code in (200, 202):
                    self.accepted[key] = answer.json()["task_id"]
                    number += 1
                else:
                    self.troubles += 1
                    time.sleep(0.05)


def check(service: Service, submitters: Submitters) -> None:
    """Every accepted task completes, and there is one for each key."""
    for task_id in submitters.accepted.values():
        assert service.wait({"task_id": task_id})["state"] == "COMPLETED"
    assert len(set(submitters.accepted.values())) == len(submitters.accepted)
    for key, task_id in list(submitters.accepted.items())[-40:]:
        body = {"task_type": "noop", "payload": {"key": key}}
        again = service.http.post("/tasks/", json=body, headers={"Idempotency-Key": key})
        assert (again.status_code, again.json()["task_id"]) == (200, task_id)


@pytest.mark.parametrize(
    ("victim", "name"),
    [
        ("the only API replica", REPLICA),
        ("HAProxy", HAPROXY),
        ("Serve's controller", CONTROLLER),
        ("the tracker", TRACKER),
    ],
)
def test_it_is_killed_under_load(service: Service, victim: str, name: str) -> None:
    with Submitters(service) as submitters:
        with recovering(f"{victim} killed (SIGKILL)"):
            kill(*processes(service, name))
            submitters.more(20)
        submitters.more(50)
    check(service, submitters)


def test_a_frozen_tracker_is_replaced(service: Service, tmp_path: Path) -> None:
    gate, mark = tmp_path / "gate", tmp_path / "mark"
    script = {"step": "wait_file", "file": str(gate), "mark": str(mark)}
    running = service.submit("scripted", script)
    begun(mark)
    with released(gate), Submitters(service) as submitters:
        former = only(service, TRACKER)
        with frozen(former), recovering("the tracker frozen (SIGSTOP)"):
            for path in (f"/tasks/{running['task_id']}", "/tasks/"):  # read without the tracker
                assert service.http.get(path, timeout=2).status_code == 200
            submitters.more(20)
        submitters.more(50)
        assert begun(mark).is_running()
    assert only(service, TRACKER).pid != former.pid
    done = service.wait(running)
    assert (done["state"], done["attempt"]) == ("COMPLETED", 1)
    assert len(marks(mark)) == 1
    check(service, submitters)


def test_the_client_library_rides_out_a_killed_replica(service: Service) -> None:
    with Client(service.url) as client:
        client.submit("noop", {})
        kill(*processes(service, REPLICA))
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                task = client.submit("noop", {}, idempotency_key="client-library")
                break
            except Exception:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        again = client.submit("noop", {}, idempotency_key="client-library")
        assert again["task_id"] == task["task_id"]
