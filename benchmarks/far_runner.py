"""The cost of a task whose runner is not on the tracker's node, beside one whose runner is.

    python -m benchmarks.far_runner [--tasks 5000] [--alone 200] [--pairs 5]

A runner on the tracker's node calls it over our own socket, one on another node by Ray. Both nodes
are simulated on this machine, so this is the cost of the other way alone, without a network. It is
also the most that a socket over TCP could gain.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from benchmarks.far_handlers import ELSEWHERE, FAR, LABEL, NEAR
from benchmarks.measures import processor_seconds
from benchmarks.servers.programs import Program, ProgramFailed
from benchmarks.servers.service import TRACKER, WARM_RUNNER, Service, running_service

KINDS = {"near": NEAR, "far": FAR}
_WAYS = {"near": "socket", "far": "ray"}
_START_SECONDS = 60.0


def measure(service: Service, other: Program, tasks: int, alone: int, pairs: int) -> dict[str, str]:
    """Return the figures of both kinds, which take turns, and of the far one by the near one.

    Each is a median, with the least and the greatest of the pairs.

    - `ms_alone`: milliseconds from a submission until its end was answered, for one at a time.
    - `per_second`: the rate at which stored tasks are drained by one runner.
    - `tracker_us`, `runner_us`: the processor time of a task then.
    """
    found: dict[str, list[float]] = {}
    for kind, task_type in KINDS.items():
        _alone(service, task_type, 1)
        _wait_for_runner(service, kind)
        _drained(service, other, kind, tasks)  # the first one warms up
        _alone(service, task_type, 20)
    for number in range(pairs):
        for kind in sorted(KINDS, reverse=bool(number % 2)):
            figures = _drained(service, other, kind, tasks)
            figures["ms_alone"] = _alone(service, KINDS[kind], alone)
            for name, value in figures.items():
                found.setdefault(f"{kind}.{name}", []).append(value)
    for name in [name.removeprefix("far.") for name in found if name.startswith("far.")]:
        both = zip(found[f"far.{name}"], found[f"near.{name}"], strict=True)
        found[f"far by near.{name}"] = [far / near for far, near in both]
    return {name: _spread(values) for name, values in sorted(found.items())}


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def _wait_for_runner(service: Service, kind: str) -> None:
    """Wait until the kind's runner calls the tracker in the way that is measured."""
    deadline = time.monotonic() + _START_SECONDS
    while True:
        runners = service.http.get("/runners").json()["runners"]
        ways = [one["way"] for one in runners if one["pool"] == kind and one["state"] == "idle"]
        if ways == [_WAYS[kind]]:
            return
        if time.monotonic() > deadline:
            raise ProgramFailed(f"the runner of {kind} should call by {_WAYS[kind]}: {ways}")
        time.sleep(0.1)


def _drained(service: Service, other: Program, kind: str, tasks: int) -> dict[str, float]:
    """Drain no-ops that were stored before by one runner; return the rate and the costs."""
    family = service.program.family() + other.family()
    tracker = _only(family, TRACKER, service)
    runner = _only(family, WARM_RUNNER, service, kind)
    with service.control() as control:
        before = service.completed()
        service.submit(tasks, KINDS[kind])
        used = processor_seconds(tracker), processor_seconds(runner)
        began = control.resume()
        seconds = service.wait_completed(before + tasks) - began
        return {
            "per_second": tasks / seconds,
            "tracker_us": 1e6 * (processor_seconds(tracker) - used[0]) / tasks,
            "runner_us": 1e6 * (processor_seconds(runner) - used[1]) / tasks,
        }


def _only(
    family: list[psutil.Process], name: str, service: Service, pool: str | None = None
) -> psutil.Process:
    pids = None
    if pool is not None:
        runners = service.http.get("/runners").json()["runners"]
        pids = [one["pid"] for one in runners if one["pool"] == pool]
    for process in family:
        named = (process.cmdline() or [""])[0].startswith(name)
        if named and (pids is None or process.pid in pids):
            return process
    raise ProgramFailed(f"{name} does not run")


def _alone(service: Service, task_type: str, tasks: int) -> float:
    """Submit tasks one at a time, and wait for each; return the median in milliseconds."""
    seconds = []
    for _ in range(tasks):
        began = time.perf_counter()
        body = {"task_type": task_type, "payload": {}}
        task = service.http.post("/tasks/", json=body).raise_for_status().json()
        done = service.http.get(f"/tasks/{task['task_id']}", params={"wait": 30}).json()
        seconds.append(time.perf_counter() - began)
        if done["state"] != "COMPLETED":
            raise ProgramFailed(f"a task was not completed: {done}")
    return 1000 * statistics.median(seconds)


@contextmanager
def _other_node(service: Service) -> Iterator[Program]:
    command = [sys.executable, "-m", "raytasks", "worker", f"--address={service.ray_address}"]
    log = service.program.log.with_name("other-node.log")
    options = ["--num-cpus=2", f"--labels={LABEL}={ELSEWHERE}"]
    node = Program([*command, *options], log, service.environment)
    try:
        node.wait_for("works for")
        yield node
    finally:
        node.stop()


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=5000)
    parser.add_argument("--alone", type=int, default=200)
    parser.add_argument("--pairs", type=int, default=5)
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        running_service(
            Path(folder),
            num_cpus=2,
            modules="benchmarks.far_handlers",
            environment={"RUNNER_IDLE_SECONDS": "3600"},
        ) as service,
        _other_node(service) as other,
    ):
        print(json.dumps(measure(service, other, asked.tasks, asked.alone, asked.pairs), indent=2))


if __name__ == "__main__":
    main()
