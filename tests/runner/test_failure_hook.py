"""`on_failure`: when it is called, with what, and that it never changes an outcome."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import raytasks
from raytasks import Batch, Context, HandlerError, PermanentError, RetryPolicy, Snooze, handler
from raytasks.artifacts.artifact_store import ArtifactStore
from raytasks.handling.context import LocalChannel
from raytasks.handling.declaration import handler_of
from raytasks.model.retry import AttemptTimeout
from raytasks.model.states import OutcomeKind, State
from raytasks.protocol.messages import Claim
from raytasks.runner import concurrent_work, failure_hook, warm_work
from raytasks.runner.attempt import Attempt
from raytasks.runner.concurrent_work import ConcurrentWork
from raytasks.runner.handler_call import Answer, HandlerCall, drive
from raytasks.runner.stop import StopReason
from raytasks.runner.warm_work import WarmWork
from raytasks.runner.workplace import Workplace
from raytasks.testing import FakeClock, Queue, run_handler
from tests.runner.concurrent_bench import PATIENCE, ConcurrentBench
from tests.runner.test_warm_work import Bench
from tests.working import Working

TASK_ID = "0198c1de-0000-7000-8000-000000000001"
TWICE = RetryPolicy(max_attempts=2, initial_delay_seconds=0.0)


class Order(BaseModel):
    number: int = 0


def called(target: Callable[..., Any], arguments: Any) -> Answer:
    try:
        return target(*arguments), None
    except PermanentError as error:
        return None, error


class Told:
    """Notes the calls of `on_failure`."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, Any, Context]] = []

    def __call__(self, payload: Any, error: Any, context: Context) -> None:
        self.calls.append((payload, error, context))

    @property
    def numbers(self) -> list[int]:
        return sorted(payload.number for payload, _, _ in self.calls)


def failing(told: Callable[..., object], **options: Any) -> Callable[..., Any]:
    @handler("order", on_failure=told, **options)
    def order(payload: Order, context: Context) -> int:
        if payload.number >= 10:
            raise PermanentError("no luck")
        if payload.number == 5:
            raise Snooze(1)
        if payload.number:
            raise ValueError("again")
        return context.attempt

    return order


class TestWhenItIsCalled:
    def test_at_the_last_failure(self) -> None:
        told = Told()
        with Queue([failing(told, retry=TWICE)]) as queue:
            task = queue.submit("order", {"number": 1})
            runs = queue.run_until_idle()
            assert [run.outcome for run in runs] == [OutcomeKind.FAILED] * 2
            assert task.state is State.FAILED
        [(payload, error, context)] = told.calls
        assert (payload, type(error), context.attempt) == (Order(number=1), ValueError, 2)
        assert context.task_id == task.task_id

    def test_at_an_error_that_is_never_retried(self) -> None:
        told = Told()
        run = run_handler(failing(told), {"number": 10})
        assert run.outcome is OutcomeKind.FAILED
        assert [str(error) for _, error, _ in told.calls] == ["no luck"]

    @pytest.mark.parametrize("number", [0, 1, 5])
    def test_not_when_the_task_goes_on_or_has_succeeded(self, number: int) -> None:
        told = Told()
        run_handler(failing(told), {"number": number})
        assert told.calls == []

    def test_not_for_a_cancelled_task(self) -> None:
        told = Told()

        @handler("waits", on_failure=told)
        def waits(_: Order, context: Context) -> None:
            context.raise_if_cancelled()

        assert run_handler(waits, {}, cancelled=True).outcome is OutcomeKind.CANCELLED
        assert told.calls == []

    @pytest.mark.parametrize(
        ("reason", "kind", "heard"),
        [
            (StopReason.CANCEL, OutcomeKind.CANCELLED, []),
            (StopReason.TIMEOUT, OutcomeKind.TIMED_OUT, [AttemptTimeout]),
            (None, OutcomeKind.FAILED, [KeyboardInterrupt]),
        ],
    )
    def test_whoever_knows_is_asked_whether_it_was_stopped(
        self, reason: StopReason | None, kind: OutcomeKind, heard: list[type[BaseException]]
    ) -> None:
        """Ray's cancel is a `KeyboardInterrupt` in a process that does not know the reason."""
        told = Told()

        @handler("waits", on_failure=told)
        def waits(_: Order) -> None:
            raise KeyboardInterrupt

        values: dict[str, Any] = {"failures": 0, "max_attempts": 1, "timeout_seconds": 30.0}
        claim = Claim(TASK_ID, "waits", 1, "{}", checkpoint=None, **values)
        attempt = Attempt(handler_of(waits), claim, Workplace())
        attempt.ask_stop = lambda: reason
        assert attempt.run(waits, LocalChannel()).kind is kind
        assert [type(error) for _, error, _ in told.calls] == heard

    def test_at_a_timeout(self) -> None:
        told, clock = Told(), FakeClock()

        @handler("slow", on_failure=told, retry=RetryPolicy(max_attempts=1))
        def slow(_: Order, context: Context) -> None:
            clock.advance(2)
            context.raise_if_cancelled()

        run = run_handler(slow, {}, timeout_seconds=1, clock=clock)
        assert run.outcome is OutcomeKind.TIMED_OUT
        assert [type(error) for _, error, _ in told.calls] == [AttemptTimeout]

    def test_when_the_class_cannot_be_made(self) -> None:
        told = Told()

        @handler("broken", on_failure=told, retry=RetryPolicy(max_attempts=1))
        class Broken:
            def __init__(self) -> None:
                raise OSError("no model")

            def __call__(self, _: Order) -> None: ...

        run_handler(Broken, {})
        [outcome] = Working(Broken).run("broken", max_attempts=1)
        assert outcome.kind is OutcomeKind.FAILED
        assert [str(error) for _, error, _ in told.calls] == ["no model"] * 2

    def test_not_when_ray_tries_again_within_the_attempt(self) -> None:
        told = Told()
        spec = handler_of(failing(told))
        claim = Claim("t1", "order", 1, '{"number": 10}', 0, 3, None, None)
        for again in (True, False):
            attempt = Attempt(spec, claim, Workplace())
            attempt.tries_again = lambda error, again=again: again  # type: ignore[misc]
            attempt.run(spec.target, LocalChannel())
            assert len(told.calls) == int(not again)

    def test_a_payload_that_no_longer_fits_is_as_json_gives_it(self) -> None:
        told = Told()
        spec = handler_of(failing(told))
        claim = Claim("t1", "order", 1, '{"number": "x"}', 0, 3, None, None)
        attempt = Attempt(spec, claim, Workplace())
        attempt.run(spec.target, LocalChannel())
        assert [payload for payload, _, _ in told.calls] == [{"number": "x"}]
        assert failure_hook.is_last(attempt, attempt.outcome(OutcomeKind.LOST)) is False


class TestWhatItMayDo:
    def test_its_error_is_logged_and_changes_nothing(self) -> None:
        def breaks(payload: Any, error: Any, context: Context) -> None:
            context.log.info("told")
            raise KeyError("hook")

        run = run_handler(failing(breaks), {"number": 10})
        assert run.outcome is OutcomeKind.FAILED
        assert run.error is not None
        assert run.error.message == "no luck"
        assert [line.message for line in run.logs] == [
            "told",
            "on_failure has failed: KeyError: 'hook'",
        ]

    def test_it_may_be_async_and_submit_a_task(self) -> None:
        @handler("undo")
        def undo(payload: Order) -> int:
            return payload.number

        async def submits(payload: Order, error: Any, context: Context) -> None:
            await asyncio.sleep(0)
            await raytasks.submit_async(undo, payload)

        with Queue([failing(submits), undo]) as queue:
            queue.submit("order", {"number": 10})
            runs = queue.run_until_idle()
        assert [(run.task_type, run.result) for run in runs] == [("order", None), ("undo", 10)]

    @pytest.mark.parametrize("kind", ["serial", "beside"])
    def test_a_file_that_it_saves_is_told(self, tmp_path: Path, kind: str) -> None:
        def saves(payload: Any, error: Any, context: Context) -> None:
            context.save_artifact("error.txt", str(error).encode())

        spec = handler_of(failing(saves))
        place = Workplace(artifacts=ArtifactStore(str(tmp_path)))
        for number, has_files in ((10, True), (0, False)):
            claim = Claim(TASK_ID, "order", 1, f'{{"number": {number}}}', 0, 3, None, None)
            attempt = Attempt(spec, claim, place)
            call = HandlerCall(spec, [attempt])
            if kind == "serial":
                outcome = attempt.run(spec.target, LocalChannel())
            else:
                invoke = lambda arguments: called(spec.target, arguments)  # noqa: E731
                drive(call.steps(lambda _: LocalChannel()), invoke)
                [outcome] = call.outcomes
            assert outcome.has_files is has_files
        assert place.artifacts is not None
        assert place.artifacts.read(TASK_ID, "error.txt") == b"no luck"

    def test_one_that_does_not_end_is_left_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(failure_hook, "ON_FAILURE_SECONDS", 0.05)
        release = threading.Event()

        def hangs(payload: Any, error: Any, context: Context) -> None:
            release.wait(PATIENCE)

        try:
            run = run_handler(failing(hangs), {"number": 10})
        finally:
            release.set()
        assert run.outcome is OutcomeKind.FAILED
        [line] = run.logs
        assert line.message == "on_failure has not ended within 0.05 seconds"

    def test_anything_else_than_a_function_of_three_is_refused(self) -> None:
        told = r"on_failure must be a function of \(payload, error, context\), not"
        for bad in (3, lambda payload: None):
            with pytest.raises(HandlerError, match=told):
                failing(bad)  # type: ignore[arg-type]


class TestInEachRunner:
    def test_in_a_serial_one(self) -> None:
        told = Told()
        working = Working(failing(told))
        assert [one.kind for one in working.run("order", "order")] == [OutcomeKind.SUCCEEDED] * 2
        assert told.calls == []

    @pytest.mark.parametrize("kind", ["thread", "loop", "batch"])
    async def test_in_a_concurrent_one(self, sqlite_url: str, tmp_path: Path, kind: str) -> None:
        told = Told()
        if kind == "thread":
            target = failing(told, concurrency=4)
        elif kind == "loop":

            @handler("order", concurrency=4, on_failure=told)
            async def target(payload: Order) -> int:
                await asyncio.sleep(0)
                if payload.number >= 10:
                    raise PermanentError("no luck")
                return 1

        else:

            @handler("order", batch=Batch(4), on_failure=told)
            def target(payloads: list[Order], contexts: list[Context]) -> list[Any]:
                return [PermanentError("no") if one.number >= 10 else 1 for one in payloads]

        async with ConcurrentBench(sqlite_url, tmp_path, target).running() as bench:
            payloads = [{"number": number} for number in (10, 0, 12, 13)]
            ids = await bench.submit("order", *payloads)
            tasks = await bench.ends(ids)
        assert [task.state for task in tasks] == [
            State.FAILED,
            State.COMPLETED,
            State.FAILED,
            State.FAILED,
        ]
        assert told.numbers == [10, 12, 13]
        assert {context.task_id for _, _, context in told.calls} == {ids[0], *ids[2:]}


class TestAfterATimeout:
    """The steps that stop an attempt end with its handler, so no process ends for `on_failure`."""

    @pytest.mark.parametrize("kind", ["serial", "thread", "loop"])
    async def test_the_runner_waits_for_it(
        self, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
    ) -> None:
        looks = threading.Semaphore(0)
        module, work = (
            (warm_work, WarmWork) if kind == "serial" else (concurrent_work, ConcurrentWork)
        )
        monkeypatch.setattr(module, "ASK_SECONDS", 0.05)
        monkeypatch.setattr(module, "INTERRUPT_SECONDS", 1.0)
        look = work.look

        def counted(self: Any) -> None:
            look(self)
            looks.release()

        monkeypatch.setattr(work, "look", counted)
        ended: list[type[BaseException]] = []

        def slow(payload: Any, error: Any, context: Context) -> None:
            while looks.acquire(blocking=False):
                pass
            for _ in range(15):  # by then the process of a handler would have ended
                assert looks.acquire(timeout=PATIENCE)
            ended.append(type(error))

        concurrency = 1 if kind == "serial" else 4
        once = RetryPolicy(max_attempts=1)

        @handler("late", timeout=0.05, retry=once, concurrency=concurrency, on_failure=slow)
        def late(payload: Order, context: Context) -> None:
            while True:
                context.raise_if_cancelled()
                threading.Event().wait(0.001)

        @handler("late", timeout=0.05, retry=once, concurrency=concurrency, on_failure=slow)
        async def late_on_loop(payload: Order) -> None:
            await asyncio.Event().wait()

        target = late_on_loop if kind == "loop" else late
        if kind == "serial":
            async with Bench(sqlite_url, tmp_path, target).running() as bench:
                task_id = await bench.submit("late")
                task = await bench.end(task_id)
                outcomes, lives = await bench.outcomes(task_id), bench.lives
        else:
            async with ConcurrentBench(sqlite_url, tmp_path, target).running() as beside:
                [task_id] = await beside.submit("late", {})
                [task] = await beside.ends([task_id])
                outcomes, lives = await beside.outcomes(task_id), beside.lives
        assert task.state is State.FAILED
        assert outcomes == [OutcomeKind.TIMED_OUT]
        assert ended == [AttemptTimeout]
        assert lives == 1
