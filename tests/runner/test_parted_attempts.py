"""Traces of an attempt in its process: the next one does not find them."""

import asyncio
import contextvars
import decimal
import gc
import os
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from raytasks.handling.context import Context
from raytasks.handling.declaration import handler
from raytasks.model.states import OutcomeKind
from raytasks.protocol.messages import Claim
from raytasks.runner import handler_loop
from tests.working import PATIENCE, Working

TENANT: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="nobody")
BEATS: list[str] = []


@handler("sets")
def sets(payload: dict) -> None:
    TENANT.set("somebody")
    decimal.getcontext().prec = 3


@handler("sets_async")
async def sets_async(payload: dict) -> None:
    TENANT.set("somebody")


@handler("sets_late")
def sets_late(payload: dict) -> Any:
    def late() -> Any:
        TENANT.set("somebody")
        yield 1

    return [late()]


@handler("reads")
def reads(payload: dict) -> list[Any]:
    return [TENANT.get(), decimal.getcontext().prec]


@handler("reads_async")
async def reads_async(payload: dict) -> list[Any]:
    return [TENANT.get(), decimal.getcontext().prec]


@handler("loaded")
class Loaded:
    def __init__(self) -> None:
        TENANT.set("of the class")

    def __call__(self, payload: dict) -> str:
        return TENANT.get()


@pytest.mark.parametrize("first", ["sets", "sets_async", "sets_late"])
@pytest.mark.parametrize("second", ["reads", "reads_async"])
def test_context_variables_of_an_attempt_are_its_own(first: str, second: str) -> None:
    working = Working(sets, sets_async, sets_late, reads, reads_async)
    working.run(first)
    assert working.result(second) == ["nobody", 28]


def test_what_a_class_sets_when_it_is_loaded_stays() -> None:
    assert Working(Loaded).result("loaded") == "of the class"


async def beat(name: str) -> None:
    while True:
        await asyncio.sleep(0.001)
        BEATS.append(name)


@handler("leaves_task")
async def leaves_task(payload: dict) -> str:
    asyncio.create_task(beat("task"), name="heart")  # noqa: RUF006
    return "done"


@handler("leaves_timer")
async def leaves_timer(payload: dict) -> str:
    asyncio.get_running_loop().call_later(0.001, BEATS.append, "timer")
    return "done"


@handler("leaves_generator")
async def leaves_generator(payload: dict) -> str:
    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            BEATS.append("closed")

    KEPT.append(numbers())
    await anext(KEPT[-1])
    return "done"


KEPT: list[Any] = []


@handler("leaves_stubborn")
async def leaves_stubborn(payload: dict) -> str:
    async def stubborn() -> None:
        while True:
            try:
                await beat("stubborn")
            except asyncio.CancelledError:
                continue

    asyncio.create_task(stubborn())  # noqa: RUF006
    return "done"


@handler("leaves_failing")
async def leaves_failing(payload: dict) -> str:
    async def failing() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise SystemExit(3)

    asyncio.create_task(failing())  # noqa: RUF006
    await asyncio.sleep(0)
    return "done"


@handler("leaves_and_fails")
async def leaves_and_fails(payload: dict) -> None:
    asyncio.create_task(beat("task"))  # noqa: RUF006
    raise ValueError


@handler("waits")
async def waits(payload: dict) -> list[str]:
    BEATS.clear()
    await asyncio.sleep(0.05)
    return BEATS


@pytest.mark.parametrize(
    "first",
    [
        leaves_task,
        leaves_timer,
        leaves_generator,
        leaves_stubborn,
        leaves_failing,
        leaves_and_fails,
    ],
)
def test_what_an_async_attempt_leaves_does_not_go_on(
    monkeypatch: pytest.MonkeyPatch, first: Any
) -> None:
    monkeypatch.setattr(handler_loop, "LEFT_SECONDS", 0.1)
    working = Working(first, waits)
    name = first.__name__
    [outcome] = working.run(name)
    assert outcome.result == (None if first is leaves_and_fails else '"done"')
    assert working.result("waits") == []
    if name not in ("leaves_timer", "leaves_generator"):
        [line] = working.channel.lines
        assert "asyncio tasks that the handler left were cancelled, 1:" in line.message


def test_a_task_that_ends_in_time_is_awaited() -> None:
    """Its `finally` runs to its end, before the next attempt."""

    @handler("leaves")
    async def leaves(payload: dict, context: Context) -> None:
        async def tidy() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0.01)
                BEATS.append("tidied")

        context.log.info("first")
        BEATS.clear()
        asyncio.create_task(tidy())  # noqa: RUF006
        await asyncio.sleep(0)

    working = Working(leaves)
    working.run("leaves")
    assert BEATS == ["tidied"]
    assert [(line.number, line.level) for line in working.channel.lines] == [
        (1, "INFO"),
        (2, "WARNING"),
    ]


def test_the_loop_stays_so_that_connections_can_be_used_again() -> None:
    @handler("loops")
    async def loops(payload: dict) -> int:
        await asyncio.gather(asyncio.sleep(0), asyncio.sleep(0.001))
        async with asyncio.timeout(60):
            await asyncio.sleep(0)
        return id(asyncio.get_running_loop())

    working = Working(loops)
    assert len({outcome.result for outcome in working.run("loops", "loops", "loops")}) == 1
    assert working.channel.lines == []


def test_a_loop_that_a_handler_has_closed_or_stopped_is_made_anew() -> None:
    @handler("stops")
    async def stops(payload: dict) -> None:
        asyncio.get_running_loop().stop()
        await asyncio.sleep(60)

    @handler("closes")
    def closes(payload: dict) -> None:
        loop = working.workplace.handler_loop.runner.get_loop()  # type: ignore[union-attr]
        loop.close()

    working = Working(stops, closes, waits)
    working.run("stops")
    assert working.result("waits") == []
    working.run("closes")
    assert working.result("waits") == []


@pytest.mark.parametrize("own_process", [True, False])
def test_surroundings_are_put_back(
    own_process: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path.cwd())
    monkeypatch.setenv("OF_BEFORE", "before")

    @handler("changes")
    def changes(payload: dict) -> None:
        os.chdir(tmp_path)
        os.environ["OF_BEFORE"] = "after"
        os.environ["OF_ANOTHER"] = "secret"
        os.environ.pop("PATH")
        sys.stdout = sys.stderr = None
        sys.setrecursionlimit(5000)
        sys.set_int_max_str_digits(0)
        socket.setdefaulttimeout(3)
        gc.disable()
        threading.excepthook = lambda _: None

    @handler("looks")
    def looks(payload: dict) -> list[Any]:
        return [
            str(Path.cwd()),
            os.environ.get("OF_BEFORE"),
            os.environ.get("OF_ANOTHER"),
            os.environ.get("PATH"),
            sys.stdout is None,
            sys.getrecursionlimit(),
            sys.get_int_max_str_digits(),
            socket.getdefaulttimeout(),
            gc.isenabled(),
            "OF_ANOTHER" in subprocess.check_output(["env"], text=True),
        ]

    working = Working(changes, looks, own_process=own_process)
    before = working.result("looks")
    working.run("changes", "changes")
    assert working.result("looks") == before


def test_a_folder_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path.cwd())
    here = str(Path.cwd())

    @handler("removes")
    def removes(payload: dict) -> None:
        folder = tmp_path / "gone"
        folder.mkdir()
        os.chdir(folder)
        folder.rmdir()

    @handler("looks")
    def looks(payload: dict) -> str:
        return os.getcwd()

    working = Working(removes, looks)
    working.run("removes")
    assert working.result("looks") == here


CLOSES_OUTPUT = """
import sys
sys.path[:0] = {path!r}
from tests.working import Working
from raytasks.handling.declaration import handler

@handler("closes")
def closes(payload: dict) -> None:
    sys.stdout.close()

@handler("prints")
def prints(payload: dict) -> None:
    print("it is heard")

working = Working(closes, prints, own_process=True)
outcomes = working.run("prints", "closes", "prints", "prints")
print([outcome.kind.value for outcome in outcomes], flush=True)
"""


def test_closed_output_is_opened_again() -> None:
    code = CLOSES_OUTPUT.format(path=[str(Path(__file__).parents[2])])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.count("it is heard") == 3, done
    assert "['succeeded', 'succeeded', 'succeeded', 'succeeded']" in done.stdout


def test_a_runner_whose_process_is_spoiled_takes_nothing_more() -> None:
    spoiled: list[str] = []

    @handler("spoils")
    def spoils(payload: dict) -> None:
        spoiled.append("ray.shutdown")

    working = Working(spoils, reads, unfit=lambda: "it is spoiled" if spoiled else None)
    [outcome] = working.run("spoils")
    assert outcome.kind is OutcomeKind.SUCCEEDED
    assert working.worker.unfit == "it is spoiled"
    working.worker.add([])
    assert working.worker.is_alive  # it leaves in order


def ends(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return with which statuses the process would have ended."""
    codes: list[int] = []
    monkeypatch.setattr("raytasks.runner.worker.end_process", lambda code, *_: codes.append(code))
    return codes


def test_a_worker_whose_thread_has_died_tells_what_is_done_and_ends_its_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    codes = ends(monkeypatch)
    monkeypatch.setattr("raytasks.runner.worker.LAST_SECONDS", 0.0)

    def broken() -> str | None:
        raise RuntimeError("of raytasks itself")

    working = Working(sets, unfit=broken)
    assert working.worker.is_alive
    [outcome] = working.run("sets")
    assert outcome.kind is OutcomeKind.SUCCEEDED
    working.worker._thread.join(PATIENCE)
    assert codes == [1]
    assert not working.worker.is_alive


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_worker_whose_event_loop_is_gone_ends_its_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    codes = ends(monkeypatch)

    def gone() -> None:
        raise RuntimeError("Event loop is closed")

    working = Working(sets)
    working.worker._notify = gone
    working.worker.add([Claim("t", "sets", 1, "{}", 0, 3, None, None)])
    working.worker._thread.join(PATIENCE)
    assert codes == [1]
