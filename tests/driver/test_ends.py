"""Waiting for the results of tasks, on a real tracker."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from raytasks.artifacts.artifact_store import ArtifactStore
from raytasks.artifacts.large_values import LargeValues
from raytasks.driver import ends
from raytasks.driver.ends import MAX_ASKED, ResultWatch
from raytasks.model.states import OutcomeKind
from raytasks.model.tasks import StoreUnavailable, TaskFailed, TaskNotFound
from raytasks.protocol.messages import Feed, FeedPart
from raytasks.protocol.queries import Answer, Query, TaskEnds
from raytasks.tracker.core import Tracker
from tests.making import new_task, task_id
from tests.tracking import ScriptedRunner, let_run, wait_final


class Source:
    """The tracker as a driver calls it; notes how often, and can be away."""

    def __init__(self, tracker: Tracker, values: LargeValues) -> None:
        self._tracker = tracker
        self._values = values
        self.asked: list[int] = []
        self.polls = 0
        self.away = 0
        self.called = asyncio.Event()

    async def read(self, query: Query[Answer]) -> Answer:
        assert isinstance(query, TaskEnds)
        self.asked.append(len(query.task_ids))
        self.called.set()
        if self.away:
            self.away -= 1
            raise StoreUnavailable("the tracker is away")
        found: Any = await self._tracker.read(query)
        return cast("Answer", found)

    async def changes(self, epoch: int, after: int, seconds: float, part: FeedPart) -> Feed:
        self.polls += 1
        self.called.set()
        return await self._tracker.changes(epoch, after, seconds, part)

    async def large_values(self) -> LargeValues:
        return self._values


@pytest.fixture
def values(tmp_path: Path) -> LargeValues:
    return LargeValues(ArtifactStore(str(tmp_path)), 10)


@pytest.fixture
def source(tracker: Tracker, values: LargeValues) -> Source:
    return Source(tracker, values)


@pytest.fixture
async def watch(source: Source, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ResultWatch]:
    monkeypatch.setattr(ends, "RETRY_SECONDS", 0.01)
    watch = ResultWatch(source)
    yield watch
    watch.ends.close()


async def complete(tracker: Tracker, values: LargeValues, result: bytes) -> None:
    """Have a task end with this result."""
    await tracker.submit([new_task(1)])
    runner = ScriptedRunner(tracker)
    [claim] = await runner.claim()
    text, ref = values.externalize_result(claim, result)
    runner.end(claim, result=text, result_ref=ref)
    await wait_final(tracker, task_id(1))


@pytest.mark.parametrize("result", ["small", "x" * 500])
async def test_the_result_wherever_it_is(
    watch: ResultWatch, tracker: Tracker, values: LargeValues, result: str
) -> None:
    await complete(tracker, values, f'"{result}"'.encode())
    assert await watch.result(task_id(1)) == result


async def test_a_lost_result_is_told(
    watch: ResultWatch, tracker: Tracker, values: LargeValues
) -> None:
    await complete(tracker, values, b'"a large result"')
    assert values.artifacts is not None
    values.artifacts.remove(task_id(1))
    with pytest.raises(TaskFailed, match=f"the result of task {task_id(1)} is gone"):
        await watch.result(task_id(1))


async def test_it_waits_while_the_artifact_store_is_away(
    watch: ResultWatch, tracker: Tracker, values: LargeValues, monkeypatch: pytest.MonkeyPatch
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
        assert await watch.result(task_id(1)) == "a large result"
    assert len(tries) == 3


async def test_it_waits_while_the_tracker_is_away(
    watch: ResultWatch, tracker: Tracker, values: LargeValues, source: Source
) -> None:
    await complete(tracker, values, b"1")
    source.away = 3
    async with asyncio.timeout(20):
        assert await watch.result(task_id(1)) == 1


async def test_one_that_does_not_exist(watch: ResultWatch) -> None:
    with pytest.raises(TaskNotFound):
        await watch.result(task_id(7))


async def test_a_failure_has_the_remote_error(watch: ResultWatch, tracker: Tracker) -> None:
    await tracker.submit([new_task(1)])
    waiting = asyncio.ensure_future(watch.result(task_id(1)))
    runner = ScriptedRunner(tracker)
    [claim] = await runner.claim()
    error = '{"type":"KeyError","message":"x","retryable":false,"traceback":"line 7"}'
    runner.end(claim, OutcomeKind.FAILED, error=error)
    async with asyncio.timeout(20):
        with pytest.raises(TaskFailed, match=r"(?s)FAILED after attempt 1: KeyError: x.*line 7"):
            await waiting


async def test_many_waits_are_ids_and_no_calls(
    watch: ResultWatch, tracker: Tracker, source: Source
) -> None:
    """Ten thousand waits are one poll and some questions; those that end are asked about."""
    number = 3 * MAX_ASKED
    await tracker.submit([new_task(index) for index in range(number)])
    waiting = [asyncio.ensure_future(watch.result(task_id(index))) for index in range(number)]
    again = asyncio.ensure_future(watch.result(task_id(0)))
    async with asyncio.timeout(20):
        while not source.polls or sum(source.asked) < number:
            await source.called.wait()
            source.called.clear()
    assert len(watch.ends) == number
    runner = ScriptedRunner(tracker, capacity=1)
    [claim] = await runner.claim()
    asked = len(source.asked)
    runner.end(claim, result="5")
    async with asyncio.timeout(20):
        await asyncio.wait([*waiting, again], return_when=asyncio.FIRST_COMPLETED)
        assert {task.result() for task in waiting if task.done()} == {5}
    assert sum(source.asked[asked:]) <= 2 * number  # at worst all again, once
    assert max(source.asked) <= MAX_ASKED
    for task in (*waiting, again):
        task.cancel()
    await asyncio.gather(*waiting, again, return_exceptions=True)
    assert len(watch.ends) == 0


async def test_who_gives_up_leaves_the_others(watch: ResultWatch, tracker: Tracker) -> None:
    await tracker.submit([new_task(1)])
    first, second = (asyncio.ensure_future(watch.result(task_id(1))) for _ in range(2))
    await let_run(20)
    first.cancel()
    await let_run(20)
    assert len(watch.ends) == 1
    runner = ScriptedRunner(tracker)
    [claim] = await runner.claim()
    runner.end(claim, result='"ok"')
    async with asyncio.timeout(20):
        assert await second == "ok"
    assert len(watch.ends) == 0


async def test_a_gap_in_the_feed_has_all_asked_about_again(
    watch: ResultWatch, tracker: Tracker, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that ended while nobody listened is found by the question, not by the feed."""
    await tracker.submit([new_task(1)])
    gaps: asyncio.Queue[Feed] = asyncio.Queue()

    async def changes(*_: Any) -> Feed:
        return await gaps.get()

    monkeypatch.setattr(source, "changes", changes)
    waiting = asyncio.ensure_future(watch.result(task_id(1)))
    await let_run(20)
    runner = ScriptedRunner(tracker)
    [claim] = await runner.claim()
    runner.end(claim, result='"ok"')
    await wait_final(tracker, task_id(1))
    assert not waiting.done()
    gaps.put_nowait(Feed(7, 7, gap=True))
    async with asyncio.timeout(20):
        assert await waiting == "ok"
