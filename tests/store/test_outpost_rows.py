"""The messages between clusters that share a database, on both databases."""

from collections.abc import Sequence

import pytest

from raytasks.store import outpost_rows as rows
from raytasks.store.outpost_rows import OutpostAnswer, OutpostCall, Reign
from raytasks.store.store import Store
from raytasks.store.transaction import Superseded
from tests.making import NOW, Tracking, new_task

SEAT = "seat 1"


def reigns(store: Store) -> list[Reign]:
    with store.reading() as connection:
        return rows.read_reigns(connection)


def send(store: Store, *numbers: int, over: Sequence[int] = ()) -> None:
    calls = [OutpostCall(SEAT, number, "submit", b"\x00%d" % number) for number in numbers]
    with store.writing_own() as connection:
        rows.call(connection, SEAT, calls, over)


def calls(store: Store, after: int = 0) -> list[int]:
    with store.reading() as connection:
        return [item.number for item in rows.read_calls(connection, SEAT, after)]


def answers(store: Store) -> list[OutpostAnswer]:
    with store.reading() as connection:
        return rows.read_view(connection, SEAT).answers  # type: ignore[return-value]


def answer(store: Store, *items: OutpostAnswer) -> None:
    with store.writing_own() as connection:
        rows.answer(connection, items)


def test_a_reign_begins_with_its_epoch_and_beats_until_it_is_forgotten(store: Store) -> None:
    assert store.begin_epoch(NOW, "a", host="h1") == 1
    assert store.begin_epoch(NOW, "b", host="h2") == 2
    mine = Reign("a", 1, "h1", SEAT, 0)
    with store.writing_own() as connection:
        rows.beat(connection, mine, NOW)
        rows.beat(connection, mine, NOW)
    assert reigns(store) == [Reign("a", 1, "h1", SEAT, 2), Reign("b", 2, "h2", None, 0)]
    with store.writing_own() as connection:
        rows.forget_reigns(connection, ["a"])
    assert [reign.owner for reign in reigns(store)] == ["b"]
    with store.writing_own() as connection:
        rows.beat(connection, mine, NOW)  # it was only frozen
    assert reigns(store)[0] == Reign("a", 1, "h1", SEAT, 1)
    assert store.begin_epoch(NOW, "a", host="h1") == 3
    assert reigns(store)[-1] == Reign("a", 3, "h1", None, 0)


def test_alone_a_reign_ends_all_others(store: Store) -> None:
    store.begin_epoch(NOW, "a")
    store.begin_epoch(NOW, "b", alone=True)
    assert [reign.owner for reign in reigns(store)] == ["b"]


def test_a_call_is_answered_once(store: Store) -> None:
    send(store, 1, 2, 3)
    assert calls(store) == [1, 2, 3]
    assert calls(store, after=2) == [3]
    done = OutpostAnswer(SEAT, 1, b"\xff")
    failed = OutpostAnswer(SEAT, 3, None, "BacklogFull", "full")
    answer(store, done, failed)
    answer(store, done, OutpostAnswer(SEAT, 1, b"again"))
    assert answers(store) == [done, failed]
    assert calls(store) == [2]
    send(store, over=[1, 2, 3])
    assert answers(store) == []
    assert calls(store) == []


def test_each_seat_has_numbers_of_its_own(store: Store) -> None:
    send(store, 1, 2)
    other = [OutpostCall("seat 2", number, "submit", b"") for number in (1, 2)]
    with store.writing_own() as connection:
        rows.call(connection, "seat 2", other, ())
    answer(store, OutpostAnswer("seat 2", 1, b"two"))
    assert (calls(store), answers(store)) == ([1, 2], [])
    send(store, over=[1, 2])
    with store.reading() as connection:
        assert rows.read_calls(connection, "seat 2", 0) == other[1:]
        assert [item.document for item in rows.read_answers(connection, "seat 2")] == [b"two"]


def test_a_call_that_is_over_gets_no_answer(store: Store) -> None:
    send(store, 1)
    send(store, over=[1])
    answer(store, OutpostAnswer(SEAT, 1, b""))
    assert answers(store) == []


def test_what_a_seat_has_left_goes_with_its_reign(store: Store) -> None:
    store.begin_epoch(NOW, "a")
    with store.writing_own() as connection:
        rows.beat(connection, Reign("a", 1, "", SEAT, 0), NOW)
    send(store, 1, 2)
    answer(store, OutpostAnswer(SEAT, 1, b""))
    with store.writing_own() as connection:
        rows.forget_reigns(connection, [])
    assert calls(store) == [2]
    with store.writing_own() as connection:
        rows.forget_reigns(connection, ["a"])
    assert calls(store) == []
    assert answers(store) == []


def test_an_answer_of_a_superseded_tracker_is_not_written(store: Store) -> None:
    epoch = store.begin_epoch(NOW, "b")
    send(store, 1)
    store.begin_epoch(NOW, "c")

    def tell() -> None:
        with store.transaction(now=NOW) as transaction:
            transaction.renew(epoch)
            rows.answer(transaction.connection, [OutpostAnswer(SEAT, 1, b"")])

    with pytest.raises(Superseded):
        tell()
    assert calls(store) == [1]
    assert answers(store) == []


def test_what_runners_hold_is_counted(store: Store) -> None:
    tracking = Tracking(store)
    tracking.tick(submissions=[new_task(number) for number in (1, 2, 3)])
    held = {running.runner_id for running in tracking.claim()}
    with store.reading() as connection:
        assert rows.count_held(connection, sorted(held)) == 3
        assert rows.count_held(connection, ["somebody"]) == 0
        assert rows.count_held(connection, []) == 0
