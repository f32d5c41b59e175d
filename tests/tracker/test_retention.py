"""Retention: old final tasks go, in batches, and then their files."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from raytasks.artifacts.artifact_store import ArtifactStore
from raytasks.artifacts.large_values import ArtifactLost, LargeValues
from raytasks.model.handler_info import REMOTE_POOL, SHARED_POOL
from raytasks.model.states import OutcomeKind
from raytasks.model.tasks import NewTask, StoreUnavailable, TaskNotFound
from raytasks.protocol.commands import CancelTask, DeleteTask, RetryTask
from raytasks.protocol.messages import Claim
from raytasks.protocol.queries import AuditList, TasksById
from raytasks.store import files
from raytasks.store.transaction import Superseded
from raytasks.testing import FakeClock
from raytasks.tracker import retention as module
from raytasks.tracker.core import Tracker
from raytasks.tracker.pruning_pace import MAX_REST_SECONDS
from raytasks.tracker.retention import Retention
from tests.making import NOW, ids, new_task, outcome, task_id
from tests.tracking import (
    PATIENCE,
    FaultyStore,
    ScriptedRunner,
    let_run,
    tracker_on,
    wait_final,
)

DAY = 86_400.0


async def cancelled(tracker: Tracker, *numbers: int) -> None:
    """Submit tasks, and cancel them, so that they are final."""
    await tracker.submit([with_file(number) for number in numbers])
    for number in numbers:
        await tracker.execute(CancelTask(task_id(number)))


def retention(tracker: Tracker, clock: FakeClock, removed: list[str]) -> Retention:
    return Retention(tracker, removed.append, seconds=DAY, clock=clock)


def with_file(number: int) -> NewTask:
    """Return a submission whose payload is in a file."""
    return new_task(number, payload="null", payload_ref="{}")


async def test_what_ended_long_ago_goes_with_its_files(tracker: Tracker, clock: FakeClock) -> None:
    removed: list[str] = []
    await cancelled(tracker, 1, 2)
    await tracker.submit([new_task(3)])
    clock.advance(DAY / 2)
    await cancelled(tracker, 4)
    clock.advance(DAY / 2)
    assert await retention(tracker, clock, removed).prune() == 0
    clock.advance(1)
    assert await retention(tracker, clock, removed).prune() == 2
    assert removed == ids([1, 2])
    assert set(await tracker.read(TasksById(ids([1, 2, 3, 4])))) == set(ids([3, 4]))
    assert tracker.backlog == 1


async def test_nothing_is_looked_for_where_a_task_has_no_files(
    tracker: Tracker, clock: FakeClock
) -> None:
    """To look for them costs a call to the object store for each task."""
    removed: list[str] = []
    await tracker.submit([new_task(number) for number in (1, 2)])
    for number in (1, 2):
        await tracker.execute(CancelTask(task_id(number)))
    clock.advance(2 * DAY)
    assert await retention(tracker, clock, removed).prune() == 2
    assert removed == []
    assert await tracker.read(TasksById(ids([1, 2]))) == {}


class TestFilesOfEarlierAttempts:
    """The first attempt of a task saves a file; the last one saves none, and knows of none."""

    async def left(self, tracker: Tracker, clock: FakeClock, place: Path) -> list[str]:
        """Let the second attempt succeed, delete the task, and return the names of its files."""
        other = ScriptedRunner(tracker, "other")
        [claim] = await other.claim()
        other.end(claim)
        await wait_final(tracker, claim.task_id, PATIENCE)
        await other.hang_up()
        await tracker.execute(DeleteTask(claim.task_id))
        artifacts = ArtifactStore(str(place))
        await Retention(tracker, artifacts.remove, seconds=None, clock=clock).remove_due()
        return [name for name, _ in artifacts.list(claim.task_id)]

    async def begun(self, tracker: Tracker, place: Path, pool: str = SHARED_POOL) -> ScriptedRunner:
        runner = ScriptedRunner(tracker, "first", pool=pool)
        await tracker.submit([new_task(1)])
        [claim] = await runner.claim()
        ArtifactStore(str(place)).save(claim.task_id, "part.csv", b"1;2")
        return runner

    @pytest.mark.parametrize("pool", [SHARED_POOL, REMOTE_POOL])
    async def test_it_was_given_back(
        self, tracker: Tracker, clock: FakeClock, tmp_path: Path, pool: str
    ) -> None:
        """So do a drain, `stop`, and `deploy`. The report of its beginning may be on its way."""
        runner = await self.begun(tracker, tmp_path, pool)
        assert tracker.release_runner("first") == 1
        tracker.mark_lost("first", "stopped")
        assert await self.left(tracker, clock, tmp_path) == []
        await runner.hang_up()

    async def test_its_remote_runner_died_before_it_told_of_the_beginning(
        self, tracker: Tracker, clock: FakeClock, tmp_path: Path
    ) -> None:
        runner = await self.begun(tracker, tmp_path, REMOTE_POOL)
        tracker.mark_lost("first", "it died")
        assert await self.left(tracker, clock, tmp_path) == []
        await runner.hang_up()

    async def test_its_runner_said_how_it_ends_with_the_process(
        self, tracker: Tracker, clock: FakeClock, tmp_path: Path
    ) -> None:
        runner = await self.begun(tracker, tmp_path)
        running = tracker.fleet.running[task_id(1)]
        runner.send(last_outcomes=(outcome(running, OutcomeKind.RELEASED),))
        await let_run()
        tracker.mark_lost("first", "it ended itself")
        assert await self.left(tracker, clock, tmp_path) == []
        await runner.hang_up()


async def test_rows_go_first_so_that_a_retry_keeps_all_or_finds_nothing(
    tracker: Tracker, clock: FakeClock
) -> None:
    """A person retries the task while the files of its batch are removed one by one."""
    await cancelled(tracker, 1, 2)
    clock.advance(2 * DAY)
    loop = asyncio.get_running_loop()
    answers: list[BaseException | None] = []

    def remove(_: str) -> None:
        retry = asyncio.run_coroutine_threadsafe(tracker.execute(RetryTask(task_id(2))), loop)
        answers.append(retry.exception(PATIENCE))

    assert await Retention(tracker, remove, seconds=DAY, clock=clock).prune() == 2
    assert [type(answer) for answer in answers] == [TaskNotFound, TaskNotFound]


async def test_one_that_is_retried_between_the_look_and_the_rows_keeps_its_files(
    tracker: Tracker, clock: FakeClock
) -> None:
    removed: list[str] = []
    await cancelled(tracker, 1, 2)
    clock.advance(2 * DAY)
    before = clock() - DAY
    outdated = await tracker.expired(before, 10)
    await tracker.execute(RetryTask(task_id(1)))
    await tracker.prune(outdated, before)
    await retention(tracker, clock, removed).remove_due()
    assert removed == ids([2])
    assert set(await tracker.read(TasksById(ids([1, 2])))) == {task_id(1)}


async def test_files_that_were_given_up_go_also_after_a_restart(
    sqlite_url: str, clock: FakeClock
) -> None:
    removed: list[str] = []
    async with tracker_on(FaultyStore(sqlite_url), clock=clock) as tracker:
        await cancelled(tracker, 1)
        clock.advance(2 * DAY)
        await tracker.prune(ids([1]), clock() - DAY)
    async with tracker_on(FaultyStore(sqlite_url), clock=clock) as tracker:
        assert await retention(tracker, clock, removed).remove_due() == 1
        assert removed == ids([1])
        assert await retention(tracker, clock, removed).remove_due() == 0


@pytest.mark.parametrize("url", ["{}/artifacts", "memory://retention{}"])
async def test_large_payloads_and_results_go_with_their_task(
    tracker: Tracker, clock: FakeClock, tmp_path: Path, url: str
) -> None:
    artifacts = ArtifactStore(url.format(tmp_path))
    values = LargeValues(artifacts, offload_bytes=10)
    kept = values.externalize_payloads([new_task(1, payload='"a large payload"')])
    await tracker.submit(kept)
    await tracker.execute(CancelTask(task_id(1)))
    [task] = (await tracker.read(TasksById(ids([1])))).values()
    values.externalize_result(
        Claim(task_id(1), "short", 1, "", 0, 1, None, None), b'"a large result"'
    )
    assert values.load_payload(task) == '"a large payload"'
    clock.advance(2 * DAY)
    assert len(artifacts._files.find(artifacts._place[1])) == 2
    assert await Retention(tracker, artifacts.remove, seconds=DAY, clock=clock).prune() == 1
    with pytest.raises(ArtifactLost):
        values.load_payload(task)
    assert artifacts._files.find(artifacts._place[1]) == []


async def test_the_batches_are_small(
    tracker: Tracker, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", 2)
    await cancelled(tracker, 1, 2, 3)
    clock.advance(2 * DAY)
    pruning = retention(tracker, clock, [])
    assert [await pruning.prune() for _ in range(3)] == [2, 1, 0]


async def test_files_that_cannot_be_removed_wait_and_hold_up_no_others(
    tracker: Tracker, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", 2)
    broken, removed = True, []

    def remove(name: str) -> None:
        if broken and name in ids([1, 2]):
            raise OSError("no such bucket")
        removed.append(name)

    await cancelled(tracker, 1, 2, 3)
    clock.advance(2 * DAY)
    pruning = Retention(tracker, remove, seconds=DAY, clock=clock)
    assert [await pruning.prune() for _ in range(3)] == [2, 1, 0]
    assert await tracker.read(TasksById(ids([1, 2, 3]))) == {}
    assert removed == ids([3])
    assert await pruning.remove_due() == 0  # not at once again
    broken = False
    clock.advance(module.RETRY_SECONDS)
    assert await pruning.remove_due() == 2
    assert sorted(removed) == ids([1, 2, 3])
    assert await pruning.remove_due() == 0


async def test_without_retention_files_that_were_replaced_go_all_the_same(
    tracker: Tracker, clock: FakeClock
) -> None:
    removed: list[tuple[str, str]] = []
    await cancelled(tracker, 1)
    clock.advance(2 * DAY)
    with tracker.ticker.store.transaction(now=clock()) as transaction:
        files.mark(transaction.connection, [(task_id(1), ".checkpoint.1.json")], clock())
    keeping = Retention(
        tracker,
        lambda _: None,
        seconds=None,
        clock=clock,
        remove_file=lambda *key: removed.append(key),
    )
    assert await keeping.prune() == 0
    assert await keeping.remove_due() == 1
    assert removed == [(task_id(1), ".checkpoint.1.json")]
    assert len(await tracker.read(TasksById(ids([1])))) == 1


async def test_an_outage_is_told(tracker: Tracker, clock: FakeClock, store: FaultyStore) -> None:
    await cancelled(tracker, 1)
    clock.advance(2 * DAY)
    store.away = True
    with pytest.raises(StoreUnavailable):
        await tracker.prune(ids([1]), NOW + DAY)
    store.away = False
    assert await ScriptedRunner(tracker).exchange()


async def test_it_goes_on_after_trouble_until_another_tracker_has_taken_over(
    tracker: Tracker, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a step it goes on soon; else it looks again a minute later."""
    found: Iterator[int | Exception] = iter(
        [module.BATCH, 0, StoreUnavailable("away"), RuntimeError("odd"), Superseded()]
    )
    pauses: list[float] = []

    async def prune(_: Retention) -> int:
        one = next(found)
        if isinstance(one, Exception):
            raise one
        return one

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        assert len(pauses) < 10

    monkeypatch.setattr(Retention, "prune", prune)
    monkeypatch.setattr(module, "asyncio", SimpleNamespace(sleep=sleep))
    await retention(tracker, clock, []).run()
    assert not [*found]
    assert pauses == [0.0, *[MAX_REST_SECONDS] * 3]


async def test_the_audit_keeps_90_days(
    tracker: Tracker, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", 2)
    await cancelled(tracker, 1, 2, 3)
    clock.advance(90 * DAY)
    await cancelled(tracker, 4)
    keeper = retention(tracker, clock, [])
    assert await keeper.prune_audit() == 0
    clock.advance(1)
    assert [await keeper.prune_audit() for _ in range(3)] == [2, 1, 0]
    [left] = (await tracker.read(AuditList())).entries
    assert left.target == task_id(4)
