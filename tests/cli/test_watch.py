"""`raytasks watch`, on a service that the test plays."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest
from rich.console import Console

from raytasks.cli import tables, watch
from raytasks.cli.watch_board import KEPT_AFTER_END, Board
from raytasks.client import AsyncClient
from tests.client_wire import problem, sse

Run = Callable[..., Any]
A, B, C = (f"0198c1de-0000-7000-8000-00000000000{name}" for name in "abc")


class Endless(httpx.AsyncByteStream):
    """A stream that stays open: it gives what is put into it. `cut` ends it."""

    def __init__(self, pieces: "asyncio.Queue[bytes | None]") -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"retry: 10\n\n"
        while (piece := await self._pieces.get()) is not None:
            yield piece


class World:
    """A service: tasks that the script moves, and the streams of who looks."""

    def __init__(self) -> None:
        self.tasks: dict[str, dict[str, Any]] = {}
        self.requests: list[httpx.Request] = []
        self.script: Callable[[World], Any] = lambda world: asyncio.sleep(0)
        self._feeds: list[asyncio.Queue[bytes | None]] = []
        self._streams: dict[str, list[asyncio.Queue[bytes | None]]] = {}
        self._followed: dict[str, asyncio.Event] = {}
        self._number = 0
        self._play: asyncio.Future[Any] | None = None

    def add(self, task_id: str, state: str, task_type: str = "noop") -> None:
        self.tasks[task_id] = {
            "task_id": task_id, "task_type": task_type, "state": state, "revision": 1,
            "attempt": int(state == "RUNNING"), "progress": None,
        }  # fmt: skip

    def move(self, task_id: str, state: str, *, unseen: bool = False) -> None:
        task = self.tasks[task_id]
        task["state"], task["revision"] = state, task["revision"] + 1
        task["attempt"] += state == "RUNNING"
        self._number += 1
        event = sse("state", {**task, "at": None}, f"1:{self._number}")
        for feed in [] if unseen else self._feeds:
            feed.put_nowait(event)

    def gap(self) -> None:
        for feed in self._feeds:
            feed.put_nowait(sse("gap", {}))

    def cut(self) -> None:
        """Break the connections of all who follow the feed."""
        for feed in self._feeds:
            feed.put_nowait(None)
        self._feeds = []

    async def progress(self, task_id: str, fraction: float | None, message: str) -> None:
        """Tell progress to who follows the task, as soon as somebody does."""
        await self._followed.setdefault(task_id, asyncio.Event()).wait()
        data = {"attempt": self.tasks[task_id]["attempt"], "fraction": fraction, "message": message}
        for stream in self._streams[task_id]:
            stream.put_nowait(sse("progress", data))

    async def answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self._play is None:
            self._play = asyncio.ensure_future(self.script(self))
        path = request.url.path
        if path == "/tasks/events":
            return self._stream(self._feeds)
        if path.endswith("/events"):
            task_id = path.split("/")[2]
            self._followed.setdefault(task_id, asyncio.Event()).set()
            return self._stream(self._streams.setdefault(task_id, []))
        if path == "/tasks/":
            running = [task for task in self.tasks.values() if task["state"] == "RUNNING"]
            return httpx.Response(200, json={"tasks": running, "next_cursor": None})
        task = self.tasks.get(path.split("/")[2])
        return httpx.Response(200, json=task) if task else problem(404, detail=f"no task {path}")

    def _stream(self, those: "list[asyncio.Queue[bytes | None]]") -> httpx.Response:
        those.append(asyncio.Queue())
        headers = {"content-type": "text/event-stream"}
        return httpx.Response(200, headers=headers, stream=Endless(those[-1]))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """A fake service that the command watches."""
    world = World()

    def client(url: str, **arguments: Any) -> AsyncClient:
        return AsyncClient(url, transport=httpx.MockTransport(world.answer), **arguments)

    monkeypatch.setattr(watch, "AsyncClient", client)
    monkeypatch.setattr(watch, "_SHORT_SECONDS", 0.0)
    monkeypatch.setattr(watch, "_TICK_SECONDS", 0.01)
    return world


@pytest.mark.timeout(60)
class TestNamed:
    """With ids."""

    def test_it_ends_with_the_last_one(self, run: Run, world: World) -> None:
        world.add(A, "PENDING")
        world.add(B, "COMPLETED")
        world.add(C, "RUNNING")

        async def script(world: World) -> None:
            await asyncio.sleep(0.1)
            world.move(A, "RUNNING")
            await world.progress(A, 0.42, "half\x1b[2J")
            world.move(C, "COMPLETED")
            await asyncio.sleep(0.1)
            world.move(A, "COMPLETED")

        world.script = script
        done = run("watch", A, B, A)
        assert done.code == 0, done.err
        lines = done.out.splitlines()
        assert sorted(lines[:2]) == [f"{A} noop PENDING", f"{B} noop COMPLETED"]
        assert lines[2:] == [
            f"{A} noop RUNNING attempt 1",
            f"{A} noop 42% half\ufffd[2J",
            f"{A} noop COMPLETED attempt 1",
        ]

    def test_one_that_fails_is_a_1(self, run: Run, world: World) -> None:
        world.add(A, "FAILED")
        world.add(B, "COMPLETED")
        assert run("watch", A, B).code == 1

    def test_an_unknown_one_is_a_3(self, run: Run, world: World) -> None:
        world.add(A, "RUNNING")
        done = run("watch", A, B)
        assert done.code == 3
        assert "no task" in done.err

    def test_a_gap_loses_nothing(self, run: Run, world: World) -> None:
        world.add(A, "PENDING")

        async def script(world: World) -> None:
            await asyncio.sleep(0.1)
            world.move(A, "COMPLETED", unseen=True)
            world.gap()

        world.script = script
        assert run("watch", A).code == 0

    def test_a_broken_feed_loses_nothing(self, run: Run, world: World) -> None:
        """Not even where the service takes up the feed as if nothing had been."""
        world.add(A, "PENDING")

        async def script(world: World) -> None:
            await asyncio.sleep(0.1)
            world.move(A, "RUNNING")
            await asyncio.sleep(0.1)
            world.cut()
            world.move(A, "COMPLETED", unseen=True)

        world.script = script
        assert run("watch", A).code == 0

    @pytest.mark.parametrize(
        ("arguments", "reason"),
        [((A, "--tag", "t"), "not both"), ((A, "--type", "t"), "not both"), ((A, ""), "empty")],
    )
    def test_wrong_usage(
        self, run: Run, world: World, arguments: tuple[str, ...], reason: str
    ) -> None:
        done = run("watch", *arguments)
        assert done.code == 2
        assert reason in done.err
        assert world.requests == []


@pytest.fixture
def _heeds_ctrl_c() -> Iterator[None]:
    """Heed SIGINT: a shell without job control starts what runs in its background deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.timeout(60)
class TestUnnamed:
    """Without ids: what runs, and what comes."""

    @pytest.mark.usefixtures("_heeds_ctrl_c")
    def test_what_runs_and_what_comes(self, run: Run, world: World) -> None:
        world.add(A, "RUNNING")
        world.add(B, "PENDING")

        async def script(world: World) -> None:
            await world.progress(A, None, "on it")
            world.add(C, "PENDING")
            for state in ("PENDING", "RUNNING", "FAILED"):
                world.move(C, state)
            await asyncio.sleep(0.2)
            raise_interrupt()

        world.script = script
        done = run("watch", "--type", "noop", "--tag", "t")
        assert done.code == 130
        assert done.out.splitlines() == [
            f"{A} noop RUNNING attempt 1",
            f"{A} noop on it",
            f"{C} noop RUNNING attempt 1",
            f"{C} noop FAILED attempt 1",
        ]
        feed = next(request for request in world.requests if request.url.path == "/tasks/events")
        assert dict(feed.url.params) == {"task_type": "noop", "tag": "t"}
        listed = next(request for request in world.requests if request.url.path == "/tasks/")
        assert listed.url.params["state"] == "RUNNING"
        assert listed.url.params["tag"] == "t"


def raise_interrupt() -> None:
    """Do what Ctrl-C does."""
    os.kill(os.getpid(), signal.SIGINT)


def test_no_service_is_a_4(run: Run) -> None:
    done = run("watch", A, "--url", "http://127.0.0.1:1")
    assert done.code == 4
    assert "start one with 'raytasks up'" in done.err


def test_in_a_terminal_it_draws(
    run: Run, world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    console = Console(force_terminal=True, width=120, height=10, markup=False)
    monkeypatch.setattr(tables, "console", console)
    world.add(A, "RUNNING")

    async def script(world: World) -> None:
        await world.progress(A, 0.5, "half")
        await asyncio.sleep(0.1)
        world.move(A, "COMPLETED")

    world.script = script
    done = run("watch", A)
    assert done.code == 0
    assert "━" in done.out
    assert "50% half" in done.out
    assert "1 COMPLETED" in done.out


class TestBoard:
    """The tasks that the board keeps, and shows."""

    @staticmethod
    def change(task_id: str, state: str, revision: int) -> Any:
        return {
            "task_id": task_id, "task_type": "noop", "state": state, "attempt": 1,
            "revision": revision,
        }  # fmt: skip

    def test_what_is_older_changes_nothing(self) -> None:
        board = Board(only=(A,))
        board.change(self.change(A, "COMPLETED", 3))
        board.change(self.change(A, "RUNNING", 2))
        assert board.rows[A].state == "COMPLETED"
        assert board.over
        board.change(self.change(A, "PENDING", 4))  # a person has it run again
        assert not board.over
        assert board.summary() == "1 PENDING"  # type: ignore[unreachable]

    def test_ended_tasks_are_counted_and_forgotten(self) -> None:
        board = Board()
        for number in range(KEPT_AFTER_END + 50):
            board.change(self.change(str(number), "COMPLETED", 1))
        assert len(board.rows) == KEPT_AFTER_END
        assert board.summary() == f"{KEPT_AFTER_END + 50} COMPLETED"

    def test_a_backlog_is_not_kept(self) -> None:
        board = Board()
        board.change(self.change(A, "PENDING", 1))
        assert board.rows == {}

    def test_it_fits_in_the_terminal(self) -> None:
        board = Board()
        for number in range(50):
            board.change(self.change(str(number), "COMPLETED" if number < 45 else "RUNNING", 1))
        console = Console(width=120, height=20)
        with console.capture() as captured:
            console.print(board.renderable(20))
        lines = captured.get().splitlines()
        assert len(lines) == 19
        assert sum("RUNNING" in line for line in lines[1:-1]) == 5
        assert lines[-1] == "5 RUNNING, 45 COMPLETED; 33 not shown"

    def test_lines_for_progress_are_few(self) -> None:
        told: list[str] = []
        board = Board(tell=told.append)
        board.change(self.change(A, "RUNNING", 1))
        for percent in range(100):
            data: Any = {"attempt": 1, "fraction": percent / 100, "message": None}
            board.progress(A, data)
        board.progress(A, {"attempt": 0, "fraction": 1.0, "message": "of an earlier attempt"})
        assert 9 <= len(told) <= 11
        assert json.dumps(told).count("earlier") == 0
