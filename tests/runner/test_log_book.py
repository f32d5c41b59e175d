"""Log lines on their way: each is sent until it is acknowledged, and before its attempt's end."""

import pytest

from raytasks.model.states import OutcomeKind
from raytasks.model.task_events import LogLine
from raytasks.protocol.messages import AttemptLog, Outcome
from raytasks.runner import log_book
from raytasks.runner.log_book import LogBook


def lines(*numbers: int, text: str = "x") -> list[LogLine]:
    return [LogLine(number, 0.0, "INFO", text) for number in numbers]


def ended(task_id: str) -> Outcome:
    return Outcome(task_id, 1, OutcomeKind.SUCCEEDED, 0.0, 0.0)


def told(logs: list[AttemptLog]) -> list[tuple[str, list[int]]]:
    return [(log.task_id, [line.number for line in log.lines]) for log in logs]


def test_what_is_acknowledged_is_not_sent_again() -> None:
    book = LogBook()
    assert not book
    book.add(("a", 1), lines(1, 2))
    first, _ = book.take(())
    assert told(first) == [("a", [1, 2])]
    assert book.take(()) == ([], 0)
    book.add(("a", 1), lines(3))
    second, _ = book.take(())
    book.acknowledge(first[0].number)
    book.send_again()
    again, _ = book.take(())
    assert told(again) == [("a", [3])]
    book.acknowledge(second[0].number)  # a number of a call that is over
    assert book
    book.acknowledge(again[0].number)
    assert not book


def test_an_outcome_takes_all_lines_along_that_may_be_lost() -> None:
    book = LogBook()
    book.add(("a", 1), lines(1))
    book.add(("b", 1), lines(1))
    book.take(())
    book.add(("a", 1), lines(2))
    logs, count = book.take([ended("a")])
    assert (told(logs), count) == ([("a", [1, 2])], 1)


def test_lines_of_an_attempt_that_is_over_are_dropped() -> None:
    book = LogBook()
    book.add(("a", 1), lines(1))
    book.take(())
    book.add(("a", 1), lines(2))
    book.drop(("a", 1))
    assert not book


def test_an_outcome_waits_where_there_is_no_room_for_its_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log_book, "MAX_CHARACTERS", 10)
    book = LogBook()
    for name in "abcd":
        book.add((name, 1), lines(1, 2, text="12345"))
    logs, count = book.take([ended("a"), ended("b"), ended("c")])
    assert (told(logs), count) == ([("a", [1, 2])], 1)
    assert book.has_fresh
    logs, count = book.take([ended("without any"), ended("b")])
    assert (told(logs), count) == ([("b", [1, 2])], 2)


def test_one_attempt_goes_however_much_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_book, "MAX_CHARACTERS", 10)
    book = LogBook()
    book.add(("a", 1), lines(*range(1, 100), text="1234"))
    book.add(("b", 1), lines(1))
    logs, count = book.take([ended("a")])
    assert (told(logs), count) == ([("a", list(range(1, 100)))], 1)
    assert told(book.take(())[0]) == [("b", [1])]
