"""The door to a service: large payloads go to its artifact store first, and no call is wasted."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from raytasks import __version__
from raytasks.artifacts.artifact_store import ArtifactStore
from raytasks.artifacts.large_values import LargeValues
from raytasks.driver import calling
from raytasks.driver.calling import ServiceDoor
from raytasks.handling import attempt_waits
from raytasks.handling.submission import PayloadBounds
from raytasks.handling.terms import DriverTerms
from raytasks.model.tasks import BacklogFull, Duplicate, NewTask, StoreUnavailable

LIMIT = 100
TASK_ID = "0198c1de-0000-7000-8000-000000000001"
LARGE, SMALL = "x" * 500, "x"


class Calls:
    """The tracker's actor as the door calls it: `answer` is what a submission gets."""

    def __init__(self, values: LargeValues) -> None:
        self.values = values
        self.answer: Callable[[NewTask], dict[str, Duplicate]] = lambda task: {}
        self.kept: set[str] = set()
        self.sent: list[NewTask] = []
        self.asked = 0

    async def terms(self) -> DriverTerms:
        self.asked += 1
        return DriverTerms(self.values, PayloadBounds(), 1000, __version__)

    async def submit(self, tasks: Sequence[NewTask]) -> dict[str, Duplicate]:
        self.sent += tasks
        return self.answer(tasks[0])

    async def repeated(self, tasks: Sequence[NewTask]) -> dict[str, Duplicate]:
        return self.answer(tasks[0])

    async def close(self) -> None:
        """Nothing is open."""

    async def stored(self, task_ids: Sequence[str]) -> set[str]:
        return self.kept


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Calls:
    calls = Calls(LargeValues(ArtifactStore(str(tmp_path / "artifacts")), LIMIT))
    monkeypatch.setattr(calling, "TrackerCalls", lambda: calls)
    return calls


@pytest.fixture
def door(calls: Calls) -> Iterator[ServiceDoor]:
    door = ServiceDoor()
    yield door
    door.close()


def task(text: str) -> NewTask:
    return NewTask(TASK_ID, "short", f'"{text}"', 0, 3, None, 1.0, 1.0)


def files(folder: Path) -> list[str]:
    return [file.name for file in folder.rglob("*") if file.is_file()]


def test_a_large_payload_is_written_first(door: ServiceDoor, calls: Calls, tmp_path: Path) -> None:
    door.call(door.submit([task(LARGE)]))
    assert (calls.sent[0].payload, files(tmp_path)) == ("null", [".payload.json"])


def test_a_small_one_is_one_call(door: ServiceDoor, calls: Calls, tmp_path: Path) -> None:
    for _ in range(5):
        door.call(door.submit([task(SMALL)]))
    assert (calls.asked, len(calls.sent), files(tmp_path)) == (1, 5, [])


def test_what_is_looked_up_is_not_submitted(door: ServiceDoor, calls: Calls) -> None:
    calls.answer = lambda task: {task.task_id: Duplicate("holder", same=True)}
    assert door.call(door.repeated([task(SMALL)])) == {TASK_ID: Duplicate("holder", same=True)}
    assert calls.sent == []


def test_a_duplicate_leaves_no_file(door: ServiceDoor, calls: Calls, tmp_path: Path) -> None:
    calls.answer = lambda task: {task.task_id: Duplicate("first", same=True)}
    assert door.call(door.submit([task(LARGE)])) == {TASK_ID: Duplicate("first", same=True)}
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("error", "stored", "left"),
    [(BacklogFull, False, 0), (BacklogFull, True, 1), (StoreUnavailable, False, 1)],
)
def test_only_what_is_certainly_not_stored_loses_its_file(
    door: ServiceDoor,
    calls: Calls,
    tmp_path: Path,
    error: type[Exception],
    stored: bool,
    left: int,
) -> None:
    def answer(task: NewTask) -> dict[str, Duplicate]:
        if stored:
            calls.kept.add(task.task_id)
        raise error("refused")

    calls.answer = answer
    with pytest.raises(error, match="refused"):
        door.call(door.submit([task(LARGE)]))
    assert len(files(tmp_path)) == left


def test_a_wait_has_a_time_limit(door: ServiceDoor) -> None:
    async def never() -> None:
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError, match=r"not within 0\.01 seconds"):
        door.call(never(), 0.01)

    async def own() -> None:
        raise TimeoutError("of its own")

    with pytest.raises(TimeoutError, match="of its own"):
        door.call(own())


async def test_on_an_event_loop_it_is_awaited(door: ServiceDoor, calls: Calls) -> None:
    assert await door.call_async(door.submit([task(SMALL)])) == {}
    assert len(calls.sent) == 1


class FakeRay:
    """Of Ray what references need: `ready` says which have a value."""

    def __init__(self) -> None:
        self.ready: set[Any] = set()
        self.made = 0
        self.threads: set[int] = set()

    def wait(self, refs: Sequence[Any], **_: Any) -> tuple[list[Any], list[Any]]:
        return [ref for ref in refs if ref in self.ready], []

    def make(self) -> Any:
        self.made += 1
        self.threads.add(threading.get_ident())
        ray, name = self, self.made

        class Method:
            def __init__(self, kind: str) -> None:
                self._kind = kind

            def remote(self, *arguments: str) -> str:
                return f"{self._kind} of {name} {' '.join(arguments)}".strip()

        class Actor:
            result, live = Method("result"), Method("live")

        assert ray is not None
        return Actor()


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    ray = FakeRay()
    monkeypatch.setattr(calling, "ray", ray)
    monkeypatch.setattr(calling, "make_results", ray.make)
    monkeypatch.setattr(calling, "_LIVE_SECONDS", -1.0)
    return ray


def test_references_come_from_an_actor_of_this_process(door: ServiceDoor, ray: FakeRay) -> None:
    door.call(door.submit([task(SMALL)]))
    assert ray.made == 0  # who submits and forgets makes none
    assert [door.ref("t1"), door.ref("t2")] == ["result of 1 t1", "result of 1 t2"]
    ray.ready.add("live of 1")  # it is gone for good
    assert door.ref("t3") == "result of 2 t3"
    assert ray.made == 2
    assert threading.get_ident() not in ray.threads  # else it is cancelled with an attempt


def test_one_of_an_attempt_is_noted_until_it_has_a_value(door: ServiceDoor, ray: FakeRay) -> None:
    waits = attempt_waits.AttemptWaits()
    with attempt_waits.noting(waits):
        door.ref("t1")
        door.ref("t2")
    assert waits.referred() == "t1"
    ray.ready.add("result of 1 t1")
    assert waits.referred() == "t2"
    ray.ready.add("result of 1 t2")
    assert waits.referred() is None


def test_a_wait_of_an_attempt_is_noted_while_it_lasts() -> None:
    waits = attempt_waits.AttemptWaits()
    seen: list[object] = []
    with attempt_waits.noting(waits):
        with attempt_waits.waiting_for("t1"):
            seen.append(waits.blocked())
        seen.append(waits.blocked())
        other = threading.Thread(target=lambda: seen.append(attempt_waits.present()))
        other.start()
        other.join()
    assert seen == ["t1", None, None]
    assert attempt_waits.present() is None
