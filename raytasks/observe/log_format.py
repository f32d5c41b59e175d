"""The two formats of the service's log: lines for people, and JSON lines for machines."""

import logging
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum

from msgspec import json

from raytasks.observe.log_record import FieldValue, fields_of
from raytasks.observe.log_stream import LogStream
from raytasks.protocol.service_log import ServiceLine

FIELDS = (
    "task_id",
    "task_type",
    "namespace",
    "attempt",
    "outcome",
    "state",
    "seconds",
    "error",
    "trace_id",
    "runner",
    "pool",
    "host",
    "pid",
    "node",
)
"""The fields of attempts, in the order of a line. Others come before them."""

_PLACES = {name: place for place, name in enumerate(FIELDS)}
_LEVEL_WIDTH = 7
_LAST_TIME = 253402300799.0  # the end of the year 9999: a clock may be wrong by any amount
_PLAIN = re.compile(r"[^\s\"=\\\x00-\x1f\x7f-\x9f]+")
_INDENT = "\n    "
# A terminal obeys control characters, and what handlers say may have some.
_CONTROLS = {
    code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n"
}

Render = Callable[[ServiceLine], str]


class LogFormat(StrEnum):
    """The format of the log."""

    TEXT = "text"
    JSON = "json"

    @property
    def render(self) -> Render:
        """The function that returns a line in this format, without its end."""
        return text_line if self is LogFormat.TEXT else json_line


def text_line(line: ServiceLine) -> str:
    """Return a line for people: time, level, message, and the fields as key=value.

    Further lines of a message are indented. Control characters are escaped.
    """
    message = line.message.translate(_CONTROLS).replace("\n", _INDENT)
    head = f"{time_text(line.at)} {line.level:{_LEVEL_WIDTH}} {message}"
    fields = " ".join(f"{name}={_value(value)}" for name, value in ordered(line.fields))
    if not fields:
        return head
    first, newline, rest = head.partition("\n")
    return f"{first} {fields}{newline}{rest}"


def json_line(line: ServiceLine) -> str:
    """Return a line as a JSON object: `at`, `level`, `message`, and the fields beside them."""
    return json.encode(line_document(line)).decode()


def line_document(line: ServiceLine) -> dict[str, FieldValue]:
    """Return a line as a JSON object. No field replaces `at`, `level` or `message`."""
    head = {"at": time_text(line.at), "level": line.level, "message": _valid(line.message)}
    return head | {name: _valid(value) for name, value in ordered(line.fields) if name not in head}


def time_text(at: float) -> str:
    """Return a time (seconds since the epoch) as RFC 3339, in UTC, with milliseconds."""
    at = min(_LAST_TIME, max(0.0, at))
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class LineFormatter(logging.Formatter):
    """A formatter of Python's logging that writes records in a format of ours."""

    def __init__(self, render: Render) -> None:
        super().__init__()
        self._render = render

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a line. Raises nothing that the record's own texts do not raise."""
        line = ServiceLine(
            0, record.created, record.levelname, message_of(record), fields_of(record)
        )
        return self._render(line)


class StreamHandler(logging.Handler):
    """A handler of Python's logging that writes records into a stream."""

    def __init__(self, stream: LogStream) -> None:
        super().__init__()
        self._stream = stream

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record into the stream."""
        try:
            self._stream.write(
                record.levelname, message_of(record), fields_of(record), at=record.created
            )
        except Exception:
            self.handleError(record)


_PLAIN_FORMATTER = logging.Formatter()


def message_of(record: logging.LogRecord) -> str:
    """Return the message of a record, with the traceback of its error below it."""
    return _PLAIN_FORMATTER.format(record)


def ordered(fields: Mapping[str, FieldValue]) -> list[tuple[str, FieldValue]]:
    """Return fields in the order of a line."""
    return sorted(fields.items(), key=lambda item: _PLACES.get(item[0], -1))


def _value(value: FieldValue) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case float():
            return f"{value:.6g}"
        case str() if not _PLAIN.fullmatch(value):
            return json.encode(_valid(value)).decode().translate(_CONTROLS)
        case _:
            return str(value)


def _valid(value: FieldValue) -> FieldValue:
    """Return a value that UTF-8 can hold: a text may have halves of surrogate pairs."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
