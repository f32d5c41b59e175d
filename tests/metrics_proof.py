"""The metrics while tracker, replica and service are killed: exact, equal, and never falling.

The tasks come by the replicas' own listener, which goes through all that, too.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from raytasks.client import Client
from raytasks.client.documents import SubmissionDocument
from tests.cluster.conftest import Service, start_service
from tests.cluster.own_listener import check_stop, own_port, own_url, ports_of, wait_for_listeners
from tests.cluster.processes import PATIENCE_SECONDS, REPLICA, TRACKER, kill, only, processes
from tests.metrics_check import Series, check_no_fall, check_sums, counters, scraped
from tests.ports import quiet_port

pytestmark = pytest.mark.slow

TASKS = 4_000
BATCH = 250
OF_TYPE = {"noop": 0.8, "scripted": 0.2}
FAILING_OF_TEN = 3


def scrape(url: str, seconds: float = 10.0) -> Series | None:
    """Scrape over a connection of its own; None if nothing answers now."""
    try:
        answer = httpx.get(f"{url}/metrics", timeout=seconds, trust_env=False)
    except httpx.HTTPError:
        return None
    return scraped(answer.text) if answer.status_code == 200 else None


MIN_LOOKS = 11
"""How often the metrics are looked at, however slow the machine is."""


class Scraper:
    """A Prometheus that looks every second, and sees no counter fall."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.looks = 0
        self.last: Series = {}
        self.error: AssertionError | None = None

    def __enter__(self) -> "Scraper":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(1.0) and self.error is None:
            found = scrape(self._url)
            if found is None:
                continue
            try:
                check_no_fall(self.last, found)
            except AssertionError as error:
                self.error = error
            self.looks += 1
            self.last = found


class Submitter:
    """A client that counts what it was told is accepted, by type."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.accepted = dict.fromkeys(OF_TYPE, 0)
        self.failing = 0

    def submit(self, tasks: int) -> None:
        """Submit so many tasks in batches, through whatever happens."""
        with Client(self._url) as client:
            for batch in range(tasks // BATCH):
                new = [self._task(number) for number in range(BATCH)]
                key = f"{batch}-{self.accepted}"
                deadline = time.monotonic() + PATIENCE_SECONDS
                while True:
                    try:
                        client.submit_many(new, idempotency_key=key)
                        break
                    except Exception:  # the same key makes it safe to repeat
                        assert time.monotonic() < deadline
                        time.sleep(0.2)
                for item in new:
                    self.accepted[str(item["task_type"])] += 1
                self.failing += sum("step" in item["payload"] for item in new)

    def _task(self, number: int) -> SubmissionDocument:
        if number % 10 < OF_TYPE["noop"] * 10:
            return {"task_type": "noop", "payload": {}}
        fails = number // 10 % 10 < FAILING_OF_TEN
        return {"task_type": "scripted", "payload": {"step": "permanent"} if fails else {}}


def settled(url: str) -> dict[str, dict[str, float]]:
    """Return the sums by type as soon as no task is open."""
    deadline = time.monotonic() + 2 * PATIENCE_SECONDS
    while True:
        time.sleep(1.1)  # the answer is kept for a second
        found = scrape(url)
        if found is not None:
            sums = check_sums(found)
            if not any(item["open"] for item in sums.values()):
                return sums
        assert time.monotonic() < deadline, found


def urls_of_replicas(service: Service) -> list[str]:
    """Return the URLs at which the replicas answer directly; their other ports speak no HTTP."""
    ports = [
        port
        for process in processes(service, REPLICA)
        for port in ports_of(process) - {own_port(service)}
    ]
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    return [url for url in urls if scrape(url, 2.0) is not None]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Starts services with two replicas, one after the other, in one folder; ends the last."""
    services: list[Service] = []

    def started(**settings: str) -> Service:
        port = httpx.URL(services[-1].url).port or 0 if services else 0
        options = {"API_REPLICAS": "2", "LEASE_SECONDS": "5", **settings}
        options["LISTEN_PORT"] = str(quiet_port())
        services.append(start_service(tmp_path, port, cpus=2, dashboard=False, **options))
        return services[-1]

    yield started
    last = services[-1]
    last.http.close()
    assert last.stop() == 0, last.log.read_text()


@pytest.mark.usefixtures("no_service")
@pytest.mark.timeout(300)
def test_they_add_up_whatever_is_killed(start: Callable[..., Service]) -> None:
    first = start()
    wait_for_listeners(first, 2)
    submitter = Submitter(own_url(first))
    with Scraper(first.url) as scraper:
        submitter.submit(TASKS // 4)
        kill(only(first, TRACKER))
        submitter.submit(TASKS // 4)
        kill(processes(first, REPLICA)[0])
        submitter.submit(TASKS // 4)
        settled(first.url)
        failed = submitter.failing
        with Client(first.url) as client:
            operation = client.bulk_retry(task_type="scripted")
            retried = client.bulk_wait(operation["bulk_id"], timeout_seconds=60)["changed"]
        assert retried == failed
        submitter.submit(TASKS // 4)
        os.kill(first.process.pid, signal.SIGKILL)
        first.process.wait()
        first.http.close()
        second = start(RETENTION_SECONDS="1")
        sums = settled(second.url)
        for task_type, number in submitter.accepted.items():
            found = sums[task_type]
            assert found["tasks_submitted"] == number
            assert found["tasks_retried"] == (retried if task_type == "scripted" else 0)
            assert found["tasks_finished"] == number + found["tasks_retried"]
        deadline = time.monotonic() + PATIENCE_SECONDS
        while second.http.get("/tasks/").json()["total"] > TASKS / 2:  # pruned at the start
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert settled(second.url) == sums
        looks = scraper.looks
        while scraper.looks < max(looks + 2, MIN_LOOKS):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert scraper.error is None
    assert scraper.looks >= MIN_LOOKS
    of = (("namespace", "default"), ("state", "FAILED"), ("task_type", "scripted"))
    assert scraper.last["raytasks_tasks_finished_total", of] == submitter.failing + retried
    check_replicas(second, sums)
    wait_for_listeners(second, 2)
    check_stop(second)


def check_replicas(service: Service, sums: dict[str, dict[str, float]]) -> None:
    """Check that both replicas answer the same, as soon as the last histograms are saved."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(urls := urls_of_replicas(service)) != 2:
        assert time.monotonic() < deadline, urls
    while True:
        one, other = (scrape(url) for url in urls)
        assert one is not None
        assert other is not None
        if counters(one) == counters(other):
            break
        assert time.monotonic() < deadline
        time.sleep(1.1)
    assert check_sums(one) == check_sums(other) == sums
