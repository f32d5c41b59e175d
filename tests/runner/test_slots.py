"""The slots of a type: what is asked for, and when a batch begins."""

from collections.abc import Iterable, Sequence

from raytasks.handling.declaration import handler, handler_of
from raytasks.model.controls import Batch
from raytasks.protocol.messages import Claim
from raytasks.runner.slots import AHEAD_SECONDS, MAX_AHEAD, Slots


@handler("many", concurrency=3)
def many(payload: int) -> None: ...


@handler("model", batch=Batch(4, 2.0), concurrency=2)
def model(payloads: list[int]) -> list[None]:
    return [None for _ in payloads]


def claim(number: int) -> Claim:
    return Claim(f"t{number}", "model", 1, "1", 0, 1, None, None)


def add(slots: Slots, count: int, now: float = 0.0) -> None:
    for number in range(count):
        slots.add(claim(number), now)


def sizes(calls: Iterable[Sequence[Claim]]) -> list[int]:
    return [len(claims) for claims in calls]


def test_attempts_begin_at_once_and_only_free_slots_are_asked_for() -> None:
    slots = Slots(handler_of(many))
    assert slots.free(0.0) == 3
    add(slots, 2)
    assert sizes(slots.take(0.0, more=True)) == [1, 1]
    assert slots.free(0.0) == 1
    slots.end(0.0, 0.01)
    assert slots.free(0.01) == 2


def test_a_batch_waits_for_more_only_while_there_is_more() -> None:
    slots = Slots(handler_of(model))
    assert slots.free(10.0) == 8
    add(slots, 3, now=10.0)
    assert sizes(slots.take(10.0, more=True)) == []
    assert slots.wait_seconds(10.5) == 1.5
    assert slots.free(10.5) == 5
    assert sizes(slots.take(12.0, more=True)) == [3]
    add(slots, 1, now=13.0)
    assert sizes(slots.take(13.0, more=False)) == [1]


def test_full_batches_begin_at_once() -> None:
    slots = Slots(handler_of(model))
    add(slots, 9)
    assert sizes(slots.take(0.0, more=True)) == [4, 4]
    assert slots.gathered == 1
    assert slots.wait_seconds(0.0) is None  # no slot is free before one ends
    assert slots.since == 0.0


def test_batches_are_gathered_ahead_for_a_tenth_of_a_second() -> None:
    slots = Slots(handler_of(model))
    add(slots, 8)
    assert sizes(slots.take(0.0, more=True)) == [4, 4]
    assert slots.free(0.0) == 0  # nobody knows yet how long they take
    slots.end(0.0, AHEAD_SECONDS / 2)
    add(slots, 4)
    assert sizes(slots.take(AHEAD_SECONDS / 2, more=True)) == [4]
    # Each of the two slots makes two calls in that time.
    assert slots.free(AHEAD_SECONDS / 2) == 4 * 4
    slots.end(0.0, 100.0)
    slots.running += 1
    assert slots.free(100.0) == 0


def test_nothing_is_gathered_behind_a_call_that_takes_long() -> None:
    """It would be given back, and come again, for as long as that call runs."""
    slots = Slots(handler_of(model))
    add(slots, 8)
    assert sizes(slots.take(0.0, more=True)) == [4, 4]
    slots.end(0.0, 0.01)
    add(slots, 4)
    assert sizes(slots.take(0.01, more=True)) == [4]
    assert slots.free(AHEAD_SECONDS) > 0
    assert slots.free(AHEAD_SECONDS + 0.001) == 0
    slots.end(0.01, AHEAD_SECONDS + 0.01)
    assert slots.free(AHEAD_SECONDS + 0.02) == 4  # only the free slot's own batch
    slots.end(0.0, 1.0)
    assert slots.free(1.0) >= 2 * 4


def test_no_more_than_so_many_attempts_are_gathered_ahead() -> None:
    slots = Slots(handler_of(model))
    add(slots, 8)
    assert sizes(slots.take(0.0, more=True)) == [4, 4]
    slots.end(0.0, 0.0)
    slots.running += 1
    assert slots.free(0.0) == MAX_AHEAD


def test_what_has_not_begun_is_taken_back() -> None:
    slots = Slots(handler_of(model))
    add(slots, 3)
    assert [one.task_id for one in slots.take_back("t1")] == ["t1"]
    assert [one.task_id for one in slots.take_back()] == ["t0", "t2"]
    assert slots.take_back() == []
    assert slots.since is None
