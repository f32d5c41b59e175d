"""The submitter of the API: what gathers while a call is on its way."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from raytasks.api.submitter import MAX_TASKS, Submitter
from raytasks.model.tasks import Accepted, NewTask, StoreUnavailable
from tests.making import new_task


class Tracker:
    """Takes calls, and ends each one when the test says so."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[NewTask], asyncio.Future[Accepted]]] = []
        self.called = asyncio.Event()
        self.submitter = Submitter(self.send)

    async def send(self, tasks: Sequence[NewTask]) -> Accepted:
        ended: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()
        self.calls.append((list(tasks), ended))
        self.called.set()
        return await ended

    @property
    def sizes(self) -> list[int]:
        return [len(tasks) for tasks, _ in self.calls]

    def submit(self, *numbers: int) -> "asyncio.Task[Accepted]":
        """Submit these tasks in one request."""
        tasks = [new_task(number) for number in numbers]
        return asyncio.ensure_future(self.submitter.submit(tasks))

    async def end(self, call: int, error: Exception | None = None) -> None:
        """Let a call succeed, or fail."""
        ended = self.calls[call][1]
        ended.set_exception(error) if error else ended.set_result(Accepted())
        await settle()


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
async def tracker() -> AsyncIterator[Tracker]:
    """A tracker with a submitter before it; at the end nothing is left on its way."""
    tracker = Tracker()
    yield tracker
    for _, ended in tracker.calls:
        if not ended.done():
            ended.set_result(Accepted())
    await settle()


async def test_a_task_alone_is_sent_at_once(tracker: Tracker) -> None:
    waiting = tracker.submit(1)
    await settle()
    assert tracker.sizes == [1]
    assert not waiting.done()
    await tracker.end(0)
    await waiting


async def test_tasks_gather_while_a_call_is_on_its_way(tracker: Tracker) -> None:
    waiting = []
    for number in range(10):
        waiting.append(tracker.submit(number))
        await settle()
    assert tracker.sizes == [1]
    await tracker.end(0)
    assert tracker.sizes == [1, 9]
    assert [task.task_id for task in tracker.calls[1][0]] == [
        new_task(number).task_id for number in range(1, 10)
    ]
    assert [item.done() for item in waiting] == [True] + [False] * 9
    await tracker.end(1)
    await asyncio.gather(*waiting)
    assert tracker.sizes == [1, 9]


async def test_a_call_holds_no_more_than_it_may(tracker: Tracker) -> None:
    blocker = tracker.submit(0)
    await settle()
    waiting = [tracker.submit(number) for number in range(MAX_TASKS + 5)]
    await settle()
    await tracker.end(0)
    await tracker.end(1)
    await tracker.end(2)
    assert tracker.sizes == [1, MAX_TASKS, 5]
    await asyncio.gather(blocker, *waiting)


async def test_the_tasks_of_one_request_stay_together(tracker: Tracker) -> None:
    blocker = tracker.submit(0)
    await settle()
    sizes = (MAX_TASKS - 1, 2, MAX_TASKS + 7, 1)
    waiting = [tracker.submit(*range(size)) for size in sizes]
    await settle()
    for call in range(1 + len(sizes)):
        await tracker.end(call)
    await asyncio.gather(blocker, *waiting)
    assert tracker.sizes == [1, *sizes]


async def test_an_error_goes_to_all_of_its_batch_and_to_nobody_else(tracker: Tracker) -> None:
    first = tracker.submit(1)
    await settle()
    batch = [tracker.submit(3), tracker.submit(4)]
    await settle()
    await tracker.end(0)
    later = tracker.submit(5)
    await tracker.end(1, StoreUnavailable("away"))
    for waiting in batch:
        with pytest.raises(StoreUnavailable, match="away"):
            await waiting
    await tracker.end(2)
    await asyncio.gather(first, later)


async def test_it_works_on_after_an_error(tracker: Tracker) -> None:
    failing = tracker.submit(1)
    await settle()
    await tracker.end(0, RuntimeError("once"))
    with pytest.raises(RuntimeError, match="once"):
        await failing
    waiting = tracker.submit(2)
    await settle()
    await tracker.end(1)
    await waiting


async def test_a_client_that_leaves_breaks_neither_the_batch_nor_its_own_task(
    tracker: Tracker,
) -> None:
    leaving = tracker.submit(1)
    await settle()
    gathered = [tracker.submit(3), tracker.submit(4)]
    await settle()
    for client in (leaving, gathered[0]):
        client.cancel()
        with pytest.raises(asyncio.CancelledError):
            await client
    assert not tracker.calls[0][1].done()
    await tracker.end(0)
    assert tracker.sizes == [1, 2]
    await tracker.end(1)
    await gathered[1]


async def test_a_client_that_has_left_does_not_see_the_error(tracker: Tracker) -> None:
    leaving = tracker.submit(1)
    await settle()
    staying = tracker.submit(2)
    await settle()
    leaving.cancel()
    await tracker.end(0, RuntimeError("nobody is there"))
    await tracker.end(1)
    await staying


async def test_a_call_that_is_cancelled_cancels_those_who_wait(tracker: Tracker) -> None:
    waiting = tracker.submit(1)
    await settle()
    tracker.calls[0][1].cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    again = tracker.submit(2)
    await settle()
    await tracker.end(1)
    await again
