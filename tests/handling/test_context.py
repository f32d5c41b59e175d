"""The context of a handler: what it answers, and what it is told."""

import logging
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from raytasks import Cancelled, Context, TaskNotFound, handler
from raytasks.artifacts.artifact_store import ArtifactStore
from raytasks.handling.context import LocalChannel
from raytasks.testing import FakeClock, Queue, run_handler

TASK_ID = "0198c1de-0000-7000-8000-000000000001"


def context(**values: Any) -> Context:
    return Context(TASK_ID, "short", **values)


class Point(BaseModel):
    x: int


class TestProgress:
    @pytest.mark.parametrize(
        ("fraction", "message"), [(0, None), (1, "done"), (0.5, ""), (None, "m"), (None, None)]
    )
    def test_it_is_passed_on(self, fraction: float | None, message: str | None) -> None:
        channel = LocalChannel()
        context(channel=channel).progress(fraction, message)
        assert (channel.fraction, channel.message) == (fraction, message)

    @pytest.mark.parametrize("fraction", [-0.01, 1.01, float("nan"), float("inf")])
    def test_a_bad_fraction_is_refused(self, fraction: float) -> None:
        channel = LocalChannel()
        with pytest.raises(ValueError, match="fraction must be from 0 to 1, not"):
            context(channel=channel).progress(fraction)
        assert channel.fraction is None

    def test_a_long_message_is_cut_to_what_the_store_keeps(self) -> None:
        channel = LocalChannel()
        context(channel=channel).progress(message="ä" * 2000)
        assert channel.message == "ä" * 500

    def test_a_message_may_be_any_object(self) -> None:
        channel = LocalChannel()
        context(channel=channel).progress(message=17)  # type: ignore[arg-type]
        assert channel.message == "17"


class TestCheckpoint:
    @pytest.mark.parametrize("data", [None, 0, "text", [1, 2], {"a": {"b": "ä🐎"}}, [], False])
    def test_what_was_saved_comes_back(self, data: Any) -> None:
        channel = LocalChannel()
        first = context(channel=channel)
        assert first.last_checkpoint is None
        first.checkpoint(data)
        assert first.last_checkpoint == data
        assert context(saved_checkpoint=channel.saved).last_checkpoint == data

    def test_the_newest_counts(self) -> None:
        the_context = context(saved_checkpoint="[1]")
        assert the_context.last_checkpoint == [1]
        the_context.checkpoint([2])
        assert the_context.last_checkpoint == [2]

    def test_models_are_saved_as_json(self) -> None:
        the_context = context()
        the_context.checkpoint(Point(x=3))
        assert the_context.last_checkpoint == {"x": 3}

    def test_one_over_the_limit_is_refused_and_the_one_before_stays(self) -> None:
        channel = LocalChannel()
        the_context = context(channel=channel, max_checkpoint_bytes=10)
        the_context.checkpoint("ä" * 4)  # 10 bytes with its quotes
        refused = r"has 11 bytes of JSON; RAYTASKS_MAX_RESULT_BYTES allows 10"
        with pytest.raises(ValueError, match=refused):
            the_context.checkpoint("ä" * 4 + "b")
        assert the_context.last_checkpoint == "ä" * 4
        assert channel.saved == '"ääää"'

    def test_what_could_not_be_saved_is_not_taken_for_saved(self) -> None:
        class Broken(LocalChannel):
            def checkpoint(self, data: str) -> None:
                raise RuntimeError("lost")

        the_context = context(channel=Broken(), saved_checkpoint="[1]")
        with pytest.raises(RuntimeError):
            the_context.checkpoint([2])
        assert the_context.last_checkpoint == [1]

    def test_what_is_no_json_is_refused(self) -> None:
        channel = LocalChannel()
        with pytest.raises(ValueError, match="Unable to serialize"):
            context(channel=channel).checkpoint(object())
        assert channel.saved is None


class TestStopping:
    def test_without_a_timeout_and_a_cancel_it_goes_on(self) -> None:
        the_context = context()
        assert the_context.remaining_seconds is None
        assert not the_context.cancelled
        the_context.raise_if_cancelled()

    def test_a_cancel_stops_it(self) -> None:
        channel = LocalChannel()
        the_context = context(channel=channel)
        channel.is_cancelled = True
        assert the_context.cancelled
        with pytest.raises(Cancelled):
            the_context.raise_if_cancelled()

    def test_so_does_the_end_of_its_time(self, clock: FakeClock) -> None:
        the_context = context(deadline=clock.now + 10, clock=clock)
        assert (the_context.remaining_seconds, the_context.cancelled) == (10, False)
        clock.advance(9)
        assert (the_context.remaining_seconds, the_context.cancelled) == (1, False)
        clock.advance(1)
        assert (the_context.remaining_seconds, the_context.cancelled) == (0, True)
        clock.advance(1)
        assert (the_context.remaining_seconds, the_context.cancelled) == (0, True)

    def test_a_handler_that_catches_exceptions_is_stopped_all_the_same(self) -> None:
        assert not issubclass(Cancelled, Exception)


class TestRest:
    def test_the_log_names_the_task_and_the_attempt(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.INFO):
            context(attempt=3).log.info("hello %s", "there")
        [record] = caplog.records
        assert (record.name, record.getMessage()) == ("raytasks.handlers.short", "hello there")
        assert (vars(record)["task_id"], vars(record)["attempt"]) == (TASK_ID, 3)

    def test_an_artifact_is_saved_for_its_task(self, tmp_path: Path) -> None:
        the_context = context(artifacts=ArtifactStore(str(tmp_path)))
        assert the_context.save_artifact("a.txt", b"hi") == f"/artifacts/{TASK_ID}/a.txt"
        assert (tmp_path / TASK_ID / "a.txt").read_bytes() == b"hi"

    def test_without_a_store_there_are_no_artifacts(self) -> None:
        with pytest.raises(RuntimeError, match="no artifact store"):
            context().save_artifact("a.txt", b"hi")


class Unspeakable:
    def __repr__(self) -> str:
        raise TypeError("no text")


@pytest.mark.parametrize("fraction", ["half", object(), None, [], {}, 10**400, "0.5"])
def test_a_fraction_that_is_no_number_is_refused(fraction: Any) -> None:
    channel = LocalChannel()
    if fraction is None:
        context(channel=channel).progress(fraction)
    else:
        with pytest.raises(ValueError, match="fraction must be from 0 to 1, not"):
            context(channel=channel).progress(fraction)
    assert channel.fraction is None


@pytest.mark.parametrize(
    "data", [float("nan"), {"a": [float("inf")]}, [10**5000], "\ud800", {1: 2, "1": 3}, object()]
)
def test_a_checkpoint_that_no_reader_can_read_is_refused(data: Any) -> None:
    channel = LocalChannel()
    with pytest.raises(ValueError):  # noqa: PT011 - each has its own text
        context(channel=channel).checkpoint(data)
    assert channel.saved is None


class TestReadArtifact:
    OTHER = "0198c1de-0000-7000-8000-000000000002"

    def of(self, folder: Path, **namespaces: str) -> Context:
        known = {self.OTHER: namespaces["other"]} if "other" in namespaces else {}
        return context(
            artifacts=ArtifactStore(str(folder)), namespace="mine", namespace_of=known.get
        )

    def test_a_file_of_its_own(self, tmp_path: Path) -> None:
        own = self.of(tmp_path)
        own.save_artifact("a.txt", b"text")
        assert own.read_artifact("a.txt") == b"text"
        assert own.read_artifact("a.txt", task_id=TASK_ID, max_bytes=4) == b"text"
        with pytest.raises(ValueError, match=r"'a\.txt' has 4 bytes, and max_bytes allows 3: pass"):
            own.read_artifact("a.txt", max_bytes=3)
        with pytest.raises(FileNotFoundError, match=rf"task {TASK_ID} has no artifact 'b\.txt'"):
            own.read_artifact("b.txt")

    @pytest.mark.parametrize("name", [".result.1.json", "../x", "", "a/b"])
    def test_a_bad_name(self, tmp_path: Path, name: str) -> None:
        own = self.of(tmp_path)
        ArtifactStore(str(tmp_path)).save_own(TASK_ID, ".result.1.json", b"{}")
        with pytest.raises(ValueError):  # noqa: PT011
            own.read_artifact(name)

    def test_a_file_of_another_task_of_its_namespace(self, tmp_path: Path) -> None:
        ArtifactStore(str(tmp_path)).save(self.OTHER, "a.txt", b"theirs")
        of = self.of(tmp_path, other="mine")
        assert of.read_artifact("a.txt", task_id=self.OTHER) == b"theirs"
        for reader in (self.of(tmp_path, other="theirs"), self.of(tmp_path)):
            told = f"the namespace mine has no task '{self.OTHER}'"
            with pytest.raises(TaskNotFound, match=told):
                reader.read_artifact("a.txt", task_id=self.OTHER)
        with pytest.raises(TaskNotFound, match=r"the namespace mine has no task '\.\.'"):
            of.read_artifact("a.txt", task_id="..")

    def test_without_a_service(self, tmp_path: Path) -> None:
        with pytest.raises(RuntimeError, match="no artifact store"):
            context().read_artifact("a.txt")
        alone = context(artifacts=ArtifactStore(str(tmp_path)))
        with pytest.raises(RuntimeError, match=r"use raytasks\.testing\.Queue"):
            alone.read_artifact("a.txt", task_id=self.OTHER)

    def test_a_file_of_an_earlier_attempt_in_one_run(self) -> None:
        @handler("goes_on")
        def goes_on(_: int, context: Context) -> str:
            context.save_artifact("new.txt", b"new")
            return context.read_artifact("old.txt").decode()

        run = run_handler(goes_on, 1, attempt=2, artifacts={"old.txt": b"old"})
        assert (run.result, run.artifacts) == ("old", {"new.txt": b"new"})

    def test_in_a_queue(self) -> None:
        @handler("writes")
        def writes(payload: str, context: Context) -> str:
            context.save_artifact("a.txt", payload.encode())
            return context.task_id

        @handler("reads")
        def reads(task_id: str, context: Context) -> str:
            return context.read_artifact("a.txt", task_id=task_id).decode()

        with Queue([writes, reads]) as queue:
            written = queue.submit(writes, "text")
            queue.run_due()
            known = queue.submit(reads, written.task_id)
            unknown = queue.submit(reads, self.OTHER, max_attempts=1)
            queue.run_due()
            assert known.result == "text"
            assert unknown.error is not None
            assert unknown.error["type"] == "TaskNotFound"
