"""The stream of the log: bounded, numbered, and followed by whoever asks."""

import asyncio
import threading
from itertools import count

from raytasks.observe.log_stream import LogStream
from raytasks.protocol.service_log import MAX_LINES, LogFilter, LogPage


def stream(**bounds: int) -> LogStream:
    ticks = count(100)
    return LogStream(lambda: float(next(ticks)), **bounds)


def texts(page: LogPage) -> list[str]:
    return [line.message for line in page.lines]


def write(into: LogStream, number: int) -> None:
    for index in range(number):
        into.write("INFO", f"line {index + 1}")


class TestBounds:
    def test_the_oldest_lines_go_first(self) -> None:
        log = stream(lines=3)
        write(log, 5)
        assert texts(log.newest(10)) == ["line 3", "line 4", "line 5"]
        assert log.since(log.stream, 1).gap
        assert not log.since(log.stream, 2).gap

    def test_long_lines_leave_room_for_fewer(self) -> None:
        log = stream(size=5000)
        for letter in "abcdef":
            log.write("INFO", letter * 1000, {"error": "x" * 500})
        assert [text[0] for text in texts(log.newest(10))] == ["e", "f"] or len(
            log.newest(10).lines
        ) < 4

    def test_a_line_beyond_all_bounds_is_cut_and_kept(self) -> None:
        log = stream(size=10)
        log.write("INFO", "x" * 100_000)
        assert len(log.newest(1).lines[0].message) == 8000

    def test_a_page_is_bounded_and_says_that_there_are_more(self) -> None:
        log = stream()
        write(log, MAX_LINES + 5)
        page = log.since(log.stream, 0)
        assert (len(page.lines), page.more) == (MAX_LINES, True)
        rest = log.since(log.stream, page.last)
        assert (len(rest.lines), rest.more) == (5, False)


class TestFilters:
    def test_lines_below_the_level_are_not_written(self) -> None:
        log = stream()
        log.write("DEBUG", "no")
        log.level = 10
        log.write("DEBUG", "yes")
        assert texts(log.newest(10)) == ["yes"]

    def test_a_level_of_somebody_s_own_is_written(self) -> None:
        log = stream()
        log.write("NOTICE", "yes")
        assert texts(log.newest(10, LogFilter(level="INFO"))) == ["yes"]
        assert not log.newest(10, LogFilter(level="WARNING")).lines

    def test_level_type_and_namespace(self) -> None:
        log = stream()
        log.write("INFO", "a", {"task_type": "mail", "namespace": "x"})
        log.write("ERROR", "b", {"task_type": "mail", "namespace": "y"})
        log.write("WARNING", "c")
        assert texts(log.newest(10, LogFilter(level="WARNING"))) == ["b", "c"]
        assert texts(log.newest(10, LogFilter(task_type="mail"))) == ["a", "b"]
        assert texts(log.newest(10, LogFilter(namespace="x"))) == ["a", "c"]
        assert texts(log.newest(1, LogFilter(task_type="mail"))) == ["b"]

    def test_fields_without_a_value_are_left_out(self) -> None:
        log = stream()
        log.write("INFO", "a", {"error": None, "pid": 1})
        assert log.newest(1).lines[0].fields == {"pid": 1}


class TestFollowing:
    async def test_a_line_from_any_thread_ends_the_wait(self) -> None:
        log = stream()
        waiting = asyncio.ensure_future(log.wait(log.stream, 0, 30))
        await asyncio.sleep(0)
        thread = threading.Thread(target=lambda: log.write("INFO", "here"))
        thread.start()
        assert texts(await waiting) == ["here"]
        thread.join()

    async def test_lines_that_follow_soon_come_with_the_first(self) -> None:
        log = stream()
        waiting = asyncio.ensure_future(log.wait(log.stream, 0, 30))
        await asyncio.sleep(0)
        log.write("INFO", "a")
        for _ in range(3):  # it wakes up
            await asyncio.sleep(0)
        assert not log._wakes
        log.write("INFO", "b")
        assert texts(await waiting) == ["a", "b"]

    async def test_lines_that_do_not_match_do_not_end_it(self) -> None:
        log = stream()
        waiting = asyncio.ensure_future(log.wait(log.stream, 0, 30, LogFilter(level="ERROR")))
        await asyncio.sleep(0)
        log.write("INFO", "no")
        log.write("ERROR", "yes")
        assert texts(await waiting) == ["yes"]

    async def test_it_ends_without_a_line(self) -> None:
        log = stream()
        log.write("INFO", "before")
        page = await log.wait(log.stream, 1, 0.01)
        assert (texts(page), page.last, page.gap) == ([], 1, False)
        assert not log._wakes

    async def test_the_number_of_another_stream_begins_anew_after_a_gap(self) -> None:
        log = stream()
        log.write("INFO", "first")
        page = await log.wait(log.stream + 1, 900, 30)
        assert (texts(page), page.gap, page.stream) == (["first"], True, log.stream)
