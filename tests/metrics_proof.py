"""The proof of the metrics: exact, equal and never falling, while processes are killed.

    python -m tests.metrics_proof [--tasks N]

The tracker, a replica, and then the whole service are killed under load. For each type and in each
scrape, what was submitted and retried has finished or is open. What the client was told, a GROUP
BY and the ends in the history say the same. At the end all is pruned, and both replicas answer the
same. The tasks come by the replicas' own listener, which goes through all that, too.
`tests/cluster/test_metrics.py` has a shorter form.
"""

import argparse
import os
import signal
import sqlite3
import sys
import tempfile
import threading
import time
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

from raytasks.client import Client
from raytasks.client.documents import SubmissionDocument
from raytasks.store.store import Store
from tests.cluster.conftest import Service, start_service
from tests.cluster.own_listener import check_stop, own_port, own_url, ports_of, wait_for_listeners
from tests.cluster.processes import PATIENCE_SECONDS, REPLICA, TRACKER, kill, only, processes
from tests.metrics_check import (
    Series,
    check_identity,
    check_no_fall,
    check_sums,
    counters,
    scraped,
)
from tests.ports import quiet_port

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
    """A Prometheus that looks every second: no counter falls, and each scrape adds up."""

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
                check_sums(found)
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


@dataclass(frozen=True)
class Evidence:
    """The totals of all types, each compared as the module says, and what was done meanwhile.

    `looks` is the number of scrapes, of which each was compared with the one before.
    """

    submitted: int
    retried: int
    finished: int
    failed: int
    open: int
    looks: int
    series: int
    trackers_killed: int
    replicas_killed: int
    services_killed: int
    seconds: float


class _Services:
    """The service of the proof, which is killed whole, and started again on the same files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.last: Service | None = None

    def start(self, **settings: str) -> Service:
        """Start it with two replicas, at the URL that it had before."""
        port = 0 if self.last is None else httpx.URL(self.last.url).port or 0
        options = {"API_REPLICAS": "2", "LEASE_SECONDS": "5", **settings}
        options["LISTEN_PORT"] = str(quiet_port())
        self.last = start_service(self._folder, port, cpus=2, dashboard=False, **options)
        return self.last

    def kill(self) -> None:
        """Kill its `raytasks up`, which ends the rest."""
        assert self.last is not None
        os.kill(self.last.process.pid, signal.SIGKILL)
        self.last.process.wait()
        self.last.http.close()

    def end(self) -> None:
        """Stop it in order, if it still runs."""
        if self.last is None:
            return
        self.last.http.close()
        with suppress(ProcessLookupError):
            assert self.last.stop() == 0, self.last.log.read_text()


def prove(folder: Path, *, tasks: int) -> Evidence:
    """Run so many tasks on services with their files in the folder, and compare the totals.

    Raises `AssertionError` if anything differs, or does not come in time.
    """
    begun = time.monotonic()
    services = _Services(folder)
    try:
        first = services.start()
        wait_for_listeners(first, 2)
        submitter = Submitter(own_url(first))
        with Scraper(first.url) as scraper:
            retried = _load(first, submitter, tasks)
            services.kill()
            second = services.start(RETENTION_SECONDS="1")
            sums = _check_totals(second, submitter, retried)
            _wait_until_pruned(second, tasks)
            assert settled(second.url) == sums
            _look_on(scraper)
        assert scraper.error is None, scraper.error
        of = (("namespace", "default"), ("state", "FAILED"), ("task_type", "scripted"))
        failed = scraper.last["raytasks_tasks_finished_total", of]
        assert failed == submitter.failing + retried
        series = check_replicas(second, sums)
        wait_for_listeners(second, 2)
        check_stop(second)
    finally:
        services.end()
    totals = _totals(folder / "tasks.db")
    return Evidence(
        submitted=sum(int(of_type["tasks_submitted"]) for of_type in sums.values()),
        retried=sum(int(of_type["tasks_retried"]) for of_type in sums.values()),
        finished=sum(int(of_type["tasks_finished"]) for of_type in sums.values()),
        failed=int(failed),
        open=totals,
        looks=scraper.looks,
        series=series,
        trackers_killed=1,
        replicas_killed=1,
        services_killed=1,
        seconds=round(time.monotonic() - begun, 1),
    )


def _load(service: Service, submitter: Submitter, tasks: int) -> int:
    """Submit the tasks, kill tracker and replica meanwhile, retry what has failed.

    Returns how many were retried. The last quarter is on its way then.
    """
    submitter.submit(tasks // 4)
    kill(only(service, TRACKER))
    submitter.submit(tasks // 4)
    kill(processes(service, REPLICA)[0])
    submitter.submit(tasks // 4)
    settled(service.url)
    failed = submitter.failing
    with Client(service.url) as client:
        operation = client.bulk_retry(task_type="scripted")
        retried = client.bulk_wait(operation["bulk_id"], timeout_seconds=60)["changed"]
    assert retried == failed
    sums = settled(service.url)
    file = service.environment["DATABASE_URL"].removeprefix("sqlite:///")
    assert _ends(Path(file)) == {name: item["tasks_finished"] for name, item in sums.items()}
    submitter.submit(tasks // 4)
    return retried


def _ends(file: Path) -> dict[str, int]:
    """Return how many ends of tasks the history has, by type."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        rows = connection.execute(
            "SELECT task_type, count(*) FROM attempts JOIN tasks USING (task_id) "
            "WHERE attempts.state IN ('COMPLETED', 'FAILED', 'CANCELLED') GROUP BY task_type"
        )
        return dict(rows.fetchall())


def _check_totals(
    service: Service, submitter: Submitter, retried: int
) -> dict[str, dict[str, float]]:
    """Compare the totals with what the client was told, once nothing is open; return them."""
    sums = settled(service.url)
    for task_type, number in submitter.accepted.items():
        found = sums[task_type]
        assert found["tasks_submitted"] == number
        assert found["tasks_retried"] == (retried if task_type == "scripted" else 0)
        assert found["tasks_finished"] == number + found["tasks_retried"]
    return sums


def _wait_until_pruned(service: Service, tasks: int) -> None:
    """Wait until most tasks are gone: the service prunes from its start on."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while service.http.get("/tasks/").json()["total"] > tasks / 2:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def _look_on(scraper: Scraper) -> None:
    """Wait for two more looks at what there is now."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    looks = scraper.looks
    while scraper.looks < max(looks + 2, MIN_LOOKS) and scraper.error is None:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _totals(file: Path) -> int:
    """Compare the stored totals with a GROUP BY; return how many tasks are open."""
    store = Store(f"sqlite:///{file}")
    try:
        check_identity(store)
        return sum(number for (*_, state), number in store.counts().items() if not state.final)
    finally:
        store.close()


def check_replicas(service: Service, sums: dict[str, dict[str, float]]) -> int:
    """Check that both replicas answer the same, as soon as the last histograms are saved.

    Returns how many series of counters were compared.
    """
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
    return len(counters(one))


def main() -> int:
    """Print the evidence; an error tells what differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=10_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="raytasks-proof-") as folder:
        evidence = prove(Path(folder), tasks=asked.tasks)
    for name, value in asdict(evidence).items():
        print(f"{name:16} {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
