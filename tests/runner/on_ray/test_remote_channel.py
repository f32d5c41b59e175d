"""The channel of a remote attempt, when the task runner cannot be reached for a while."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    GetTimeoutError,
    RayError,
    RaySystemError,
    RayTaskError,
    TaskCancelledError,
)

from raytasks.handling.context import Cancelled
from raytasks.model.task_events import LogLine
from raytasks.runner.on_ray import remote_channel
from raytasks.runner.on_ray.remote_channel import RemoteChannel, insist


@dataclass
class Answer:
    value: Any


@dataclass
class FakeRay:
    """Stands for Ray: a reference is the answer or the error itself."""

    def get(self, ref: Any, timeout: float | None = None) -> Any:
        if isinstance(ref.value, Exception):
            raise ref.value
        return ref.value

    def wait(self, refs: list[Any], timeout: float) -> tuple[list[Any], list[Any]]:
        pending = isinstance(refs[0].value, GetTimeoutError)
        return ([], refs) if pending else (refs, [])


@dataclass
class TaskRunner:
    """Answers each call with the next of its answers, and notes what it was asked."""

    answers: list[Any] = field(default_factory=list)
    calls: list[tuple[Any, ...]] = field(default_factory=list)

    def __getattr__(self, method: str) -> Any:
        def remote(*arguments: Any) -> Answer:
            self.calls.append((method, *arguments))
            return Answer(self.answers.pop(0) if self.answers else None)

        return SimpleNamespace(remote=remote)


def blips() -> list[RayError]:
    return [
        ActorUnavailableError("the network is cut", b"\0" * 16),
        RaySystemError("something of Ray's"),
        GetTimeoutError("no answer"),
    ]


@pytest.fixture
def channel(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[RemoteChannel, TaskRunner]]:
    monkeypatch.setattr(remote_channel, "ray", FakeRay())
    monkeypatch.setattr(remote_channel, "_RETRY_SECONDS", 0.0)
    monkeypatch.setattr(remote_channel, "_CANCELLED_CACHE_SECONDS", 0.0)

    def make(*answers: Any) -> tuple[RemoteChannel, TaskRunner]:
        runner = TaskRunner(list(answers))
        attempt: Any = SimpleNamespace(
            claim=SimpleNamespace(task_id="t1", attempt=2),
            externalize_checkpoint=lambda text: (text, None),  # none is large here
        )
        return RemoteChannel(attempt, runner, 1), runner

    return make


@pytest.mark.parametrize("blip", blips(), ids=lambda error: type(error).__name__)
class TestBlips:
    def test_the_last_answer_stands(self, channel: Any, blip: RayError) -> None:
        asking, _ = channel(False, blip, False)
        assert [asking.cancelled() for _ in range(3)] == [False] * 3

    def test_a_checkpoint_is_sent_until_it_is_on_disk(self, channel: Any, blip: RayError) -> None:
        saving, runner = channel(blip, blip, True)
        saving.checkpoint("[1]")
        assert runner.calls == [("checkpoint", "t1", 2, 1, "[1]", None)] * 3

    def test_the_last_progress_is_sent_again(self, channel: Any, blip: RayError) -> None:
        telling, runner = channel(blip, None)
        telling.progress(1, None)
        assert runner.calls == [("progress", "t1", 2, 1, 1, None)] * 2

    def test_lines_are_sent_again(self, channel: Any, blip: RayError) -> None:
        telling, runner = channel(blip, None)
        line = LogLine(1, time.time(), "INFO", "here")
        telling.log(line)
        telling.close()
        assert runner.calls == [("log", "t1", 2, 1, [line])] * 2

    def test_a_start_is_asked_for_again(self, channel: Any, blip: RayError) -> None:
        _, runner = channel(blip, "start")
        assert insist(runner.started.remote, gone=None) == "start"


GONE = [ActorDiedError(), TaskCancelledError()]


@pytest.mark.parametrize("gone", GONE, ids=lambda error: type(error).__name__)
class TestGone:
    def test_the_attempt_is_to_stop(self, channel: Any, gone: RayError) -> None:
        asking, _ = channel(gone)
        assert asking.cancelled()
        assert asking.cancelled()

    def test_a_checkpoint_ends_it(self, channel: Any, gone: RayError) -> None:
        saving, _ = channel(gone)
        with pytest.raises(Cancelled):
            saving.checkpoint("[1]")


def test_a_checkpoint_of_an_old_try_ends_it(channel: Any) -> None:
    saving, _ = channel(False)
    with pytest.raises(Cancelled):
        saving.checkpoint("[1]")
    assert saving.cancelled()


def test_an_error_of_the_task_runner_is_no_blip(channel: Any) -> None:
    _, runner = channel(RayTaskError("started", "trace", ValueError("ours")))
    with pytest.raises(RayTaskError):
        insist(runner.started.remote, gone=None)
