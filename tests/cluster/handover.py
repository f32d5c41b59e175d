"""The handover from one cluster to the next on one PostgreSQL, as in a rolling upgrade.

By hand, in full: `python -m tests.cluster.handover --tasks 100 --seconds 20 --after 60`. It ends
the first cluster by SIGTERM; with `--kill` by SIGKILL, in the middle of what it runs.
"""

import argparse
import json
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.cluster.conftest import STOP_SECONDS, Service, start_service
from tests.postgres_server import PostgresServer

NO_HAPROXY = "127.0.0.2"
"""Where the second cluster listens: at a host for which Serve's own proxy is used, not HAProxy."""

_KEYS = 20


@dataclass
class Handover:
    """The record of a handover.

    - `begun`: how often each task has begun. `first`: the tasks that had begun before a kill.
    - `refused`: the answers to submissions other than 202.
    - `answers`: the ids of tasks by idempotency key, one for each 202.
    """

    begun: Counter[str] = field(default_factory=Counter)
    first: set[str] = field(default_factory=set)
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    answers: dict[str, set[str]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def twice(self) -> set[str]:
        """The tasks that have begun more than once."""
        return {task_id for task_id, times in self.begun.items() if times > 1}

    def check(self, *, killed: bool) -> None:
        """See that the promise was kept."""
        other = [task for task in self.tasks.values() if task["state"] != "COMPLETED"]
        assert not other, f"{len(other)} have not completed: {other[:2]}"
        for task in self.tasks.values():
            ended = [item["outcome"] for item in task["attempts"]]
            assert ended.count("succeeded") == 1, task
        assert not self.refused, self.refused
        assert all(len(ids) == 1 for ids in self.answers.values()), self.answers
        assert self.begun.keys() == self.tasks.keys()
        if killed:
            assert self.twice <= self.first, self.twice - self.first
            assert self.twice, "nothing ran in the first cluster when it was killed"
        else:
            assert not self.twice, self.twice


def hand_over(
    folder: Path,
    database_url: str,
    *,
    tasks: int,
    seconds: float,
    after: float,
    killed: bool,
    say: Callable[[str], object] = lambda _: None,
    **environment: str,
) -> Handover:
    """Hand tasks over from one cluster to another, and return what was seen.

    Half of the `tasks`, of so many `seconds`, are submitted before the second cluster begins, the
    others to both while it is there. The first one ends `after` seconds.
    """
    seen, mark = Handover(), folder / "begun"
    values = {"DATABASE_URL": database_url, "TASK_MODULES": "tests.concurrent_handlers"}
    values |= {"STOP_GRACE_SECONDS": str(int(2 * seconds + 10)), "RAY_INCLUDE_DASHBOARD": "0"}
    values |= environment
    start: Any = start_service  # whose other arguments are no text
    for name in ("first", "second"):
        (folder / name).mkdir()
    gate = folder / "gate"
    script = {"seconds": seconds, "mark": str(mark)}
    body = {"task_type": "marked_wait", "payload": script}
    held = {**body, "payload": {**script, "seconds": 600.0, "gate": str(gate)}}
    first: Service = start(folder / "first", **values)
    second: Service | None = None
    try:
        for _ in range(tasks // 2):
            _submit(seen, first, held if killed else body)
        _until(lambda: len(_begun(mark)) >= tasks // 2)
        began = time.monotonic()
        stop = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            trickle = pool.submit(_trickle, seen, first, body, tasks // 4, stop)
            second = start(folder / "second", host=NO_HAPROXY, **values)
            seen.seconds["second is up"] = time.monotonic() - began
            stop.set()
            trickle.result()
        say(f"the second is up after {seen.seconds['second is up']:.1f} s")
        _submit_to_both(seen, first, second, body)
        while len(seen.tasks) < tasks:
            _submit(seen, second, body)
        time.sleep(max(0.0, after - (time.monotonic() - began)))
        began = time.monotonic()
        if killed:
            seen.first = {*seen.first, *_begun(mark)}  # of which those still run that are held
            _kill(first)
            gate.touch()
        else:
            first.process.send_signal(signal.SIGTERM)
            assert first.process.wait(STOP_SECONDS + 3 * seconds) == 0, first.log.read_text()
            seen.seconds["first has ended"] = time.monotonic() - began
        for task_id in seen.tasks:
            seen.tasks[task_id] = second.wait({"task_id": task_id}, 60.0)
        seen.seconds["all have ended"] = time.monotonic() - began
        seen.begun = Counter(_begun(mark))
        return seen
    finally:
        for service in filter(None, (first, second)):
            service.http.close()
            if service.process.poll() is None:
                service.stop()


def _submit(seen: Handover, service: Service, body: dict[str, Any], key: str = "") -> None:
    headers = {"Idempotency-Key": key} if key else {}
    try:
        answer = service.http.post("/tasks/", json=body, headers=headers)
    except httpx.HTTPError as error:
        seen.refused.append(repr(error))
        return
    if answer.status_code not in (200, 202):
        seen.refused.append(f"{answer.status_code} {answer.text}")
        return
    task_id = answer.json()["task_id"]
    seen.tasks[task_id] = answer.json()
    if key:
        seen.answers.setdefault(key, set()).add(task_id)


def _trickle(
    seen: Handover, service: Service, body: dict[str, Any], most: int, stop: threading.Event
) -> None:
    """Submit a task now and then, while the other cluster takes over."""
    for _ in range(most):
        if stop.is_set():
            return
        _submit(seen, service, body)
        stop.wait(0.5)


def _submit_to_both(seen: Handover, first: Service, second: Service, body: dict[str, Any]) -> None:
    """Send each of some keys to both clusters at once."""
    keys = [f"key {number}" for number in range(_KEYS)]
    with ThreadPoolExecutor(8) as pool:
        jobs = [
            pool.submit(_submit, seen, service, body, key)
            for key in keys
            for service in (first, second)
        ]
        for job in jobs:
            job.result()


def _begun(mark: Path) -> list[str]:
    return [line.split()[0] for line in mark.read_text().splitlines()] if mark.exists() else []


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _kill(service: Service) -> None:
    """End a whole cluster at once, as when its machine is gone."""
    up = psutil.Process(service.process.pid)
    processes = [up, *up.children(recursive=True)]
    for process in processes:
        process.suspend()  # so that none sees the end of another
    for process in processes:
        process.kill()
    psutil.wait_procs(processes, timeout=20)
    service.process.wait(20)


def main() -> None:
    """Hand over as told, and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--after", type=float, default=60.0)
    parser.add_argument("--kill", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="raytasks-handover-") as folder:
        places = [Path(folder, name) for name in ("postgres", "runtime", "clusters")]
        for place in places:
            place.mkdir()
        server = PostgresServer(*places[:2])
        try:
            seen = hand_over(
                places[2],
                server.new_database(),
                tasks=asked.tasks,
                seconds=asked.seconds,
                after=asked.after,
                killed=asked.kill,
                say=print,
            )
        finally:
            server.remove()
    print(json.dumps({"tasks": len(seen.tasks), "twice": len(seen.twice), **seen.seconds}))
    seen.check(killed=asked.kill)


if __name__ == "__main__":
    main()
