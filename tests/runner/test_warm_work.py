"""The runner's core, with a real tracker core and a real worker thread: no Ray."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from raytasks.artifacts.artifact_store import ArtifactStore
from raytasks.handling.attempt_waits import waiting_for
from raytasks.handling.context import Context
from raytasks.handling.declaration import handler, handler_of
from raytasks.handling.registry import Registry
from raytasks.handling.submission import check_submission
from raytasks.model.retry import RetryPolicy
from raytasks.model.states import OutcomeKind, State
from raytasks.model.tasks import Task
from raytasks.protocol.commands import CancelTask
from raytasks.protocol.messages import Exchange, Orders
from raytasks.protocol.queries import Health, TaskDetail
from raytasks.runner import warm_work, worker
from raytasks.runner.exchange_loop import ExchangeLoop
from raytasks.runner.handler_loop import HandlerLoop
from raytasks.runner.identity import Identity
from raytasks.runner.warm_work import WarmWork
from raytasks.runner.workplace import Workplace
from raytasks.store.store import Store
from raytasks.tracker.core import Tracker
from tests.tracking import wait_final

PATIENCE = 20
LEASE_SECONDS = 600  # whatever only a heartbeat would bring about fails by its time limit


class Bench:
    """A tracker and one warm runner, over handlers that a test brings."""

    def __init__(self, url: str, folder: Path, *targets: Callable[..., Any]) -> None:
        self.registry = Registry(handler_of(target) for target in targets)
        self.tracker = Tracker(Store(url), lease_seconds=LEASE_SECONDS)
        self.workplace = Workplace(artifacts=ArtifactStore(str(folder / "artifacts")))
        self.lives = 0
        self.lose_answers = 0
        self.told: list[OutcomeKind] = []

    @asynccontextmanager
    async def running(self, *, max_tasks: int = 10_000) -> AsyncIterator["Bench"]:
        await self.tracker.start()
        tracker = asyncio.ensure_future(self.tracker.run())
        runner = asyncio.ensure_future(self._lives(max_tasks))
        try:
            async with asyncio.timeout(PATIENCE):
                yield self
        finally:
            for task in (runner, tracker):
                task.cancel()
            await asyncio.gather(runner, tracker, return_exceptions=True)
            await self.tracker.close()

    async def _lives(self, max_tasks: int) -> None:
        """Run the runner again whenever it has left, as Ray does with its process."""
        while True:
            self.lives += 1
            self.workplace.handler_loop = HandlerLoop()  # threads end with their process
            work = WarmWork(
                self.registry, self.workplace, max_tasks=max_tasks, max_memory_bytes=2**50
            )
            identity = Identity(f"life-{self.lives}", "runner", "shared", "g")
            exchange = ExchangeLoop(identity, work, self._call, waits_for=work.waits_for)
            work.begin(exchange)
            await exchange.run()

    async def _call(self, exchange: Exchange) -> Orders:
        self.told += [outcome.kind for outcome in exchange.outcomes]
        orders = await self.tracker.exchange(exchange)
        if orders.claims and self.lose_answers:
            self.lose_answers -= 1
            raise ConnectionError("the answer is lost")
        return orders

    async def submit(self, task_type: str, payload: Any = None, **options: Any) -> str:
        request = {"task_type": task_type, "payload": payload or {}, **options}
        task = check_submission(request, self.registry)
        await self.tracker.submit([task])
        return task.task_id

    async def run(self, task_type: str, payload: Any = None, **options: Any) -> Task:
        return await self.end(await self.submit(task_type, payload, **options))

    async def end(self, task_id: str) -> Task:
        task = await wait_final(self.tracker, task_id)
        assert task is not None
        return task

    async def outcomes(self, task_id: str) -> list[OutcomeKind]:
        found = await self.tracker.read(TaskDetail(task_id))
        assert found is not None
        return [OutcomeKind(attempt.outcome) for attempt in found[1]]

    async def until(self, task_id: str, outcomes: list[str]) -> None:
        """Wait until a task has this history."""
        after = -1
        while await self.outcomes(task_id) != outcomes:
            epoch = self.tracker.ticker.epoch
            after = (await self.tracker.changes(epoch, after, PATIENCE)).last


@pytest.fixture
def bench(sqlite_url: str, tmp_path: Path) -> Callable[..., Bench]:
    def make(*targets: Callable[..., Any]) -> Bench:
        return Bench(sqlite_url, tmp_path, *targets)

    return make


async def test_an_attempt_that_outlives_the_loop_does_not_end_the_process(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, gate, ended = threading.Event(), threading.Event(), threading.Event()
    monkeypatch.setattr(worker, "LAST_SECONDS", 0.0)
    monkeypatch.setattr(worker, "end_process", lambda *_: ended.set())

    @handler("slow")
    def slow(payload: dict) -> None:
        begun.set()
        gate.wait(PATIENCE)

    local = bench(slow)

    async def session() -> None:
        async with local.running():
            await local.submit("slow")
            assert await asyncio.to_thread(begun.wait, PATIENCE)

    before = set(threading.enumerate())
    await asyncio.to_thread(asyncio.run, session())  # a loop that is closed when it is over
    [attempts] = [one for one in set(threading.enumerate()) - before if one.name == "attempts"]
    gate.set()
    assert not await asyncio.to_thread(ended.wait, 0.5)
    assert attempts.is_alive()


async def test_result_of_each_form_of_handler(bench: Callable[..., Bench]) -> None:
    @handler("plain")
    def plain(payload: dict) -> dict:
        return {"got": payload}

    @handler("coroutine")
    async def coroutine(payload: dict, context: Context) -> str:
        await asyncio.sleep(0)
        return context.task_type

    @handler("instance")
    class Instance:
        def __init__(self) -> None:
            self.calls = 0

        def __call__(self, payload: dict) -> int:
            self.calls += 1
            return self.calls

    async with bench(plain, coroutine, Instance).running() as running:
        assert (await running.run("plain", {"a": 2**70})).result == f'{{"got":{{"a":{2**70}}}}}'
        assert (await running.run("coroutine")).result == '"coroutine"'
        assert (await running.run("instance")).result == "1"
        assert (await running.run("instance")).result == "2"


@pytest.mark.parametrize(
    ("error", "described"),
    [
        (ValueError("b\udc80d \x00"), '"message":"b?d \ufffd"'),
        (SystemExit(3), '"type":"SystemExit"'),
        (KeyboardInterrupt(), '"type":"KeyboardInterrupt"'),
        (ExceptionGroup("many", [KeyError("x")]), '"type":"ExceptionGroup"'),
    ],
)
async def test_whatever_a_handler_raises_is_a_failed_attempt(
    bench: Callable[..., Bench], error: BaseException, described: str
) -> None:
    @handler("bad", retry=RetryPolicy(max_attempts=1))
    def bad(payload: dict) -> None:
        raise error

    async with bench(bad).running() as running:
        task = await running.run("bad")
        assert task.state is State.FAILED
        assert task.error is not None
        assert described in task.error


async def test_error_whose_text_cannot_be_had(bench: Callable[..., Bench]) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    @handler("mute", retry=RetryPolicy(max_attempts=1))
    def mute(payload: dict) -> None:
        raise Mute

    async with bench(mute).running() as running:
        task = await running.run("mute")
        assert task.error is not None
        assert "Mute" in task.error


async def test_class_that_cannot_be_loaded_fails_its_attempts(bench: Callable[..., Bench]) -> None:
    loads = []

    @handler("broken", retry=RetryPolicy(max_attempts=2, initial_delay_seconds=0))
    class Broken:
        def __init__(self) -> None:
            loads.append(1)
            if len(loads) < 3:
                raise OSError("the model is not there yet")

        def __call__(self, payload: dict) -> str:
            return "loaded"

    async with bench(Broken).running() as running:
        task = await running.run("broken")
        assert task.result == '"loaded"'
        assert await running.outcomes(task.task_id) == ["failed", "succeeded"]


async def test_batch_whose_answer_was_lost_is_sent_again(bench: Callable[..., Bench]) -> None:
    calls = []

    @handler("count")
    def count(payload: dict) -> None:
        calls.append(payload)

    async with bench(count).running() as running:
        running.lose_answers = 1
        task = await running.run("count")
        assert task.state is State.COMPLETED
        assert len(calls) == 1


async def test_runner_is_replaced_after_its_number_of_tasks(bench: Callable[..., Bench]) -> None:
    @handler("short")
    def short(payload: dict) -> None:
        return None

    async with bench(short).running(max_tasks=10) as running:
        ids = [await running.submit("short") for _ in range(50)]
        for task_id in ids:
            assert (await running.end(task_id)).state is State.COMPLETED
            assert (await running.outcomes(task_id))[-1] == "succeeded"
        assert running.lives >= 2


async def test_what_is_queued_behind_a_long_attempt_is_given_back_once(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm_work, "STUCK_SECONDS", 0.2)
    gate, began = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    @handler("mixed")
    def mixed(payload: dict) -> None:
        if payload.get("long"):
            loop.call_soon_threadsafe(began.set)
            gate.wait(PATIENCE)

    async with bench(mixed).running() as running:
        for _ in range(30):  # the average running time is short now
            await running.run("mixed")
        long = await running.submit("mixed", {"long": True})
        behind = await running.submit("mixed")
        await began.wait()
        await running.until(behind, ["released"])
        for _ in range(5):  # exchanges go on, and the task stays where it is
            await running.tracker.execute(
                CancelTask(await running.submit("mixed", delay_seconds=60))
            )
        gate.set()
        assert (await running.end(long)).state is State.COMPLETED
        assert (await running.end(behind)).attempt == 2


async def test_progress_and_checkpoint_reach_the_store(bench: Callable[..., Bench]) -> None:
    @handler("steps", retry=RetryPolicy(initial_delay_seconds=0))
    def steps(payload: dict, context: Context) -> Any:
        context.progress(0.25, "first")
        context.progress(0.5)
        seen = context.last_checkpoint
        context.checkpoint({"done": 3})
        if context.failures == 0:
            raise RuntimeError("now")
        return seen

    async with bench(steps).running() as running:
        task = await running.run("steps")
        assert task.result == '{"done":3}'
        assert (task.progress_fraction, task.progress_message) == (0.5, "first")


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_attempt_that_does_not_ask_is_interrupted(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(warm_work, "ASK_SECONDS", 0.1)
    began = asyncio.Event()
    loop = asyncio.get_running_loop()
    cleaned = []

    @handler("sync")
    def deaf(payload: dict) -> None:
        loop.call_soon_threadsafe(began.set)
        try:
            while True:
                time.sleep(0.01)
        finally:
            cleaned.append(1)

    @handler("async")
    async def deaf_async(payload: dict) -> None:
        loop.call_soon_threadsafe(began.set)
        try:
            await asyncio.sleep(3600)
        finally:
            cleaned.append(1)

    async with bench(deaf, deaf_async).running() as running:
        task_id = await running.submit(kind)
        await began.wait()
        await running.tracker.execute(CancelTask(task_id))
        assert (await running.end(task_id)).state is State.CANCELLED
        assert cleaned == [1]
        assert running.lives == 1


async def test_timeout_is_a_failure_that_the_policy_judges(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm_work, "ASK_SECONDS", 0.1)

    @handler("slow", timeout=0.1, retry=RetryPolicy(max_attempts=2, initial_delay_seconds=0))
    def slow(payload: dict, context: Context) -> str:
        while context.failures == 0:
            context.raise_if_cancelled()
            time.sleep(0.01)
        return "in time"

    async with bench(slow).running() as running:
        task = await running.run("slow")
        assert task.result == '"in time"'
        found = await running.tracker.read(TaskDetail(task.task_id))
        assert found is not None
        assert "AttemptTimeout" in str(found[1][0].error)


@pytest.mark.untraced  # Python 3.11 hangs while an interrupt waits for a thread that is in C
async def test_runner_whose_attempt_cannot_be_stopped_leaves(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm_work, "ASK_SECONDS", 0.1)
    monkeypatch.setattr(warm_work, "INTERRUPT_SECONDS", 0.1)
    began, gate = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    @handler("stuck")
    def stuck(payload: dict) -> None:
        loop.call_soon_threadsafe(began.set)
        gate.wait(PATIENCE)  # in C, where no exception reaches it

    @handler("easy")
    def easy(payload: dict) -> None:
        return None

    async with bench(stuck, easy).running() as running:
        task_id = await running.submit("stuck")
        await began.wait()
        await running.tracker.execute(CancelTask(task_id))
        assert (await running.end(task_id)).state is State.CANCELLED
        assert running.lives == 2
        assert OutcomeKind.CANCELLED not in running.told  # it counts when the process has ended
        assert (await running.run("easy")).state is State.COMPLETED
        gate.set()


async def test_abandoned_attempt_is_stopped_too(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm_work, "ASK_SECONDS", 0.1)
    began, ended = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    @handler("deaf")
    def deaf(payload: dict, context: Context) -> None:
        if context.attempt > 1:
            return
        loop.call_soon_threadsafe(began.set)
        try:
            end = time.monotonic() + PATIENCE
            while time.monotonic() < end:
                time.sleep(0.01)
        finally:
            loop.call_soon_threadsafe(ended.set)

    async with bench(deaf).running() as running:
        task_id = await running.submit("deaf")
        await began.wait()
        # As after a lost lease: the tracker forgets the runner, which then hears that it is stale.
        running.tracker.ticker.losses.mark_lost("life-1", "its lease ended")
        await ended.wait()
        assert (await running.end(task_id)).state is State.COMPLETED
        assert (await running.outcomes(task_id))[0] == "lost"


async def test_the_tracker_hears_that_an_attempt_waits_for_a_task(bench: Any) -> None:
    """And only while it does; the next attempt of the runner does not wait."""
    end = threading.Event()

    @handler("parent")
    def parent(payload: dict) -> None:
        with waiting_for("a child"):
            end.wait(PATIENCE)

    @handler("other")
    def other(payload: dict) -> None:
        """Wait for nothing."""

    async with bench(parent, other).running() as service:
        waiting = await service.submit("parent")
        [runner] = service.tracker.fleet
        async with asyncio.timeout(PATIENCE):
            while runner.waits_for is None:  # noqa: ASYNC110 - nothing tells of an exchange
                await asyncio.sleep(0.01)
        [found] = (await service.tracker.read(Health()))["runners"]["list"]
        assert found["waits_for"] == "a child"
        end.set()
        assert (await service.end(waiting)).state is State.COMPLETED
        assert (await service.run("other")).state is State.COMPLETED
        assert runner.waits_for is None
