"""The memory of the outbox's reader: pauses, and times that can be believed."""

import math

import pytest

from raytasks.tracker.outbox_book import MAX_ASIDE, MAX_LOCKED, RowBook, Try

NOW = 1_000_000.0
DAY = 86_400.0


@pytest.mark.parametrize(
    "written", [NOW * 1000, NOW + 600, math.nan, math.inf, -math.inf, 1e300, 0.0, -1.0]
)
def test_a_time_that_cannot_be_counts_from_when_it_was_seen_first(written: float) -> None:
    book = RowBook()
    assert book.written_at("a", written, NOW) == NOW
    assert book.written_at("a", written, NOW + 700) == NOW, "when the writer's clock is passed, too"
    book.forget_times(["a"], None)
    book.forget_times([], "a")
    assert book.written_at("a", written, NOW + DAY) == NOW


def test_a_time_that_can_be_is_believed() -> None:
    book = RowBook()
    assert book.written_at("a", NOW - DAY, NOW) == NOW - DAY
    assert book.written_at("a", NOW, NOW) == NOW


def test_times_of_rows_that_are_gone_are_forgotten() -> None:
    book = RowBook()
    for name in ("present", "first", "kept", "gone"):
        book.written_at(name, math.inf, NOW)
    book.locked("kept", 0.0)
    book.forget_times(["present"], "first")
    names = ("present", "first", "kept", "gone")
    assert [book.written_at(name, math.inf, NOW + 1) - NOW for name in names] == [0, 0, 0, 1]


def test_pauses_grow_up_to_a_bound() -> None:
    book, now, pauses = RowBook(), 0.0, []
    for _ in range(6):
        book.locked("a", now)
        pause = next(seconds for seconds in (1, 2, 4, 8, 10) if not book.waiting(now + seconds))
        pauses.append(pause)
        now += pause
    assert pauses == [1, 2, 4, 8, 10, 10]


def test_a_refused_row_is_tried_in_other_ways_before_it_is_set_aside() -> None:
    book, error = RowBook(), ValueError("no")
    tried = []
    for failed in (False, True, True):
        tried.append(book.tried("a")[0])
        was_set_aside = book.refused("a", error, 0.0, is_failed=failed)
        assert was_set_aside == bool(book.waiting(0.0))
    assert tried == [Try.AS_ASKED, Try.FAILED, Try.BARE]
    assert (book.aside, book.why("a")) == (1, "refused")
    assert book.tried("a")[0] is Try.AS_ASKED
    book.refused("b", error, 0.0, is_failed=True)
    assert book.tried("b") == (Try.BARE, error)
    assert [book.is_news("a"), book.is_news("a")] == [True, False]
    book.forget_others({"b"})
    assert (book.aside, book.ids) == (0, ["b"])


@pytest.mark.parametrize(("most", "locked"), [(MAX_ASIDE, False), (MAX_LOCKED, True)])
def test_it_is_full_while_so_many_wait(most: int, locked: bool) -> None:
    book = RowBook()
    note = book.locked if locked else book.broken
    for number in range(most):
        assert not book.is_full(0.0)
        note(str(number), 0.0)
    assert book.is_full(0.0)
    assert not book.is_full(1.0), "they are tried again"


def test_what_went_alone_is_tried_again_when_one_of_it_is_stored() -> None:
    book = RowBook()
    for name in ("a", "b"):
        book.doubted(name, 0.0)
    book.broken("c", 0.0)
    assert book.goes_alone("a")
    book.stored("a")
    assert book.waiting(0.0) == ["c"]
    assert not book.goes_alone("a")
