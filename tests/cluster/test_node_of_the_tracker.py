"""The node with the tracker and the API's replicas is drained, and then another one is killed.

What comes meanwhile waits, or is refused and sent again; nothing accepted is lost or run twice.
"""

import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from raytasks.client import Client, ServiceUnavailable
from tests.cluster.conftest import Service, start_service
from tests.cluster.joined_node import drain, family, joined_node, node_id_of
from tests.cluster.processes import PATIENCE_SECONDS, REPLICA, TRACKER, processes, wait_gone
from tests.cluster.recovery import recovering
from tests.postgres_server import PostgresServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

_EACH_SECONDS = 0.1
_TASK_SECONDS = 1.0
_REQUEST_SECONDS = 15.0


@dataclass
class Requests:
    """The submissions of two clients, one after the other: a plain one, and ours.

    - `refused`: what was answered to the plain one instead of 202; it sends the same key again.
    - `tasks`: the tasks by key, which each of its answers must name.
    - `slowest`: seconds until an answer.
    - `given_up`: how often our client has not succeeded by itself; it gets the same key again.
    """

    service: Service
    mark: Path
    refused: list[str] = field(default_factory=list)
    tasks: dict[str, set[str]] = field(default_factory=dict)
    slowest: float = 0.0
    given_up: int = 0
    _over: threading.Event = field(default_factory=threading.Event)

    @property
    def body(self) -> dict[str, Any]:
        return {"seconds": _TASK_SECONDS, "mark": str(self.mark)}

    def plain(self) -> None:
        """Submit one task after the other until the end."""
        with httpx.Client(base_url=self.service.url, trust_env=False) as http:
            while not self._over.wait(_EACH_SECONDS):
                key = str(uuid.uuid4())
                while not self._sent(http, key):
                    time.sleep(_EACH_SECONDS)

    def ours(self) -> None:
        """Submit one task after the other until the end, by the client, which tries again."""
        with Client(self.service.url, api_key="") as client:
            while not self._over.wait(_EACH_SECONDS):
                key = str(uuid.uuid4())
                while True:
                    try:
                        task = client.submit("marked_wait", self.body, idempotency_key=key)
                    except ServiceUnavailable:
                        self.given_up += 1
                    else:
                        break
                self.tasks[key] = {task["task_id"]}

    def _sent(self, http: httpx.Client, key: str) -> bool:
        began = time.monotonic()
        try:
            answer = http.post(
                "/tasks/",
                json={"task_type": "marked_wait", "payload": self.body},
                headers={"Idempotency-Key": key},
                timeout=_REQUEST_SECONDS,
            )
        except httpx.TransportError as error:
            self.refused.append(repr(error))
            return False
        self.slowest = max(self.slowest, time.monotonic() - began)
        if not answer.is_success:
            self.refused.append(f"{answer.status_code} {answer.text[:200]}")
            return False
        self.tasks.setdefault(key, set()).add(answer.json()["task_id"])
        return True

    def summary(self) -> str:
        """Return what the clients have seen, in one line."""
        refused = dict(Counter(self.refused))
        return (
            f"{len(self.tasks)} tasks, slowest answer {self.slowest:.1f} s, refused {refused}, "
            f"given up by our client {self.given_up}"
        )

    def wait_for_more(self) -> None:
        """Wait until twenty more tasks were accepted."""
        wanted = len(self.tasks) + 20
        until(lambda: len(self.tasks) >= wanted, self.service)

    @contextmanager
    def coming(self) -> Iterator[None]:
        """Send requests until the block ends; an error of a client is raised then."""
        errors: list[BaseException] = []

        def run(work: Callable[[], None]) -> None:
            try:
                work()
            except BaseException as error:
                errors.append(error)

        self._over.clear()
        threads = [threading.Thread(target=run, args=(one,)) for one in (self.plain, self.ours)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join(PATIENCE_SECONDS)
        assert not errors, errors

    def judge(self) -> list[dict[str, Any]]:
        """See that each key has one task, and each of them is done; return the tasks."""
        assert all(len(ids) == 1 for ids in self.tasks.values()), self.tasks
        tasks = [self.service.wait({"task_id": task_id}) for [task_id] in self.tasks.values()]
        assert {task["state"] for task in tasks} == {"COMPLETED"}
        assert not any(task["crashes"] for task in tasks)
        begun = Counter(line.split()[0] for line in self.mark.read_text().splitlines())
        for task in tasks:
            assert begun[task["task_id"]] == sum(
                attempt["started_at"] is not None and attempt["outcome"] != "released"
                for attempt in task["attempts"]
            )
        return tasks


def until(there: Callable[[], bool], service: Service) -> None:
    """Wait until something is so; what is seen from here gives no signal."""
    deadline = time.monotonic() + 2 * PATIENCE_SECONDS
    while not there():
        assert time.monotonic() < deadline, service.log.read_text()[-5000:]
        time.sleep(0.1)


def test_the_node_of_the_tracker_goes(
    no_service: None, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    service = start_service(
        tmp_path,
        cpus=1,
        DATABASE_URL=postgres_server.new_database(),
        TASK_MODULES="tests.concurrent_handlers",
        LEASE_SECONDS="5",
    )
    nodes: list[psutil.Process] = [psutil.Process(service.process.pid)]

    def places(name: str) -> set[str | None]:
        """Return the nodes on which processes of this name run."""
        found = [one for root in nodes for one in processes(service, name, root)]
        return {node_id_of(one) for one in found}

    drained = Requests(service, tmp_path / "drained")
    killed = Requests(service, tmp_path / "killed")
    with ExitStack() as stack:
        stack.callback(end, service)
        head = node_id_of(nodes[0])
        assert head is not None
        assert places(TRACKER) == places(REPLICA) == {head}
        nodes += [
            stack.enter_context(joined_node(service, tmp_path / f"{name}.log"))
            for name in ("first", "second")
        ]
        stack.callback(end, service)  # while there is a node for its tracker
        with drained.coming():
            drained.wait_for_more()
            with recovering("the tracker's node drained: tracker and replica on other ones"):
                drain(service, head, 600)
                until(lambda: head not in places(TRACKER) | places(REPLICA), service)
                until(lambda: len(places(TRACKER)) == len(places(REPLICA)) == 1, service)
            drained.wait_for_more()
        print("drained:", drained.summary())
        assert all(len(task["attempts"]) == 1 for task in drained.judge())
        # On a busy machine a tracker may take longer to start than a call waits.
        assert all("the tracker does not answer" in answer for answer in drained.refused)
        assert not drained.given_up
        [place] = places(TRACKER)
        with killed.coming():
            killed.wait_for_more()
            with recovering("then the tracker's node and the replica killed: both are again"):
                victims = family(next(node for node in nodes if node_id_of(node) == place))
                victims += [one for node in nodes for one in processes(service, REPLICA, node)]
                for process in set(victims):
                    process.kill()
                wait_gone(*victims)
                until(lambda: len(places(TRACKER)) == len(places(REPLICA)) == 1, service)
            killed.wait_for_more()
        print("killed:", killed.summary())
        killed.judge()


def end(service: Service) -> None:
    """Stop the service, if it still runs."""
    service.http.close()
    if service.process.poll() is None:
        service.stop()
