"""The real service: `raytasks up` as its own program, as it is shipped."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.handlers import BODY, NOOP, SLEEP
from benchmarks.load import Plan, generate
from benchmarks.measures import Result
from benchmarks.servers.ports import quiet_port
from benchmarks.servers.programs import Conversation, Program, ProgramFailed, clean
from raytasks.model.states import State
from raytasks.store.store import Store

TRACKER = "ray::TrackerActor"
WARM_RUNNER = "ray::WarmRunner"

_POLL_SECONDS = 0.02
_DRAIN_SECONDS = 600.0
_WARM_SECONDS = 30.0
_MAX_IN_BATCH = 1000
NOOP_PREFIX = "/noop"


@dataclass
class Service:
    """A running service, and what a scenario needs of it."""

    url: str
    listener_url: str
    ray_address: str
    program: Program
    environment: dict[str, str]
    http: httpx.Client
    store: Store

    def completed(self) -> int:
        """Return how many tasks are COMPLETED, as the database says."""
        counts = self.store.counts()
        return sum(number for (_, _, state), number in counts.items() if state is State.COMPLETED)

    def wait_completed(self, tasks: int, seconds: float = _DRAIN_SECONDS) -> float:
        """Wait until so many tasks are COMPLETED; return when that was seen (monotonic)."""
        deadline = time.monotonic() + seconds
        while self.completed() < tasks:
            if time.monotonic() > deadline:
                raise ProgramFailed(f"{self.completed()} of {tasks} tasks were completed in time")
            time.sleep(_POLL_SECONDS)
        return time.monotonic()

    def submit(
        self,
        tasks: int,
        task_type: str = NOOP,
        *,
        namespace: str = "default",
        payload_of: Callable[[int], Any] | None = None,
        **options: Any,
    ) -> list[str]:
        """Submit tasks in batches, and return their ids.

        `payload_of` gives the payload of each by its number.
        """
        place = {"namespace": namespace}
        ids: list[str] = []
        while len(ids) < tasks:
            size = min(_MAX_IN_BATCH, tasks - len(ids))
            task = {"task_type": task_type, "payload": {}, **options}
            body = {"tasks": [task] * size}
            if payload_of is not None:
                numbers = range(len(ids), len(ids) + size)
                body["tasks"] = [{**task, "payload": payload_of(number)} for number in numbers]
            answer = self.http.post("/tasks/batch", params=place, json=body).raise_for_status()
            ids += [task["task_id"] for task in answer.json()["tasks"]]
        return ids

    def warm_up(self, runners: int | None = None) -> None:
        """Have tasks run until the shared pool has grown to its size: one runner a processor."""
        wanted = runners or os.cpu_count() or 1
        deadline = time.monotonic() + _WARM_SECONDS
        while True:
            before = self.completed()
            tasks = self.submit(400, SLEEP)
            tasks += self.submit(600)
            self.wait_completed(before + len(tasks))
            if self.warm_runners() >= wanted or time.monotonic() > deadline:
                return

    def warm_runners(self) -> int:
        """Return how many runners the shared pool has."""
        runners = self.http.get("/health").json()["runners"]["list"]
        return sum(runner["pool"] == "shared" for runner in runners)

    def tracker(self) -> psutil.Process:
        """Return the tracker's process."""
        for process in self.program.family():
            if (process.cmdline() or [""])[0].startswith(TRACKER):
                return process
        raise ProgramFailed("the tracker does not run")

    def workers(self) -> list[psutil.Process]:
        """Return the processes by which tasks go that are stored: the tracker, and warm runners."""
        return [
            process
            for process in self.program.family()
            if (process.cmdline() or [""])[0].startswith((TRACKER, WARM_RUNNER))
        ]

    @contextmanager
    def noop(self) -> Iterator[str]:
        """Serve the no-op beside the API, and give its path."""
        conversation = self._conversation()
        try:
            conversation.ask("serve no-op")
            path = f"{NOOP_PREFIX}/tasks/"
            deadline = time.monotonic() + _WARM_SECONDS
            while self.http.post(path, json={}).status_code != 202:  # until HAProxy knows it
                if time.monotonic() > deadline:
                    raise ProgramFailed("the no-op is not served")
                time.sleep(_POLL_SECONDS)
            yield path
            conversation.ask("delete no-op")
        finally:
            conversation.stop()

    def beside_noop(
        self, path: str, connections: int, seconds: float, name: str, measure: Callable[[], Result]
    ) -> Result:
        """Return the measurement, and as `name` the no-op's POSTs a second.

        The no-op runs for half of the seconds before and half of them after; `name` is the mean.
        """
        plan = Plan(self.url, (path,), connections, body=BODY, seconds=seconds / 2, warm=10)
        before = generate(plan).per_second
        result = measure()
        result.numbers[name] = (before + generate(plan).per_second) / 2
        return result

    def _conversation(self) -> Conversation:
        return Conversation(
            "benchmarks.servers.control", self.ray_address, environment=self.environment
        )

    @contextmanager
    def control(self) -> Iterator["Control"]:
        """Give a way to hold up and let go what the tracker hands out."""
        conversation = self._conversation()
        control = Control(conversation)
        try:
            control.pause()
            yield control
        finally:
            control.resume()
            conversation.stop()


class Control:
    """A driver of the service's cluster, in a process of its own."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation

    def pause(self) -> None:
        """Hand out nothing any more; on return nothing runs."""
        self._conversation.ask("pause")

    def resume(self) -> float:
        """Hand out tasks; return when the tracker was asked to (monotonic)."""
        asked_at: float = self._conversation.ask("resume")["asked_at"]
        return asked_at


@contextmanager
def running_service(
    folder: Path,
    database_url: str | None = None,
    *,
    num_cpus: int | None = None,
    environment: Mapping[str, str] | None = None,
    modules: str = "benchmarks.handlers",
) -> Iterator[Service]:
    """Run a service with its files in a folder; by default on a new SQLite database there.

    `modules` has the handlers.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port, listen = quiet_port(), quiet_port()
    url = database_url or f"sqlite:///{folder}/tasks.db"
    variables = clean(
        DATABASE_URL=url,
        ARTIFACTS_URL=str(folder / "artifacts"),
        TASK_MODULES=modules,
        STOP_GRACE_SECONDS="1",
        LISTEN_PORT=str(listen),
        **(environment or {}),
    )
    command = [sys.executable, "-m", "raytasks", "up", f"--port={port}"]
    if num_cpus is not None:
        command.append(f"--num-cpus={num_cpus}")
    program = Program(command, folder / "up.log", variables)
    try:
        log = program.wait_for("Ctrl-C")  # the last line of the announcement
        address = log.partition("--address ")[2].split()[0]
        base, listener = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{listen}"
        store = Store(url)
        with httpx.Client(base_url=base, timeout=70, trust_env=False) as http:
            try:
                yield Service(base, listener, address, program, variables, http, store)
            finally:
                store.close()
    finally:
        program.stop()
