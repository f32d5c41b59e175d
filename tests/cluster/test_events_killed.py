"""Many clients follow their tasks while replica and tracker are killed: each event once."""

import asyncio
import json
import random
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cluster.conftest import Service
from tests.cluster.processes import REPLICA, TRACKER, kill, only
from tests.cluster.recovery import recovering

CLIENTS = [(100, 16.0), pytest.param(1000, 32.0, marks=pytest.mark.slow)]
"""How many, and in how many seconds that many tasks are due, of which most are followed."""

FOLLOWING = 0.6
"""Which part of the clients follows a task's events; the others wait for a task's end."""

LINES = 2

_TROUBLE_SECONDS = 0.3


class Follower:
    """A client of one task's events, which comes again whenever its connection ends."""

    def __init__(self, http: httpx.AsyncClient, task_id: str, news: asyncio.Event) -> None:
        self.http = http
        self.news = news
        self.path = f"/tasks/{task_id}/events"
        self.events: list[tuple[str, str]] = []
        self.connections = 0
        self.over = False

    async def run(self) -> None:
        while not self.over:
            headers = {"Last-Event-ID": self.events[-1][0]} if self.events else {}
            try:
                async with self.http.stream("GET", self.path, headers=headers) as answer:
                    if answer.status_code == 200:
                        self.connections += 1
                        self.news.set()
                        await self._read(answer)
            except httpx.HTTPError:
                pass
            self.news.set()
            if not self.over:
                await asyncio.sleep(_TROUBLE_SECONDS * (1 + random.random()))

    async def _read(self, answer: httpx.Response) -> None:
        fields: dict[str, str] = {}
        async for line in answer.aiter_lines():
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
                continue
            self._take(fields)
            fields = {}

    def _take(self, fields: dict[str, str]) -> None:
        if "id" in fields:
            data = json.loads(fields["data"])
            self.events.append((fields["id"], data.get("state") or data["message"]))
        self.over = self.over or fields.get("event") == "end"


class Crowd:
    """Clients that follow a task each."""

    def __init__(self, http: httpx.AsyncClient, names: list[str]) -> None:
        self._news = asyncio.Event()
        self.followers = [Follower(http, name, self._news) for name in names]
        self._tasks = [asyncio.ensure_future(one.run()) for one in self.followers]

    @property
    def over(self) -> int:
        return sum(one.over for one in self.followers)

    @property
    def connections(self) -> int:
        return sum(one.connections for one in self.followers)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so; a client that fails fails the test."""
        while not condition():
            for task in self._tasks:
                if task.done():
                    task.result()
            self._news.clear()
            await self._news.wait()


async def wait_for(http: httpx.AsyncClient, task_id: str) -> str:
    """Return the state in which a task has ended."""
    while True:
        try:
            answer = await http.get(f"/tasks/{task_id}", params={"wait": 60})
            if answer.status_code == 200 and answer.json()["finished_at"] is not None:
                state: str = answer.json()["state"]
                return state
        except httpx.HTTPError:
            pass
        await asyncio.sleep(_TROUBLE_SECONDS * (1 + random.random()))


@contextmanager
def many_files(wanted: int) -> Iterator[None]:
    """Let this process have so many connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def client(service: Service) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=service.url,
        timeout=httpx.Timeout(10, read=75),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
        trust_env=False,
    )


def submit(service: Service, count: int, seconds: float) -> list[str]:
    """Submit tasks that are due one after the other within some seconds; some fail once."""
    began = 4.0  # until when all clients should listen
    tasks: list[dict[str, Any]] = [
        {
            "task_type": "scripted",
            "payload": {"lines": LINES, "fail_first": int(number % 5 == 0)},
            "delay_seconds": began + seconds * number / count,
        }
        for number in range(count)
    ]
    answer = service.http.post("/tasks/batch", json={"tasks": tasks})
    assert answer.status_code == 202, answer.text
    return [task["task_id"] for task in answer.json()["tasks"]]


def story(number: int) -> list[str]:
    """Return the events of a task, as states and lines."""
    lines = [f"line {line}" for line in range(1, LINES + 1)]
    failed = ["RUNNING", *lines, "RETRYING"] * (number % 5 == 0)
    return ["PENDING", *failed, "RUNNING", *lines, "COMPLETED"]


@pytest.mark.timeout(200)
@pytest.mark.parametrize(("clients", "seconds"), CLIENTS)
async def test_every_client_sees_every_event_once(
    service: Service, clients: int, seconds: float
) -> None:
    followers = int(clients * FOLLOWING)
    with many_files(4 * clients):
        async with client(service) as http, asyncio.timeout(120):
            names = submit(service, clients, seconds)
            crowd = Crowd(http, names[:followers])
            waiting = [asyncio.ensure_future(wait_for(http, name)) for name in names[followers:]]
            await crowd.until(lambda: crowd.over > followers * 0.2)
            listening = followers - crowd.over
            with recovering(f"the API replica killed under {clients} clients (SIGKILL)"):
                await asyncio.to_thread(kill, only(service, REPLICA))
                before = crowd.connections
                await crowd.until(lambda: crowd.connections > before)
            await crowd.until(lambda: crowd.over > followers * 0.6)
            await asyncio.to_thread(kill, only(service, TRACKER))
            await crowd.until(lambda: crowd.over == followers)
            states = await asyncio.gather(*waiting)
    assert listening > followers / 2
    assert crowd.connections > followers * 1.25
    assert set(states) == {"COMPLETED"}
    for number, one in enumerate(crowd.followers):
        assert [what for _, what in one.events] == story(number), one.events
        ids = [tuple(map(int, name.split("."))) for name, _ in one.events]
        assert ids == sorted(set(ids))


async def test_a_silent_stream_stays_open_and_remote_tasks_log(service: Service) -> None:
    task = service.submit("scripted_remote", {"lines": 3}, delay_seconds=12)
    async with client(service) as http, asyncio.timeout(60):
        follower = Follower(http, task["task_id"], asyncio.Event())
        began = time.monotonic()
        await follower.run()
    assert time.monotonic() - began > 11
    assert follower.connections == 1
    assert [what for _, what in follower.events] == [
        "PENDING", "RUNNING", "line 1", "line 2", "line 3", "COMPLETED"
    ]  # fmt: skip


async def test_later_tries_of_an_attempt_go_on_with_the_numbers(
    service: Service, tmp_path: Path
) -> None:
    script = {"step": "ring_error", "seconds": 1, "mark": str(tmp_path / "mark"), "lines": 2}
    task = service.submit("scripted_ring", script)
    async with client(service) as http, asyncio.timeout(60):
        follower = Follower(http, task["task_id"], asyncio.Event())
        await follower.run()
    assert follower.events == [
        ("0.0", "PENDING"), ("1.0", "RUNNING"), ("1.1", "line 1"), ("1.2", "line 2"),
        ("1.3", "line 1"), ("1.4", "line 2"), ("2.0", "COMPLETED"),
    ]  # fmt: skip
