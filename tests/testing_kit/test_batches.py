"""Concurrent handlers and handlers of batches in the test kit."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from raytasks import Batch, Context, RetryPolicy, handler
from raytasks.testing import FakeClock, ProcessDied, Queue, run_handler


class Part(BaseModel):
    number: int
    does: str = ""


calls: list[list[int]] = []
clock = FakeClock()


@handler("parts", batch=Batch(3), retry=RetryPolicy(max_attempts=1), timeout=10)
def parts(payloads: list[Part], contexts: list[Context]) -> list[Any]:
    """Do what each payload says."""
    calls.append([part.number for part in payloads])
    results: list[Any] = []
    for part, context in zip(payloads, contexts, strict=True):
        context.progress(1.0, f"part {part.number}")
        context.save_artifact("part.txt", str(part.number).encode())
        match part.does:
            case "raise":
                raise ValueError("for all")
            case "error":
                results.append(ValueError("for one"))
            case "die" if context.attempt == 1:
                raise ProcessDied
            case "last":
                clock.sleep(12)
                results.append("late")
            case _:
                results.append(part.number * 2)
    return results


@handler("async_parts", batch=Batch(5))
async def async_parts(payloads: list[Part]) -> list[int]:
    return [len(payloads)] * len(payloads)


@handler("side_by_side", concurrency=10)
async def side_by_side(payload: Part) -> int:
    return payload.number


@pytest.fixture
def queue() -> Iterator[Queue]:
    calls.clear()
    with Queue([parts, async_parts, side_by_side], clock=clock) as queue:
        yield queue


def submit(queue: Queue, *does: str) -> list[Any]:
    return [
        queue.submit("parts", Part(number=number, does=what)) for number, what in enumerate(does)
    ]


def test_what_is_due_goes_into_one_call_up_to_the_size(queue: Queue) -> None:
    tasks = submit(queue, "", "", "", "")
    queue.submit("side_by_side", {"number": 7})
    runs = queue.run_due()
    assert calls == [[0, 1, 2], [3]]
    assert [task.result for task in tasks] == [0, 2, 4, 6]
    of_parts = [run for run in runs if run.result != 7]
    assert [run.artifacts for run in of_parts[:2]] == [{"part.txt": b"0"}, {"part.txt": b"1"}]
    assert of_parts[1].progress == [(1.0, "part 1")]
    assert len(runs) == len(of_parts) + 1


def test_an_error_counts_for_its_own_attempt(queue: Queue) -> None:
    submit(queue, "", "error", "")
    assert [run.outcome for run in queue.run_due()] == ["succeeded", "failed", "succeeded"]
    assert len(calls) == 1


def test_an_error_for_all_splits_the_batch(queue: Queue) -> None:
    submit(queue, "", "", "raise")
    assert [run.outcome for run in queue.run_due()] == ["succeeded", "succeeded", "failed"]
    assert calls == [[0, 1, 2], [0], [1, 2], [1], [2]]


def test_a_process_that_dies_loses_the_batch_and_the_next_ones_run_alone(queue: Queue) -> None:
    tasks = submit(queue, "", "die", "")
    queue.run_until_idle()
    assert calls == [[0, 1, 2], [0], [1], [2]]
    assert [task.result for task in tasks] == [0, 2, 4]
    assert [task.document["crashes"] for task in tasks] == [0, 0, 0]


def test_the_first_timeout_stops_the_call_and_the_others_run_again(queue: Queue) -> None:
    tasks = submit(queue, "", "")
    hurried = queue.submit("parts", Part(number=9, does="last"))
    patient = queue.submit("parts", Part(number=8), timeout_seconds=100)
    runs = queue.run_due()
    assert [run.outcome for run in runs[:3]] == ["timed_out"] * 3  # all had the same time
    assert hurried.document["error"]["type"] == "AttemptTimeout"
    assert [task.state for task in tasks] == ["FAILED", "FAILED"]
    assert patient.result == 16


@pytest.mark.parametrize("target", [parts, async_parts])
def test_one_attempt_is_a_batch_of_one(target: Callable[..., Any]) -> None:
    run = run_handler(target, Part(number=1))
    assert (run.outcome, run.result) == ("succeeded", 2 if target is parts else 1)
    assert run_handler(side_by_side, Part(number=3)).result == 3
