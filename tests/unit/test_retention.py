"""Retention: old final tasks go, in batches, their files first."""

from pathlib import Path

import pytest
from making import NOW, ids, new_task, task_id
from tracking import FaultyStore, ScriptedRunner

from raytasks.artifacts import ArtifactStore
from raytasks.messages import Claim
from raytasks.models import StoreUnavailable
from raytasks.offload import ArtifactLost, LargeValues
from raytasks.testing import FakeClock
from raytasks.tracker import retention as module
from raytasks.tracker.core import Tracker
from raytasks.tracker.retention import Retention

DAY = 86_400.0


async def cancelled(tracker: Tracker, *numbers: int) -> None:
    """Submit tasks, and cancel them, so that they are final."""
    await tracker.submit([new_task(number) for number in numbers])
    for number in numbers:
        await tracker.cancel(task_id(number))


def retention(tracker: Tracker, clock: FakeClock, removed: list[str]) -> Retention:
    return Retention(tracker, removed.append, seconds=DAY, clock=clock)


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
    assert set(await tracker.tasks(ids([1, 2, 3, 4]))) == set(ids([3, 4]))
    assert tracker.backlog == 1


@pytest.mark.parametrize("url", ["{}/artifacts", "memory://retention{}"])
async def test_large_payloads_and_results_go_with_their_task(
    tracker: Tracker, clock: FakeClock, tmp_path: Path, url: str
) -> None:
    artifacts = ArtifactStore(url.format(tmp_path))
    values = LargeValues(artifacts, offload_bytes=10)
    kept = values.keep_payloads([new_task(1, payload='"a large payload"')])
    await tracker.submit(kept)
    await tracker.cancel(task_id(1))
    [task] = (await tracker.tasks(ids([1]))).values()
    values.keep_result(Claim(task_id(1), "short", 1, "", 0, 1, None, None), b'"a large result"')
    assert values.payload_of(task) == '"a large payload"'
    clock.advance(2 * DAY)
    assert len(artifacts._files.find(artifacts._place[1])) == 2
    assert await Retention(tracker, artifacts.remove, seconds=DAY, clock=clock).prune() == 1
    with pytest.raises(ArtifactLost):
        values.payload_of(task)
    assert artifacts._files.find(artifacts._place[1]) == []


async def test_the_batches_are_small(
    tracker: Tracker, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", 2)
    await cancelled(tracker, 1, 2, 3)
    clock.advance(2 * DAY)
    pruning = retention(tracker, clock, [])
    assert [await pruning.prune() for _ in range(3)] == [2, 1, 0]


async def test_a_row_stays_while_its_files_cannot_be_removed_and_holds_up_no_other(
    tracker: Tracker, clock: FakeClock
) -> None:
    def remove(name: str) -> None:
        if name == task_id(1):
            raise OSError("no such bucket")

    await cancelled(tracker, 1, 2)
    clock.advance(2 * DAY)
    pruning = Retention(tracker, remove, seconds=DAY, clock=clock)
    assert [await pruning.prune() for _ in range(2)] == [2, 0]
    assert set(await tracker.tasks(ids([1, 2]))) == {task_id(1)}


async def test_an_outage_is_told(tracker: Tracker, clock: FakeClock, store: FaultyStore) -> None:
    await cancelled(tracker, 1)
    clock.advance(2 * DAY)
    store.away = True
    with pytest.raises(StoreUnavailable):
        await tracker.prune(ids([1]), NOW + DAY)
    store.away = False
    assert await ScriptedRunner(tracker).exchange()
