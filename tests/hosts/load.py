"""The client of the tests on hosts: it submits tasks, and judges all that was ever submitted."""

import itertools
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any

import httpx

from tests.chaos.checker import check
from tests.chaos.effects import EffectsReader
from tests.chaos.evidence import Evidence, Submission
from tests.chaos.kinds import RAY_RETRIED, Kind, Place
from tests.chaos.reader import read_history, unfinished
from tests.hosts.host_handlers import LARGE, REMOTE
from tests.hosts.service_on_hosts import HOSTS, PATIENCE_SECONDS, ServiceOnHosts

_AGAIN_SECONDS = 0.2
_REQUEST_SECONDS = 15.0


class Load:
    """The tasks of one service, each submitted with a key until it is accepted."""

    def __init__(self, service: ServiceOnHosts) -> None:
        self._service = service
        self._numbers = itertools.count(1)
        self._submissions: list[Submission] = []

    def submit(
        self, task_type: str = Place.FUNCTION, seconds: float = 0.0, kind: Kind | None = None
    ) -> str:
        """Submit a task that runs for some seconds, or is of another kind, and return its id."""
        kind = kind or (Kind.SLOW if seconds else Kind.INSTANT)
        submission = Submission(f"hosts-{next(self._numbers)}", kind, str(uuid.uuid4()))
        self._submissions.append(submission)
        payload = {"token": submission.token, "kind": kind, "seconds": seconds}
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not submission.answers:
            try:
                answer = self._service.http.post(
                    "/tasks/",
                    json={"task_type": task_type, "payload": payload},
                    headers={"Idempotency-Key": str(submission.key)},
                    timeout=_REQUEST_SECONDS,
                )
            except httpx.TransportError:
                answer = None
            if answer is not None and answer.is_success:
                submission.answers.append(answer.json()["task_id"])
            else:
                said = answer and answer.text
                assert time.monotonic() < deadline, (said, self._service.logs())
                time.sleep(_AGAIN_SECONDS)
        return submission.answers[0]

    def get(self, task_id: str, wait: float = 0.0) -> dict[str, Any] | None:
        """Return a task as it is; None if the API cannot be reached now."""
        try:
            answer = self._service.http.get(f"/tasks/{task_id}", params={"wait": wait}, timeout=15)
        except httpx.TransportError:
            return None
        found: dict[str, Any] | None = answer.json() if answer.status_code == 200 else None
        return found

    def done(self, task_id: str, state: str = "COMPLETED") -> dict[str, Any]:
        """Return the task when it is completed, or in another final state."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            task = self.get(task_id, wait=5)
            if task is not None and task["state"] == state:
                return task
            assert time.monotonic() < deadline, (task, self._service.health())
            if task is None:
                time.sleep(_AGAIN_SECONDS)

    def has_begun(self, task_id: str) -> bool:
        """Return whether an attempt of a task runs, or has ended."""
        attempts = (self.get(task_id) or {}).get("attempts") or ()
        return any(attempt["started_at"] is not None for attempt in attempts)

    def running_remotely(self, seconds: float, tasks: int = 3 * len(HOSTS)) -> list[str]:
        """Submit so many remote tasks, and return them when all run.

        Ray spreads them over the hosts. Only their ends tell where they have run.
        """
        mine = [self.submit(REMOTE, seconds) for _ in range(tasks)]
        self._service.wait_for(lambda: all(map(self.has_begun, mine)), "the remote tasks run")
        return mine

    def running_on(self, *hosts: str, seconds: float = 3.0, tasks: int = 6) -> list[str]:
        """Keep so many tasks open, and return them when one runs on each of these hosts."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        mine: list[str] = []
        while True:
            seen = {task_id: self.get(task_id) or {} for task_id in mine}
            if _hosts_of(seen.values()).issuperset(hosts):
                return mine
            assert time.monotonic() < deadline, (seen, self._service.logs())
            mine = [task_id for task_id in mine if seen[task_id].get("state") != "COMPLETED"]
            mine += [self.submit(seconds=seconds) for _ in range(tasks - len(mine))]

    def large_values(self, tasks: int, look: Callable[[], object] = lambda: None) -> set[str]:
        """Run tasks whose payloads and results are in files; return the hosts where they ran.

        `look` is called before the tasks are deleted, and their files with them.
        """
        http, payload = self._service.http, {"filler": "y" * 500_000, "size": 2_000_000}
        body = {"task_type": LARGE, "payload": payload}
        submitted = [http.post("/tasks/", json=body).raise_for_status() for _ in range(tasks)]
        found = [self.done(answer.json()["task_id"]) for answer in submitted]
        look()
        for task in found:
            assert task["result"] == {"filler": 500_000, "text": "x" * 2_000_000}
            # The history is judged by what is in payloads, and this one is in a file.
            assert http.delete(f"/tasks/{task['task_id']}").is_success
        return {task["attempts"][-1]["host"] for task in found}

    def wait_until_whole(self) -> None:
        """Wait until all hosts are in the cluster, and tasks have run on each of them."""
        self._service.wait_for_nodes(len(HOSTS))
        # A pool does not grow for what it can begin before a further runner would be there.
        for task_id in self.running_on(*HOSTS, seconds=2.0, tasks=15):
            self.done(task_id)

    def judge(self) -> None:
        """Wait until all tasks are final, and fail if anything in their history must not be."""
        url = self._service.database_url
        self._service.wait_for(lambda: not unfinished(url), "all tasks are final")
        evidence = Evidence(
            submissions=self._submissions,
            history=read_history(url),
            effects=EffectsReader(self._service.effects).read(),
            ray_retried=RAY_RETRIED,
        )
        violations = check(evidence)
        assert not violations, violations


def _hosts_of(tasks: Iterable[dict[str, Any]]) -> set[str]:
    """Return the hosts on which attempts of these tasks run."""
    attempts = [attempt for task in tasks for attempt in task.get("attempts", ())]
    return {attempt["host"] for attempt in attempts if attempt["outcome"] is None}
