"""Large values: to the artifact store and back, or a clear error; never something else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from pydantic_core import from_json

from raytasks import Context, PermanentError, RetryPolicy, Snooze, handler
from raytasks.artifacts.artifact_store import ArtifactStore
from raytasks.artifacts.large_values import (
    ArtifactLost,
    ArtifactsUnavailable,
    LargeValues,
    is_longer,
)
from raytasks.handling.context import LocalChannel
from raytasks.handling.declaration import handler_of
from raytasks.model.states import OutcomeKind
from raytasks.model.tasks import NewTask
from raytasks.protocol.messages import Claim, Outcome
from raytasks.runner.attempt import Attempt
from raytasks.runner.on_ray.remote_attempt import may_ray_retry
from raytasks.runner.workplace import Workplace
from tests.making import NOW, new_task, task_id

LIMIT = 100
MOST = 1000


@pytest.fixture(params=["{}/artifacts", "memory://offload{}"])
def artifacts(tmp_path: Path, request: pytest.FixtureRequest) -> ArtifactStore:
    """A store in a folder, and one behind a URL."""
    return ArtifactStore(request.param.format(tmp_path))


@pytest.fixture
def values(artifacts: ArtifactStore) -> LargeValues:
    return LargeValues(artifacts, LIMIT, MOST)


def claim(number: int = 1, **changes: Any) -> Claim:
    """Return the first attempt of a task."""
    given: dict[str, Any] = {"attempt": 1, "payload": "{}", "failures": 0, "max_attempts": 3}
    given |= {"timeout_seconds": None, "checkpoint": None} | changes
    return Claim(task_id(number), "short", **given)


def claim_of(task: NewTask) -> Claim:
    """Return the first attempt of a submission."""
    return replace(
        claim(), task_id=task.task_id, payload=task.payload, payload_ref=task.payload_ref
    )


def text(size: int, letter: str = "x") -> str:
    """Return a JSON text of so many bytes."""
    width = len(letter.encode())
    return '"' + "y" * ((size - 2) % width) + letter * ((size - 2) // width) + '"'


class Broken(ArtifactStore):
    """A store that does not work just now."""

    def save_own(self, task_id: str, name: str, data: bytes) -> None:
        raise PermissionError("/secret/path")

    def read_own(self, task_id: str, name: str) -> bytes:
        raise TimeoutError("/secret/path")

    def remove(self, task_id: str) -> None:
        raise OSError("/secret/path")


class TestPayloads:
    @pytest.mark.parametrize("letter", ["x", "ä", "€", "🐎"])
    @pytest.mark.parametrize("size", [LIMIT - 1, LIMIT, LIMIT + 1])
    def test_the_limit_counts_bytes(self, values: LargeValues, size: int, letter: str) -> None:
        payload = text(size, letter)
        assert len(payload.encode()) == size
        assert is_longer(payload, LIMIT) is values.is_large(payload) is (size > LIMIT)
        [kept] = values.externalize_payloads([new_task(1, payload=payload)])
        if size <= LIMIT:
            assert (kept.payload, kept.payload_ref) == (payload, None)
        else:
            ref = from_json(kept.payload_ref or "")
            assert (kept.payload, ref["bytes"], ref["name"]) == ("null", size, ".payload.json")
            assert len(ref["sha256"]) == 64
        assert values.load_payload(claim_of(kept)) == payload

    def test_without_a_store_nothing_is_large(self) -> None:
        [kept] = LargeValues(None, LIMIT, MOST).externalize_payloads(
            [new_task(1, payload=text(500))]
        )
        assert (kept.payload, kept.payload_ref) == (text(500), None)

    def test_what_cannot_all_be_written_is_all_taken_back(
        self, artifacts: ArtifactStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        written: list[str] = []

        def fail_third(name: str, *arguments: Any) -> None:
            written.append(name)
            if len(written) == 3:
                raise OSError("no space left")
            ArtifactStore.save_own(artifacts, name, *arguments)

        monkeypatch.setattr(artifacts, "save_own", fail_third)
        values = LargeValues(artifacts, LIMIT, MOST)
        with pytest.raises(ArtifactsUnavailable, match=f"the payload of task {task_id(3)} cannot"):
            values.externalize_payloads([new_task(n, payload=text(500)) for n in range(1, 5)])
        for number in (1, 2, 3, 4):
            with pytest.raises(FileNotFoundError):
                artifacts.read_own(task_id(number), ".payload.json")

    def test_only_what_is_not_stored_is_forgotten(self, values: LargeValues) -> None:
        kept = values.externalize_payloads([new_task(n, payload=text(500)) for n in (1, 2)])
        values.delete_payloads([*kept, new_task(3)], stored={task_id(2): None})
        with pytest.raises(ArtifactLost):
            values.load_payload(claim_of(kept[0]))
        assert values.load_payload(claim_of(kept[1])) == text(500)

    def test_forgetting_raises_nothing(self, values: LargeValues) -> None:
        kept = values.externalize_payloads([new_task(1, payload=text(500))])
        LargeValues(Broken("/nowhere")).delete_payloads(kept)
        assert values.load_payload(claim_of(kept[0])) == text(500)


class TestReading:
    def test_a_lost_file_is_told(self, values: LargeValues, artifacts: ArtifactStore) -> None:
        [kept] = values.externalize_payloads([new_task(1, payload=text(500))])
        artifacts.remove(kept.task_id)
        with pytest.raises(ArtifactLost, match=f"^the payload of task {task_id(1)} is gone: "):
            values.load_payload(claim_of(kept))

    @pytest.mark.parametrize(
        "other", [text(499), text(500, "y"), text(501), "", "null", text(500)[:-1] + "\xff"]
    )
    def test_a_changed_file_is_told(
        self, values: LargeValues, artifacts: ArtifactStore, other: str
    ) -> None:
        [kept] = values.externalize_payloads([new_task(1, payload=text(500))])
        artifacts.save_own(kept.task_id, ".payload.json", other.encode("latin-1"))
        with pytest.raises(ArtifactLost, match="is not what was written"):
            values.load_payload(claim_of(kept))

    @pytest.mark.parametrize("what", ["folder", "file"])
    def test_something_else_in_its_place_is_told(self, tmp_path: Path, what: str) -> None:
        values = LargeValues(ArtifactStore(str(tmp_path)), LIMIT, MOST)
        [kept] = values.externalize_payloads([new_task(1, payload=text(500))])
        place = tmp_path / kept.task_id
        place.rename(tmp_path / "away")
        if what == "folder":
            (place / ".payload.json").mkdir(parents=True)
        else:
            place.touch()
        with pytest.raises(ArtifactLost, match="is gone"):
            values.load_payload(claim_of(kept))

    def test_trouble_of_the_store_is_no_loss_and_tells_no_path(self, values: LargeValues) -> None:
        [kept] = values.externalize_payloads([new_task(1, payload=text(500))])
        broken = LargeValues(Broken("/nowhere"), LIMIT, MOST)
        for call in (
            lambda: broken.load_payload(claim_of(kept)),
            lambda: broken.externalize_payloads([new_task(2, payload=text(500))]),
            lambda: broken.externalize_result(claim(), text(500).encode()),
            lambda: LargeValues(None).load_payload(claim_of(kept)),
        ):
            with pytest.raises(ArtifactsUnavailable, match="does not work just now") as caught:
                call()
            assert "secret" not in str(caught.value)


class TestResults:
    @pytest.mark.parametrize("letter", ["x", "€"])
    @pytest.mark.parametrize("size", [LIMIT - 1, LIMIT, LIMIT + 1, MOST - 1, MOST])
    def test_they_come_back(self, values: LargeValues, size: int, letter: str) -> None:
        result = text(size, letter)
        stored, ref = values.externalize_result(claim(), result.encode())
        assert (stored is None) is (ref is not None) is (size > LIMIT)
        assert _read(values, stored, ref) == result

    def test_one_over_the_most_is_refused(self, values: LargeValues) -> None:
        with pytest.raises(
            PermanentError, match=r"has 1001 bytes.* RAYTASKS_MAX_RESULT_BYTES allows 1000"
        ):
            values.externalize_result(claim(), text(MOST + 1).encode())

    def test_no_run_of_an_attempt_overwrites_that_of_another(self, values: LargeValues) -> None:
        attempts = [claim(), claim(attempt=2), claim()]
        results = [text(500, letter) for letter in "abc"]
        kept = [
            values.externalize_result(one, result.encode())
            for one, result in zip(attempts, results, strict=True)
        ]
        assert [_read(values, *one) for one in kept] == results
        assert from_json(kept[1][1] or "")["name"].startswith(".result.2.")


def _read(values: LargeValues, stored: str | None, ref: str | None) -> str | None:
    from raytasks.api.views import accepted

    return values.load_result(replace(accepted(new_task(1), NOW), result=stored, result_ref=ref))


class TestAttempts:
    """Large values in the process of an attempt."""

    def run(
        self,
        target: Callable[..., Any],
        artifacts: ArtifactStore | None,
        the_claim: Claim | None = None,
        **options: Any,
    ) -> Outcome:
        spec = handler_of(handler("short", **options)(target))
        workplace = Workplace(artifacts=artifacts, offload_bytes=LIMIT, max_result_bytes=MOST)
        attempt = Attempt(spec, the_claim or claim(), workplace)
        made = spec.target() if isinstance(spec.target, type) else spec.target
        try:
            return attempt.run(made, LocalChannel())
        finally:
            if workplace._runner is not None:
                workplace._runner.close()

    def test_every_form_of_handler(self, artifacts: ArtifactStore, values: LargeValues) -> None:
        def plain(payload: str) -> str:
            return payload[::-1]

        async def coroutine(payload: str, context: Context) -> str:
            return payload[::-1]

        class Instance:
            def __call__(self, payload: str) -> str:
                return payload[::-1]

        [kept] = values.externalize_payloads([new_task(1, payload='"' + "ab" * 200 + '"')])
        for target in (plain, coroutine, Instance):
            outcome = self.run(target, artifacts, claim_of(kept))
            assert (outcome.kind, outcome.result) == (OutcomeKind.SUCCEEDED, None), outcome.error
            assert _read(values, None, outcome.result_ref) == '"' + "ba" * 200 + '"'

    def test_a_lost_payload_fails_the_task_for_good_before_its_handler_is_called(
        self, artifacts: ArtifactStore, values: LargeValues
    ) -> None:
        called: list[str] = []

        def target(payload: str) -> None:
            called.append(payload)

        [kept] = values.externalize_payloads([new_task(1, payload=text(500))])
        artifacts.remove(kept.task_id)
        outcome = self.run(
            target, artifacts, claim_of(kept), retry=RetryPolicy(retry_on=(OSError,))
        )
        error = from_json(outcome.error or "")
        assert (outcome.kind, outcome.retryable) == (OutcomeKind.FAILED, False)
        assert (error["type"], error["retryable"], called) == ("ArtifactLost", False, [])
        assert "the payload of task" in error["message"]

    @pytest.mark.parametrize(
        "policy",
        [
            {},
            {"never_retry": (Exception,)},
            {"retry_on": (KeyError,)},
        ],
    )
    def test_trouble_of_the_store_is_tried_again_whatever_the_handler_says(
        self, values: LargeValues, policy: dict[str, Any]
    ) -> None:
        def target(payload: Any) -> str:
            return "x" * 500

        [kept] = values.externalize_payloads([new_task(1, payload=text(500))])
        retry = RetryPolicy(initial_delay_seconds=7, jitter=0, **policy)
        for the_claim in (claim(), claim_of(kept)):
            outcome = self.run(target, Broken("/nowhere"), the_claim, retry=retry)
            error = from_json(outcome.error or "")
            assert (outcome.kind, outcome.retryable) == (OutcomeKind.FAILED, True)
            assert (error["type"], outcome.delay_seconds) == ("ArtifactsUnavailable", 7)

    def test_a_result_that_is_too_large_fails_for_good(self, artifacts: ArtifactStore) -> None:
        def target(payload: Any) -> str:
            return "x" * MOST

        outcome = self.run(target, artifacts)
        error = from_json(outcome.error or "")
        assert (outcome.retryable, error["type"]) == (False, "PermanentError")
        assert "MAX_RESULT_BYTES" in error["message"]

    def test_a_checkpoint_that_is_too_large_is_an_error_of_the_handler(
        self, artifacts: ArtifactStore
    ) -> None:
        def target(payload: Any, context: Context) -> None:
            context.checkpoint("x" * (MOST - 2))
            context.checkpoint("x" * MOST)

        error = from_json(self.run(target, artifacts).error or "")
        assert error["type"] == "ValueError"
        assert "MAX_RESULT_BYTES" in error["message"]

    def test_what_has_no_result_writes_no_file(self, tmp_path: Path) -> None:
        def target(payload: Any) -> None:
            raise Snooze(1)

        assert self.run(target, ArtifactStore(str(tmp_path))).result_ref is None
        assert list(tmp_path.iterdir()) == []


def test_ray_does_not_retry_what_is_lost() -> None:
    options = {"max_retries": 3, "retry_exceptions": True}
    assert may_ray_retry(options, ArtifactsUnavailable("x"), 0)
    assert not may_ray_retry(options, ArtifactLost("x"), 0)


class TestCheckpoints:
    """A large checkpoint is a file, written before it is reported and read where it is needed."""

    def test_a_small_one_stays_as_it_is(self, values: LargeValues) -> None:
        assert values.externalize_checkpoint(claim(), text(LIMIT)) == (text(LIMIT), None)
        assert values.load_checkpoint(claim(checkpoint="[1]")) == "[1]"
        assert values.load_checkpoint(claim()) is None

    def test_without_a_store_it_stays_as_it_is(self) -> None:
        nowhere = LargeValues(None, LIMIT)
        assert nowhere.externalize_checkpoint(claim(), text(5 * LIMIT)) == (text(5 * LIMIT), None)

    def test_a_large_one_comes_back(self, values: LargeValues) -> None:
        kept, ref = values.externalize_checkpoint(claim(), text(LIMIT + 1, "\u20ac"))
        assert kept == "null"
        again = claim(attempt=2, checkpoint=kept, checkpoint_ref=ref)
        assert values.load_checkpoint(again) == text(LIMIT + 1, "\u20ac")

    def test_each_has_its_own_file(self, values: LargeValues) -> None:
        """The same data once more must not be taken for the file that is to be removed."""
        refs = [values.externalize_checkpoint(claim(), text(LIMIT + 1))[1] for _ in range(3)]
        assert len({from_json(ref or "")["name"] for ref in refs}) == 3

    def test_one_that_is_gone_is_told(self, values: LargeValues, artifacts: ArtifactStore) -> None:
        _, ref = values.externalize_checkpoint(claim(), text(LIMIT + 1))
        name = from_json(ref or "")["name"]
        artifacts.remove_own(task_id(1), name)
        artifacts.remove_own(task_id(1), name)
        with pytest.raises(ArtifactLost, match="checkpoint"):
            values.load_checkpoint(claim(checkpoint="null", checkpoint_ref=ref))

    def test_a_handler_reads_it_only_when_it_asks(
        self, values: LargeValues, artifacts: ArtifactStore
    ) -> None:
        seen: list[Any] = []

        @handler("short")
        def resume(payload: dict[str, Any], context: Context) -> None:
            if payload:
                seen.append(context.last_checkpoint)
                context.checkpoint("small")
                seen.append(context.last_checkpoint)

        place = Workplace(artifacts=artifacts, offload_bytes=LIMIT, max_result_bytes=MOST)
        _, ref = values.externalize_checkpoint(claim(), text(LIMIT + 1))
        given = claim(attempt=2, checkpoint="null", checkpoint_ref=ref, payload='{"a": 1}')
        spec = handler_of(resume)
        done = Attempt(spec, given, place).run(resume, LocalChannel())
        assert done.kind is OutcomeKind.SUCCEEDED
        assert seen == [from_json(text(LIMIT + 1)), "small"]
        artifacts.remove(task_id(1))
        ignored = replace(given, payload="{}")
        done = Attempt(spec, ignored, place).run(resume, LocalChannel())
        assert done.kind is OutcomeKind.SUCCEEDED


@pytest.mark.parametrize("saves", [True, False])
def test_an_outcome_tells_whether_files_were_saved(artifacts: ArtifactStore, saves: bool) -> None:
    @handler("short")
    def save(_: dict[str, Any], context: Context) -> None:
        if saves:
            context.save_artifact("a.txt", b"x")
        raise PermanentError("but in vain")

    place = Workplace(artifacts=artifacts)
    artifacts.save(task_id(9), "of-another.txt", b"x")
    done = Attempt(handler_of(save), claim(), place).run(save, LocalChannel())
    assert done.kind is OutcomeKind.FAILED
    assert done.has_files is saves
