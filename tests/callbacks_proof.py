"""The proof of callbacks: each end of a task arrives, whoever is killed, refuses or is full.

    python -m tests.callbacks_proof [--tasks N] [--kills N] [--seed N]

A real service gets tasks that complete, fail and are cancelled, all with a callback. The receiver
refuses the first tries with 500, so more callbacks wait than `MAX_BACKLOG` has room for. Meanwhile
the tracker is killed. `tests/cluster/test_callbacks.py` has a short form.
"""

import argparse
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx

from raytasks.client import Client
from raytasks.client.api_errors import ApiError, ServiceUnavailable, TooManyRequests
from raytasks.client.documents import SubmissionDocument
from raytasks.model.callbacks import CALLBACK_TYPE
from tests.callback_receiver import Answer, Receiver, receiving
from tests.cluster.conftest import CALLBACK_SECRET, Service, start_service
from tests.cluster.processes import TRACKER, kill, only
from tests.metrics_check import scraped

BATCH = 250
MAX_BACKLOG = 300
REFUSED_SHARE = 0.2
"""The share of callbacks whose first try is refused: more than `MAX_BACKLOG` with 10,000 tasks."""

_ENDS = {"task.completed": 0.7, "task.failed": 0.2, "task.cancelled": 0.1}
_PATIENCE = 900.0  # a second refusal waits five minutes


@dataclass(frozen=True)
class Evidence:
    """The result: how many tasks were accepted, and what the receiver got.

    - `ends`: the tasks by the type of event that arrived. `wrong_ends` had another than was due.
    - `missing`, `strange`: tasks without a callback, and callbacks of no task of ours.
    - `ids`: distinct `webhook-id`. `tries` are all requests, and `refused` those answered with 500.
    - `changed`: ids that came with two bodies, or tasks that came with two ids.
    - `forged`: requests whose signature the reference library refused.
    - `delivered`: callbacks that are COMPLETED in the service, and `undelivered` all others.
    - `full`: how often a submission was refused, as the backlog was full.
    - `most_waiting`: the most callbacks that were seen to wait at a time, beside `max_backlog`.
    """

    tasks: int
    ends: dict[str, int]
    wrong_ends: int
    missing: int
    strange: int
    ids: int
    tries: int
    refused: int
    changed: int
    forged: int
    delivered: int
    undelivered: int
    full: int
    most_waiting: int
    max_backlog: int
    trackers_killed: int
    seconds: float

    @property
    def holds(self) -> bool:
        """Whether each end arrived, verified, under one id, and the backlog really was full."""
        wrong = (self.wrong_ends, self.missing, self.strange, self.changed, self.forged)
        arrived = self.tasks == self.ids == self.delivered and not self.undelivered
        tested = self.refused and self.full and self.most_waiting > self.max_backlog
        return not any(wrong) and arrived and bool(tested)


class _Submitter(threading.Thread):
    """Submits the tasks in batches, and cancels those that shall be cancelled.

    `expected` is the type of event that is due, by the id of the task. `error` is what ended it.
    """

    def __init__(self, url: str, hook: str, ends: Sequence[str]) -> None:
        super().__init__(daemon=True)
        self._url = url
        self._hook = hook
        self._ends = ends
        self.expected: dict[str, str] = {}
        self.full = 0
        self.error: BaseException | None = None

    def run(self) -> None:
        """Submit all of them, through whatever happens."""
        try:
            with Client(self._url) as client:
                for first in range(0, len(self._ends), BATCH):
                    self._batch(client, first, self._ends[first : first + BATCH])
        except BaseException as error:
            self.error = error

    def _batch(self, client: Client, first: int, ends: Sequence[str]) -> None:
        tag = f"batch-{first}"
        new = [self._task(end, tag) for end in ends]
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                made = client.submit_many(new, idempotency_key=tag)
                break
            except TooManyRequests as error:
                self.full += 1
                _pause(until, error.retry_after or 1.0, error)
            except (ApiError, ServiceUnavailable) as error:  # the key makes it safe to repeat
                _pause(until, 0.2, error)
        self.expected.update({task["task_id"]: end for task, end in zip(made, ends, strict=True)})
        while True:
            try:
                operation = client.bulk_cancel(tag=tag)
                client.bulk_wait(operation["bulk_id"], timeout_seconds=_PATIENCE)
                return
            except (ApiError, ServiceUnavailable) as error:
                _pause(until, 0.2, error)

    def _task(self, end: str, tag: str) -> SubmissionDocument:
        task: SubmissionDocument = {
            "task_type": "noop",
            "payload": {},
            "callback_url": self._hook,
        }
        if end == "task.failed":
            return {**task, "task_type": "scripted", "payload": {"step": "permanent"}}
        if end == "task.cancelled":  # it is not due before it is cancelled
            return {**task, "tags": [tag], "delay_seconds": 3600}
        return task


def _pause(until: float, seconds: float, error: Exception) -> None:
    if time.monotonic() > until:
        raise error
    time.sleep(seconds)


class _Refusals:
    """Answers the first try of some callbacks with 500; the receiver holds its lock meanwhile."""

    def __init__(self, receiver: Receiver, most: int) -> None:
        self._receiver = receiver
        self._most = most
        self.ids: set[str] = set()

    def answer(self, number: int, _path: str) -> Answer:
        """Return the answer to a request by its number."""
        webhook_id = self._receiver.ids[number]
        if len(self.ids) < self._most and webhook_id not in self.ids:
            self.ids.add(webhook_id)
            return 500, {}, b"not yet"
        return 204, {}, b""


def prove(folder: Path, *, tasks: int, kills: int, seed: int) -> Evidence:
    """Run the tasks on a service with its files in the folder, and compare what has arrived.

    The tracker is killed so many times, spread over the callbacks. Raises `AssertionError` if
    something does not happen in time.
    """
    draw = random.Random(seed)
    ends = draw.choices(list(_ENDS), list(_ENDS.values()), k=tasks)
    begun = time.monotonic()
    service = start_service(
        folder,
        TASK_MODULES="tests.scripted",
        LEASE_SECONDS="5",
        MAX_BACKLOG=str(MAX_BACKLOG),
        CALLBACK_SECRETS=f"default={CALLBACK_SECRET}",
        CALLBACK_ALLOWED_HOSTS="127.0.0.1",
    )
    try:
        with receiving(CALLBACK_SECRET) as receiver:
            refusals = _Refusals(receiver, int(tasks * REFUSED_SHARE))
            receiver.answer = refusals.answer
            submitter = _Submitter(service.url, receiver.url, ends)
            submitter.start()
            most_waiting = 0
            killed = 0
            for kill_number in range(kills):
                place = tasks * (kill_number + 1) // (kills + 1)
                most_waiting = max(most_waiting, _watch(service, receiver, submitter, place))
                former = only(service, TRACKER)
                kill(former)
                killed += only(service, TRACKER).pid != former.pid
            most_waiting = max(most_waiting, _watch(service, receiver, submitter, tasks))
            submitter.join(_PATIENCE)
            counts = _settled(service)
            return _evidence(
                receiver,
                submitter,
                refused=len(refusals.ids),
                delivered=counts.pop("COMPLETED", 0),
                undelivered=sum(counts.values()),
                most_waiting=most_waiting,
                trackers_killed=killed,
                seconds=round(time.monotonic() - begun, 1),
            )
    finally:
        service.http.close()
        stopped = service.stop()
        assert stopped == 0, service.log.read_text()


def _watch(service: Service, receiver: Receiver, submitter: _Submitter, place: int) -> int:
    """Wait until so many callbacks have come in; return the most that were seen to wait."""
    most = 0
    until = time.monotonic() + _PATIENCE
    while True:
        with receiver.changed:
            came = receiver.changed.wait_for(lambda: len(set(receiver.ids)) >= place, 1.0)
        if came:
            return most
        assert submitter.error is None, submitter.error
        assert time.monotonic() < until, (len(receiver.ids), receiver.faults)
        counts = _counts(service)
        if counts is not None:
            most = max(most, counts.get("PENDING", 0) + counts.get("RETRYING", 0))


def _counts(service: Service) -> dict[str, int] | None:
    """Return how many callbacks there are in each state; None while the service does not answer."""
    try:
        answer = service.http.get("/metrics")
    except httpx.HTTPError:
        return None
    if answer.status_code != 200:
        return None
    return {
        dict(labels)["state"]: int(value)
        for (name, labels), value in scraped(answer.text).items()
        if name == "raytasks_tasks" and dict(labels)["task_type"] == CALLBACK_TYPE and value
    }


def _settled(service: Service) -> dict[str, int]:
    """Return the callbacks by state, once each has ended."""
    until = time.monotonic() + _PATIENCE
    while True:
        counts = _counts(service)
        if counts is not None and not counts.keys() & {"PENDING", "RUNNING", "RETRYING"}:
            return counts
        assert time.monotonic() < until, counts
        time.sleep(1.0)  # the answer is kept for a second


def _evidence(
    receiver: Receiver,
    submitter: _Submitter,
    **seen: Any,
) -> Evidence:
    expected = submitter.expected
    assert submitter.error is None, submitter.error
    with receiver.changed:
        bodies, ids, forged = list(receiver.bodies), list(receiver.ids), len(receiver.faults)
    body_of: dict[str, Any] = {}
    id_of: dict[str, str] = {}
    changed = 0
    for webhook_id, body in zip(ids, bodies, strict=False):  # they fit if none was forged
        changed += body_of.setdefault(webhook_id, body) != body
        changed += id_of.setdefault(body["data"]["task_id"], webhook_id) != webhook_id
    arrived = {body["data"]["task_id"]: body["type"] for body in bodies}
    return Evidence(
        tasks=len(expected),
        ends=dict(Counter(arrived.values())),
        wrong_ends=sum(arrived.get(task_id, end) != end for task_id, end in expected.items()),
        missing=len(expected.keys() - arrived.keys()),
        strange=len(arrived.keys() - expected.keys()),
        ids=len(set(ids)),
        tries=len(ids),
        changed=changed,
        forged=forged,
        full=submitter.full,
        max_backlog=MAX_BACKLOG,
        **seen,
    )


def main() -> int:
    """Print the evidence; return 1 if it does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=1, help="of the tracker")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="raytasks-proof-") as folder:
        evidence = prove(Path(folder), tasks=asked.tasks, kills=asked.kills, seed=asked.seed)
    for name, value in asdict(evidence).items():
        print(f"{name:16} {value}")
    print("it holds" if evidence.holds else "it does not hold")
    return 0 if evidence.holds else 1


if __name__ == "__main__":
    sys.exit(main())
