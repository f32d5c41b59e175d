"""What `ray.get` of a task's reference gives: the actor's part, on a real tracker."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from making import new_task, task_id
from tracking import ScriptedRunner, wait_final

from raytasks.artifacts import ArtifactStore
from raytasks.models import TaskFailed
from raytasks.offload import LargeValues
from raytasks.tracker import results
from raytasks.tracker.core import Tracker
from raytasks.tracker.results import ResultsActor


@pytest.fixture
def values(tmp_path: Path) -> LargeValues:
    return LargeValues(ArtifactStore(str(tmp_path)), 10)


@pytest.fixture
def actor(tracker: Tracker, values: LargeValues, monkeypatch: pytest.MonkeyPatch) -> ResultsActor:
    class Named:
        def __getattr__(self, name: str) -> Any:
            return getattr(tracker, name)

        async def large_values(self) -> LargeValues:
            return values

    monkeypatch.setattr(results, "_NamedTracker", Named)
    monkeypatch.setattr(results, "_RETRY_SECONDS", 0.01)
    return ResultsActor()


async def complete(tracker: Tracker, values: LargeValues, result: bytes) -> None:
    """Have a task end with this result."""
    await tracker.submit([new_task(1)])
    runner = ScriptedRunner(tracker)
    [claim] = await runner.claim()
    text, ref = values.keep_result(claim, result)
    runner.end(claim, result=text, result_ref=ref)
    await wait_final(tracker, task_id(1))


@pytest.mark.parametrize("result", ["small", "x" * 500])
async def test_the_result_wherever_it_is(
    actor: ResultsActor, tracker: Tracker, values: LargeValues, result: str
) -> None:
    await complete(tracker, values, f'"{result}"'.encode())
    assert await actor.result(task_id(1)) == result


async def test_a_lost_result_is_told(
    actor: ResultsActor, tracker: Tracker, values: LargeValues
) -> None:
    await complete(tracker, values, b'"a large result"')
    assert values.artifacts is not None
    values.artifacts.remove(task_id(1))
    with pytest.raises(TaskFailed, match=f"the result of task {task_id(1)} is gone"):
        await actor.result(task_id(1))


async def test_it_waits_while_the_artifact_store_is_away(
    actor: ResultsActor, tracker: Tracker, values: LargeValues, monkeypatch: pytest.MonkeyPatch
) -> None:
    await complete(tracker, values, b'"a large result"')
    tries: list[str] = []
    read = ArtifactStore.read_own

    def away_twice(store: ArtifactStore, name: str, file: str) -> bytes:
        tries.append(name)
        if len(tries) < 3:
            raise ConnectionError("no route")
        return read(store, name, file)

    monkeypatch.setattr(ArtifactStore, "read_own", away_twice)
    async with asyncio.timeout(20):
        assert await actor.result(task_id(1)) == "a large result"
    assert len(tries) == 3
