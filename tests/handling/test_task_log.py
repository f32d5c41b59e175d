"""Log lines of a handler: passed on as usual, and kept, up to a limit."""

import logging

import pytest

from raytasks.handling.context import Context, LocalChannel
from raytasks.handling.task_log import DROPPED, MAX_CHARACTERS, MAX_LINES
from raytasks.testing import FakeClock

NAME = "raytasks.handlers.short"


@pytest.fixture
def channel() -> LocalChannel:
    return LocalChannel()


@pytest.fixture
def context(channel: LocalChannel, clock: FakeClock) -> Context:
    return Context("id", "short", attempt=2, channel=channel, clock=clock)


def texts(channel: LocalChannel) -> list[str]:
    return [line.message for line in channel.lines]


def test_lines_are_numbered_and_have_time_and_level(
    context: Context, channel: LocalChannel, clock: FakeClock
) -> None:
    context.log.info("first of %d", 2)
    clock.advance(5)
    context.log.warning("%(what)s", {"what": "second"})
    assert [(line.number, line.at, line.level, line.message) for line in channel.lines] == [
        (1, clock.now - 5, "INFO", "first of 2"),
        (2, clock.now, "WARNING", "second"),
    ]


def test_lines_go_to_pythons_logging_too(
    context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, NAME):
        context.log.debug("hello %s", "there")
    [record] = caplog.records
    assert (record.name, record.getMessage()) == (NAME, "hello there")
    assert (record.filename, record.funcName) == (
        "test_task_log.py",
        "test_lines_go_to_pythons_logging_too",
    )
    assert (vars(record)["task_id"], vars(record)["attempt"]) == ("id", 2)


@pytest.mark.parametrize(
    ("level", "kept"), [(logging.DEBUG, 4), (logging.INFO, 3), (logging.CRITICAL, 3)]
)
def test_kept_is_what_is_info_or_more_or_is_logged(
    context: Context,
    channel: LocalChannel,
    caplog: pytest.LogCaptureFixture,
    level: int,
    kept: int,
) -> None:
    with caplog.at_level(level, NAME):
        for step in (logging.DEBUG, logging.INFO, logging.ERROR, logging.CRITICAL):
            context.log.log(step, "x")
    assert len(channel.lines) == kept
    assert len(caplog.records) == {10: 4, 20: 3, 50: 1}[level]


def test_an_exception_is_kept_with_its_traceback(context: Context, channel: LocalChannel) -> None:
    try:
        raise ValueError("bad")
    except ValueError as error:
        context.log.exception("it failed")
        context.log.error("again", exc_info=error)
    for text, line in zip(["it failed", "again"], texts(channel), strict=True):
        assert line.startswith(f"{text}\nTraceback ")
        assert line.endswith("ValueError: bad")


def test_what_cannot_be_said_is_kept_as_it_is(
    context: Context, channel: LocalChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    context.log.info("%d", "no number")
    context.log.info("null \x00, half a letter \ud800")
    assert texts(channel) == ["'%d'", "null \ufffd, half a letter ?"]


def test_a_long_line_is_cut(context: Context, channel: LocalChannel) -> None:
    context.log.info("ä" * 10_000)
    assert texts(channel) == ["ä" * MAX_CHARACTERS]


def test_of_many_lines_the_first_are_kept_and_one_that_says_so(
    context: Context, channel: LocalChannel
) -> None:
    for number in range(MAX_LINES + 100):
        context.log.info("line %d", number)
    assert len(channel.lines) == MAX_LINES + 1
    assert texts(channel)[-2:] == [f"line {MAX_LINES - 1}", DROPPED]
    assert channel.lines[-1].level == "WARNING"


def test_a_later_process_of_the_attempt_goes_on_with_the_numbers(channel: LocalChannel) -> None:
    context = Context("id", "short", channel=channel, lines_before=MAX_LINES - 1)
    context.log.info("one")
    context.log.info("two")
    context.log.info("three")
    assert [line.number for line in channel.lines] == [MAX_LINES, MAX_LINES + 1]


class Unspeakable:
    def __repr__(self) -> str:
        raise TypeError("no text")


def test_no_line_fails_an_attempt(context: Context, channel: LocalChannel) -> None:
    context.log.info("%s", Unspeakable())
    context.log.info(Unspeakable())
    context.log.info("x" * 3_000_000)
    try:
        raise SyntaxError("bad template", ("page.html", 1, "x", "text"))  # type: ignore[arg-type]
    except SyntaxError:
        context.log.exception("it failed")
    assert [text[:33] for text in texts(channel)] == [
        "'%s'",
        "(a line that cannot be written)",
        "x" * 33,
        "it failed\n(an error whose traceba",
    ]
    assert len(texts(channel)[2]) == MAX_CHARACTERS
