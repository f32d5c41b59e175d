"""The set-up of the service's log in a process: which lines, in which format, to where."""

import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from raytasks.observe.log_file import LogFile
from raytasks.observe.log_format import LineFormatter, LogFormat, StreamHandler
from raytasks.observe.log_stream import LogStream
from raytasks.observe.log_writer import LogWriter
from raytasks.protocol.service_log import RANKS

ROOT = "raytasks"
"""The logger above all of ours."""


class LogSettings(Protocol):
    """The settings of the log."""

    @property
    def log_level(self) -> str:
        """The lowest level of lines."""

    @property
    def log_format(self) -> str:
        """`text` or `json`."""

    @property
    def log_file(self) -> str | None:
        """The path of the file, or None."""

    @property
    def log_file_bytes(self) -> int:
        """Maximum bytes of the file."""


@dataclass(frozen=True)
class LogOptions:
    """The options of the log, by the settings. `file` is the path of a file, or None."""

    level: str = "INFO"
    format: str = LogFormat.TEXT
    file: str | None = None
    file_bytes: int = 64 * 1024 * 1024

    @classmethod
    def of(cls, settings: LogSettings) -> Self:
        """Return what the settings say."""
        return cls(
            settings.log_level, settings.log_format, settings.log_file, settings.log_file_bytes
        )


class TrackerLog:
    """The log of the tracker's process: all lines of our loggers go to the stream.

    From there they go to standard error and to the file. Python's `logging.shutdown` writes what
    waits.
    """

    def __init__(self, stream: LogStream, options: LogOptions) -> None:
        self._stream = stream
        self._options = options
        self._writer = LogWriter(LogFormat(options.format).render, _file(options))
        self._handler = _FlushedHandler(stream, self._writer)
        stream.outputs.append(self._writer)
        _install(self._handler, options.level)
        stream.level = RANKS[options.level]

    def change(self, options: LogOptions) -> None:
        """Go on with other options."""
        if options == self._options:
            return
        if (options.format, options.file, options.file_bytes) != (
            self._options.format,
            self._options.file,
            self._options.file_bytes,
        ):
            self._writer.set_output(LogFormat(options.format).render, _file(options))
        self._options = options
        logging.getLogger(ROOT).setLevel(options.level)
        self._stream.level = RANKS[options.level]

    def flush(self) -> None:
        """Write what waits."""
        self._writer.flush()

    def close(self) -> None:
        """Write what waits, and leave Python's logging as it was."""
        logger = logging.getLogger(ROOT)
        logger.removeHandler(self._handler)
        logger.setLevel(logging.NOTSET)
        logger.propagate = True
        self._stream.outputs.remove(self._writer)
        self._writer.close()


def log_to_stderr(options: LogOptions) -> None:
    """Have the lines of our loggers written to this process's standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter(LogFormat(options.format).render))
    _install(handler, options.level)


class _FlushedHandler(StreamHandler):
    def __init__(self, stream: LogStream, writer: LogWriter) -> None:
        super().__init__(stream)
        self._writer = writer

    def flush(self) -> None:
        """Write what waits."""
        self._writer.flush()


def _install(handler: logging.Handler, level: str) -> None:
    logger = logging.getLogger(ROOT)
    for former in list(logger.handlers):
        if isinstance(former, StreamHandler) or isinstance(former.formatter, LineFormatter):
            logger.removeHandler(former)
    logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False


def _file(options: LogOptions) -> LogFile | None:
    return None if options.file is None else LogFile(Path(options.file), options.file_bytes)
