"""Hosts whose clocks are an hour fast and an hour slow: nothing depends on them.

All processes of a host get another time of day by a library that is compiled here.
"""

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.kinds import Kind
from tests.hosts.host_handlers import BOUND_SECONDS, BOUNDED, REMOTE
from tests.hosts.lan import Host
from tests.hosts.load import Load
from tests.hosts.service_on_hosts import HOSTS, PATIENCE_SECONDS, ServiceOnHosts

HOUR = 3600.0
SKEWED = {"one": HOUR, "two": -HOUR}
LONGER_THAN_A_LEASE = 7.0

SOURCE = Path(__file__).with_name("skewed_clock.c")


@pytest.fixture
def skewed(service: ServiceOnHosts, load: Load, tmp_path: Path) -> Iterator[None]:
    """Set the clocks of the workers' hosts an hour forward and back, and right again."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler is installed: apt-get install gcc libc6-dev")
    library = tmp_path / "skewed_clock.so"
    command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True, timeout=60)

    def variables(host: Host) -> dict[str, str]:
        return {"LD_PRELOAD": str(library), "SKEW_SECONDS": f"{SKEWED[host.name]:.0f}"}

    restart(service, variables)
    load.wait_until_whole()
    yield
    restart(service, lambda host: {})


def restart(service: ServiceOnHosts, variables: Callable[[Host], dict[str, str]]) -> None:
    """Have the workers leave and join again with these variables."""
    for host in service.workers:
        service.set_variables(host, **variables(host))
        service.leave(host)
    service.wait_for_nodes(len(HOSTS))


def test_clocks_that_differ(service: ServiceOnHosts, load: Load, skewed: None) -> None:
    began = time.time()
    # What is longer than a lease is lost if that is judged by a host's clock.
    for start in (load.running_remotely, lambda seconds: load.running_on(*HOSTS, seconds=seconds)):
        hosts = set()
        for task_id in start(LONGER_THAN_A_LEASE):
            [attempt] = load.done(task_id)["attempts"]
            hosts.add(attempt["host"])
            assert attempt["outcome"] == "succeeded"
            assert within(attempt, began)
            assert LONGER_THAN_A_LEASE <= ran(attempt) < LONGER_THAN_A_LEASE + 5
        assert hosts >= SKEWED.keys()
    a_timeout_takes_as_long_as_it_says(service, load, began)
    an_attempt_that_was_lost_has_the_right_times(load, began)


def a_timeout_takes_as_long_as_it_says(service: ServiceOnHosts, load: Load, began: float) -> None:
    ends = {0.5: "COMPLETED", 60.0: "FAILED"}
    seen = set()
    for seconds, state in ends.items():
        tasks = [submit_bounded(service, seconds) for _ in range(2 * len(HOSTS))]
        for task_id in tasks:
            done = load.done(task_id, state)
            [attempt] = done["attempts"]
            seen.add(attempt["host"])
            assert within(attempt, began)
            if state == "FAILED":
                assert attempt["outcome"] == "timed_out"
                # A handler that does not ask is asked for some seconds, and then interrupted.
                assert BOUND_SECONDS <= ran(attempt) < BOUND_SECONDS + 20
            else:  # the hosts do have other clocks
                skew = float(done["result"]) - time_of(attempt["finished_at"])
                assert abs(skew - SKEWED.get(attempt["host"], 0.0)) < 60
            # The history is judged by what is in payloads.
            assert service.http.delete(f"/tasks/{task_id}").is_success
    assert seen >= SKEWED.keys()


def submit_bounded(service: ServiceOnHosts, seconds: float) -> str:
    body = {"task_type": BOUNDED, "payload": {"seconds": seconds}}
    return str(service.http.post("/tasks/", json=body).raise_for_status().json()["task_id"])


def an_attempt_that_was_lost_has_the_right_times(load: Load, began: float) -> None:
    """The task runner on the head makes the outcome of an attempt whose process has died."""
    seen: set[str] = set()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not seen >= SKEWED.keys():
        assert time.monotonic() < deadline, seen
        tasks = [load.submit(REMOTE, kind=Kind.CRASH_ONCE) for _ in HOSTS]
        for task_id in tasks:
            lost, succeeded = load.done(task_id)["attempts"]
            assert (lost["outcome"], succeeded["outcome"]) == ("lost", "succeeded")
            assert within(lost, began)
            assert time_of(lost["finished_at"]) <= time_of(succeeded["started_at"])
            seen.add(lost["host"])


def within(attempt: dict[str, Any], began: float) -> bool:
    """Return whether an attempt has its times since a moment, by the clock of this process."""
    times = [
        began,
        *(time_of(attempt[name]) for name in ("started_at", "finished_at")),
        time.time(),
    ]
    return times == sorted(times)


def ran(attempt: dict[str, Any]) -> float:
    """Return how many seconds an attempt ran."""
    return time_of(attempt["finished_at"]) - time_of(attempt["started_at"])


def time_of(text: str) -> float:
    """Return a time in seconds since the epoch."""
    return datetime.fromisoformat(text).timestamp()
