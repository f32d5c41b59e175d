"""The formats of the log: what each line of it looks like, whatever is in it."""

import logging
import sys
from typing import Any

from msgspec import json

from raytasks.observe.log_format import LineFormatter, json_line, text_line, time_text
from raytasks.observe.log_record import with_fields
from raytasks.protocol.service_log import ServiceLine

AT = 1_800_000_000.1239


def line(
    message: str = "attempt 1 of mail failed", level: str = "WARNING", **fields: Any
) -> ServiceLine:
    return ServiceLine(7, AT, level, message, fields)


def record(message: str, *, error: bool = False, **fields: Any) -> logging.LogRecord:
    extra = with_fields(**fields)
    return logging.getLogger("raytasks.test").makeRecord(
        "raytasks.test", logging.INFO, "", 0, message, (), sys.exc_info() if error else None,
        extra=extra,
    )  # fmt: skip


class TestText:
    def test_a_line_has_time_level_message_and_fields_in_their_order(self) -> None:
        text = text_line(line(pid=17, attempt=1, task_id="a-b", seconds=0.25))
        assert text == (
            "2027-01-15T08:00:00.123Z WARNING attempt 1 of mail failed "
            "task_id=a-b attempt=1 seconds=0.25 pid=17"
        )

    def test_levels_have_the_same_width(self) -> None:
        assert text_line(line("up", "INFO")) == "2027-01-15T08:00:00.123Z INFO    up"

    def test_a_value_with_spaces_is_quoted(self) -> None:
        assert text_line(line(error='ValueError: no "x"')).endswith(r'error="ValueError: no \"x\""')
        assert text_line(line(runner="")).endswith('runner=""')

    def test_further_lines_of_a_message_are_indented_below_the_fields(self) -> None:
        text = text_line(line("first\nsecond", pid=1))
        assert text.split("\n") == [
            "2027-01-15T08:00:00.123Z WARNING first pid=1", "    second"
        ]  # fmt: skip

    def test_no_text_controls_the_terminal(self) -> None:
        text = text_line(line("red \x1b[31m \x9b1m", error="a\x1bb"))
        assert "\x1b" not in text
        assert "\x9b" not in text

    def test_a_time_that_makes_no_sense_is_no_error(self) -> None:
        assert time_text(float("nan")).startswith("1970")
        assert time_text(float("inf")).startswith("9999")


class TestJson:
    def test_a_line_is_one_object(self) -> None:
        text = json_line(line("a\nb", pid=17, cause="x"))
        assert "\n" not in text
        assert json.decode(text) == {
            "at": "2027-01-15T08:00:00.123Z",
            "level": "WARNING",
            "message": "a\nb",
            "cause": "x",
            "pid": 17,
        }

    def test_no_field_replaces_the_message(self) -> None:
        assert json.decode(json_line(ServiceLine(1, AT, "INFO", "true", {"message": "false"}))) == {
            "at": "2027-01-15T08:00:00.123Z",
            "level": "INFO",
            "message": "true",
        }

    def test_half_a_surrogate_pair_is_no_error(self) -> None:
        found = json.decode(json_line(line("a\ud800b", error="\udfff")))
        assert (found["message"], found["error"]) == ("a?b", "?")


class TestRecords:
    def test_a_record_of_python_s_logging_has_its_fields(self) -> None:
        text = LineFormatter(text_line).format(record("done", task_id="t", pid=None))
        assert text.endswith("INFO    done task_id=t")

    def test_its_traceback_stands_below(self) -> None:
        try:
            raise ValueError("no")
        except ValueError:
            text = LineFormatter(text_line).format(record("failed", error=True))
        assert text.split("\n")[1] == "    Traceback (most recent call last):"
        assert text.endswith("ValueError: no")
