"""Standard output and standard error of a command, also where nobody reads them any more."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, TextIO, cast

import typer


class OutputLost(Exception):
    """Standard output cannot be written: its reader is gone, its disk is full, or it is closed.

    It is no `OSError`, since Typer ends the process silently for that, with the code of a failure.
    """


@contextmanager
def keeping(text: str, see: str | None = None) -> Iterator[None]:
    """Say a text if the block ends by Ctrl-C, or by lost standard output: what must not get lost.

    It goes to standard error; at Ctrl-C together with `see`, the command that shows more.
    """
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"stopped; {text}" + (f"; see '{see}'" if see else ""), err=True)
        raise
    except OutputLost as error:
        raise OutputLost(f"{error}; {text}") from error


def guard_streams() -> None:
    """Have standard output raise `OutputLost`, and standard error drop what it cannot write.

    Characters that their encoding does not have are written as escapes. Streams that somebody has
    replaced stay.
    """
    if sys.stdout is sys.__stdout__:
        sys.stdout = _guarded(sys.stdout, _Output if sys.stdout else _NoOutput)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _guarded(sys.stderr, _Errors if sys.stderr else _Nowhere)


class _Output(io.FileIO):
    """The file of standard output. After its first error it takes everything, and drops it."""

    _lost = False

    def write(self, data: Any) -> int:
        if self._lost or not data:  # Typer writes nothing, to see if it may, and ignores errors
            return len(data)
        try:
            return cast("int", super().write(data))
        except OSError as error:
            self._lost = True
            raise OutputLost(f"standard output cannot be written: {error.strerror}") from error


class _Errors(io.FileIO):
    """The file of standard error."""

    def write(self, data: Any) -> int:
        try:
            return cast("int", super().write(data))
        except OSError:
            return len(data)


class _NoOutput(io.RawIOBase):
    """Standard output that was closed before the command began."""

    _lost = False

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if data and not self._lost:
            self._lost = True
            raise OutputLost("standard output is closed")
        return len(data)


class _Nowhere(_NoOutput):
    """Standard error that was closed before the command began."""

    _lost = True


def _guarded(
    stream: TextIO | None, kind: type[_Output] | type[_Errors] | type[_NoOutput]
) -> TextIO:
    """Return a text stream like the given one, over a file of this kind."""
    if stream is None or issubclass(kind, _NoOutput):
        raw: io.RawIOBase = cast("type[_NoOutput]", kind)()
        return io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8", line_buffering=True)
    stream.flush()
    unbuffered = getattr(stream, "write_through", False)
    file = kind(stream.fileno(), "w", closefd=False)
    return io.TextIOWrapper(
        cast("IO[bytes]", file if unbuffered else io.BufferedWriter(file)),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=bool(stream.line_buffering),
        write_through=unbuffered,
    )


class _LastingOutput:
    """Standard output until it is gone: a terminal that was closed, or a pipe without a reader.

    Then the rest goes nowhere. Else the first line after that would end the service out of order.
    """

    def write(self, text: str) -> int:
        """Write a text, if there is somebody to read it."""
        try:
            return sys.stdout.write(text)
        except (OSError, OutputLost):
            _give_up()
            return len(text)

    def flush(self) -> None:
        """Write what is kept back."""
        try:
            sys.stdout.flush()
        except (OSError, OutputLost):
            _give_up()

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stdout, name)


def lasting_output() -> IO[str]:
    """Return a file that writes to standard output, and never raises `OSError`."""
    return cast("IO[str]", _LastingOutput())


def _give_up() -> None:
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - until the process ends
