"""Batches: one call for several attempts, each with an outcome of its own."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from raytasks.handling.context import Context
from raytasks.handling.declaration import handler, handler_of
from raytasks.model.controls import Batch, Limit
from raytasks.model.errors import HandlerError, InvalidSubmission
from raytasks.model.retry import RateLimited, RetryAfter, RetryPolicy, Snooze
from raytasks.model.states import OutcomeKind, State
from tests.runner.concurrent_bench import PATIENCE, ConcurrentBench, until

ONCE = RetryPolicy(max_attempts=1)


class Item(BaseModel):
    number: int


def items(count: int) -> list[dict[str, int]]:
    return [{"number": number} for number in range(count)]


@pytest.mark.parametrize("kind", ["plain", "async", "class", "generator"])
async def test_each_form_of_handler_gets_lists(
    bench: Callable[..., ConcurrentBench], kind: str
) -> None:
    calls: list[int] = []

    def squares(payloads: list[Item], contexts: list[Context]) -> list[Any]:
        calls.append(len(payloads))
        assert [context.task_type for context in contexts] == [kind] * len(payloads)
        return [
            [item.number**2, context.task_id]
            for item, context in zip(payloads, contexts, strict=True)
        ]

    @handler("plain", batch=Batch(8, 0.5))
    def plain(payloads: list[Item], contexts: list[Context]) -> list[Any]:
        return squares(payloads, contexts)

    @handler("async", batch=Batch(8, 0.5))
    async def async_one(payloads: list[Item], contexts) -> list[Any]:  # type: ignore[no-untyped-def]
        await asyncio.sleep(0)
        return squares(payloads, contexts)

    @handler("class", batch=Batch(8, 0.5))
    class Loaded:
        def __call__(self, payloads: list[Item], them: "list[Context]") -> list[Any]:
            return squares(payloads, them)

    @handler("generator", batch=Batch(8, 0.5))
    def generator(payloads: list[Item], contexts: list[Context]) -> Any:
        yield from squares(payloads, contexts)

    async with bench(plain, async_one, Loaded, generator).running() as running:
        ids = await running.submit(kind, *items(20))
        for number, task in enumerate(await running.ends(ids)):
            assert task.result == f'[{number**2},"{ids[number]}"]'
        assert max(calls) == 8


async def test_results_and_errors_count_for_their_own_attempts(
    bench: Callable[..., ConcurrentBench],
) -> None:
    snoozed: set[int] = set()

    @handler("mixed", batch=Batch(10, 0.5), retry=ONCE, limits=[Limit("api", rate=1e6)])
    def mixed(payloads: list[Item]) -> list[Any]:
        def one(number: int) -> Any:
            match number:
                case 1:
                    return ValueError("its own fault")
                case 2 | 3 if number not in snoozed:
                    snoozed.add(number)
                    return Snooze(0) if number == 2 else RateLimited("api", 0)
                case 4:
                    return {1, object()}
                case _:
                    return number

        return [one(item.number) for item in payloads]

    async with bench(mixed).running() as running:
        ids = await running.submit("mixed", *items(6))
        states = [task.state for task in await running.ends(ids)]
        done, failed = State.COMPLETED, State.FAILED
        assert states == [done, failed, done, done, failed, done]
        again = [OutcomeKind.SNOOZED, OutcomeKind.SUCCEEDED]
        assert await running.outcomes(ids[2]) == await running.outcomes(ids[3]) == again


async def test_an_exception_for_all_splits_the_batch_until_the_poison_is_alone(
    bench: Callable[..., ConcurrentBench],
) -> None:
    calls: list[list[int]] = []

    @handler("poison", batch=Batch(8, 5), retry=ONCE)
    async def poison(payloads: list[Item]) -> list[int]:
        numbers = [item.number for item in payloads]
        calls.append(numbers)
        payloads.clear()  # whatever a call does to its list, the next one gets all
        if 5 in numbers:
            raise ValueError("one of them is bad")
        return numbers

    async with bench(poison).running() as running:
        ids = await running.submit("poison", *items(8))
        tasks = await running.ends(ids)
        assert [task.state for task in tasks].count(State.COMPLETED) == 7
        assert tasks[5].state is State.FAILED
        assert [await running.outcomes(task_id) for task_id in ids] == [
            [OutcomeKind.FAILED if number == 5 else OutcomeKind.SUCCEEDED] for number in range(8)
        ]
        assert [len(call) for call in calls if 5 in call] == [8, 4, 2, 1]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (Snooze(0), OutcomeKind.SNOOZED),
        (RateLimited("api", 0), OutcomeKind.SNOOZED),
        (RetryAfter(0), OutcomeKind.FAILED),
    ],
)
async def test_a_wait_that_is_raised_counts_for_all(
    bench: Callable[..., ConcurrentBench], error: Exception, outcome: OutcomeKind
) -> None:
    calls: list[int] = []

    @handler("waits", batch=Batch(4, 5), limits=[Limit("api", rate=1e6)])
    def waits(payloads: list[Item]) -> list[None]:
        calls.append(len(payloads))
        if len(calls) == 1:
            raise error
        return [None] * len(payloads)

    async with bench(waits).running() as running:
        ids = await running.submit("waits", *items(4))
        await running.ends(ids)
        for task_id in ids:
            assert await running.outcomes(task_id) == [outcome, OutcomeKind.SUCCEEDED]
        assert calls[0] == 4


@pytest.mark.parametrize(
    ("results", "told"),
    [([1], "one of 1 items"), ({"a": 1}, "type dict"), (None, "type NoneType")],
)
async def test_results_that_fit_no_batch_fail_all_of_it(
    bench: Callable[..., ConcurrentBench], results: Any, told: str
) -> None:
    @handler("misfit", batch=Batch(2, 5))
    def misfit(payloads: list[Item]) -> Any:
        return results

    async with bench(misfit).running() as running:
        for task in await running.ends(await running.submit("misfit", *items(2))):
            assert task.state is State.FAILED
            assert task.error is not None
            assert (
                f"for each of its 2 payloads, not {'one' if results == [1] else 'a'}" in task.error
            )
            assert told in task.error


async def test_a_cancelled_attempt_is_dropped_and_the_batch_goes_on(
    bench: Callable[..., ConcurrentBench],
) -> None:
    begun, gate = threading.Event(), threading.Event()

    @handler("goes_on", batch=Batch(3, 5))
    def goes_on(payloads: list[Item]) -> list[int]:
        begun.set()
        gate.wait(PATIENCE)
        return [item.number for item in payloads]

    async with bench(goes_on).running() as running:
        ids = await running.submit("goes_on", *items(3))
        assert await asyncio.to_thread(begun.wait, PATIENCE)
        await running.cancel(ids[1])
        [call] = running.work._calls.values()
        await until(lambda: call.attempts[1].stop.reason is not None)
        assert not call.attempts[0].context.cancelled
        gate.set()
        states = [task.state for task in await running.ends(ids)]
        assert states == [State.COMPLETED, State.CANCELLED, State.COMPLETED]


async def test_a_batch_stops_when_the_first_time_is_up_and_the_others_run_again(
    bench: Callable[..., ConcurrentBench],
) -> None:
    calls: list[int] = []

    @handler("late", batch=Batch(3, 5), retry=ONCE)
    async def late(payloads: list[Item]) -> list[int]:
        calls.append(len(payloads))
        if len(calls) == 1:
            await asyncio.Event().wait()
        return [item.number for item in payloads]

    async with bench(late).running() as running:
        requests: list[dict[str, Any]] = [
            {"task_type": "late", "payload": item} for item in items(3)
        ]
        requests[2]["timeout_seconds"] = 0.2
        *two, hurried = await running.submit_all(requests)
        tasks = await running.ends([*two, hurried])
        assert [task.state for task in tasks] == [State.COMPLETED] * 2 + [State.FAILED]
        assert await running.outcomes(hurried) == [OutcomeKind.TIMED_OUT]
        assert await running.outcomes(two[0]) == [OutcomeKind.SUCCEEDED]
        assert calls == [3, 2]


async def test_a_batch_waits_no_longer_than_its_seconds(
    bench: Callable[..., ConcurrentBench],
) -> None:
    sizes: list[int] = []

    @handler("partial", batch=Batch(100, 0.3))
    def partial(payloads: list[Item]) -> list[int]:
        sizes.append(len(payloads))
        return [item.number for item in payloads]

    local = bench(partial)
    local.queued = True
    async with local.running() as running:
        await running.ends(await running.submit("partial", {"number": 0}))
        began = time.monotonic()
        await running.ends(await running.submit("partial", *items(3)))
        assert 0.3 <= time.monotonic() - began < 5
        assert sizes[-1] == 3


async def test_batches_are_full_with_a_backlog(bench: Callable[..., ConcurrentBench]) -> None:
    sizes: list[int] = []

    @handler("model", batch=Batch(50))
    def model(payloads: list[Item]) -> list[int]:
        sizes.append(len(payloads))
        time.sleep(0.002 + 0.0001 * len(payloads))
        return [item.number for item in payloads]

    async with bench(model).running() as running:
        await running.ends(await running.submit("model", *items(2000)))
        assert 2000 / len(sizes) >= 0.9 * 50


def test_the_payload_is_checked_as_one_item_of_the_list(
    bench: Callable[..., ConcurrentBench],
) -> None:
    @handler("checked", batch=Batch(2))
    def checked(payloads: list[Item]) -> list[None]:
        return [None for _ in payloads]

    spec = handler_of(checked)
    assert spec.info().description["payload_schema"] == Item.model_json_schema()
    local = bench(checked)
    with pytest.raises(InvalidSubmission, match="number"):
        asyncio.run(local.submit("checked", {"number": "no"}))


def test_a_declaration_of_a_batch_that_cannot_work_is_refused() -> None:
    with pytest.raises(HandlerError, match=r"annotate it as list\[Model\]"):

        @handler("one", batch=Batch(2))
        def one(payload: Item) -> None: ...

    with pytest.raises(HandlerError, match="call it 'contexts'"):

        @handler("single_context", batch=Batch(2))
        def single_context(payloads: list[Item], context: Context) -> None: ...

    with pytest.raises(HandlerError, match=r"\(payloads\) or \(payloads, contexts\)"):

        @handler("nothing", batch=Batch(2))
        def nothing() -> None: ...
