"""What a driver script submits: large payloads go to the service's artifact store first."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raytasks import driver, wire
from raytasks.artifacts import ArtifactStore
from raytasks.models import BacklogFull, Duplicate, KeyConflict, NewTask, StoreUnavailable
from raytasks.offload import LargeValues
from raytasks.registry import Registry, handler, handler_of

LIMIT = 100
LARGE = {"text": "x" * 500}


class Remote:
    """A method of an actor; what it returns or raises, `ray.get` does."""

    def __init__(self, method: Callable[..., Any]) -> None:
        self._method = method

    def remote(self, *arguments: Any) -> Callable[[], Any]:
        return lambda: self._method(*arguments)


class Tracker:
    """The tracker's actor: `answer` is what a submission gets."""

    def __init__(self, values: LargeValues) -> None:
        self.values = values
        self.answer: Any = lambda task: {}
        self.stored: dict[str, Any] = {}
        self.sent: list[NewTask] = []
        self.calls = 0
        self.submit = Remote(self._submit)
        self.tasks = Remote(lambda task_ids: self.stored)
        self.large_values = Remote(self._large_values)

    def _submit(self, message: bytes) -> bytes:
        tasks = wire.new_tasks_of(message)
        self.sent += tasks
        return wire.encode(self.answer(tasks[0]))

    def _large_values(self) -> LargeValues:
        self.calls += 1
        return self.values


@pytest.fixture
def tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    @handler("short")
    def short(payload: dict) -> None:
        """Do nothing."""

    tracker = Tracker(LargeValues(ArtifactStore(str(tmp_path / "artifacts")), LIMIT))
    monkeypatch.setattr(driver, "_tracker", lambda: tracker)
    monkeypatch.setattr(driver, "_registry", lambda: Registry([handler_of(short)]))
    monkeypatch.setattr(driver, "_offload_bytes", lambda: LIMIT)
    monkeypatch.setattr(driver, "_ref", lambda task_id: f"ref of {task_id}")
    monkeypatch.setattr(driver.ray, "get", lambda called: called())
    return tracker


def files(folder: Path) -> list[str]:
    return [file.name for file in folder.rglob("*") if file.is_file()]


def test_a_large_payload_is_written_first(tracker: Tracker, tmp_path: Path) -> None:
    task = driver.submit("short", LARGE)
    [sent] = tracker.sent
    assert (task.id, task.ref) == (sent.task_id, f"ref of {sent.task_id}")
    assert (sent.payload, files(tmp_path)) == ("null", [".payload.json"])


def test_a_small_one_asks_nobody(tracker: Tracker, tmp_path: Path) -> None:
    driver.submit("short", {"text": "x"})
    assert (tracker.calls, tracker.sent[0].payload, files(tmp_path)) == (0, '{"text":"x"}', [])


def test_a_duplicate_leaves_no_file(tracker: Tracker, tmp_path: Path) -> None:
    tracker.answer = lambda task: {task.task_id: Duplicate("first", same=True)}
    assert driver.submit("short", LARGE, idempotency_key="k").id == "first"
    tracker.answer = lambda task: {task.task_id: Duplicate("first", same=False)}
    with pytest.raises(KeyConflict):
        driver.submit("short", LARGE, idempotency_key="k")
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("error", "stored", "left"),
    [(BacklogFull, False, 0), (BacklogFull, True, 1), (StoreUnavailable, False, 1)],
)
def test_only_what_is_certainly_not_stored_loses_its_file(
    tracker: Tracker, tmp_path: Path, error: type[Exception], stored: bool, left: int
) -> None:
    def answer(task: NewTask) -> None:
        if stored:
            tracker.stored[task.task_id] = task
        raise error("refused")

    tracker.answer = answer
    with pytest.raises(error, match="refused"):
        driver.submit("short", LARGE)
    assert len(files(tmp_path)) == left
