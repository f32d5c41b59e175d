"""The process state that is put back after each attempt: working directory, environment, streams.

Only what can be checked in a microsecond is put back. An attempt can leave other traces: threads,
changed modules, open files, signal handlers. See docs/reliability.md.
"""

import contextlib
import gc
import os
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any, TextIO


def _switches() -> tuple[Any, ...]:
    return (
        sys.stdout,
        sys.stderr,
        sys.excepthook,
        threading.excepthook,
        sys.gettrace(),
        sys.getprofile(),
        sys.getrecursionlimit(),
        sys.get_int_max_str_digits(),
        socket.getdefaulttimeout(),
        gc.isenabled(),
    )


_SETTERS: tuple[tuple[str, Callable[[Any], object]], ...] = (
    ("sys.stdout", lambda value: setattr(sys, "stdout", value)),
    ("sys.stderr", lambda value: setattr(sys, "stderr", value)),
    ("sys.excepthook", lambda value: setattr(sys, "excepthook", value)),
    ("threading.excepthook", lambda value: setattr(threading, "excepthook", value)),
    ("the trace function", sys.settrace),
    ("the profile function", sys.setprofile),
    ("the recursion limit", sys.setrecursionlimit),
    ("the limit of digits", sys.set_int_max_str_digits),
    ("the default timeout of sockets", socket.setdefaulttimeout),
    ("the garbage collector", lambda on: gc.enable() if on else gc.disable()),
)


class Surroundings:
    """The process state as it was when this was made. `put_back` restores it."""

    def __init__(self) -> None:
        self._environment = _environment().copy()
        self._folder = _folder()
        self._switches = _switches()
        self._streams = [_Stream(name) for name in ("stdout", "stderr")]

    def put_back(self) -> list[str]:
        """Undo the changes since then, and return what had changed. Raises nothing."""
        changed: list[str] = []
        present = _switches()
        if present != self._switches:
            for (name, write), before, now in zip(_SETTERS, self._switches, present, strict=True):
                if before is not now and before != now:
                    changed.append(name)
                    with contextlib.suppress(Exception):
                        write(before)
        out, err = self._streams
        for stream in self._streams if out.closed() or err.closed() else ():
            if stream.closed():
                changed.append(f"sys.{stream.name} (closed)")
                with contextlib.suppress(Exception):
                    stream.reopen()
                    self._switches = _switches()
        if _environment() != self._environment:
            changed.append("the environment")
            with contextlib.suppress(Exception):
                _set_environment(self._environment)
        if _folder() != self._folder and self._folder is not None:
            changed.append("the working directory")
            with contextlib.suppress(OSError):
                os.chdir(self._folder)
        return changed


class _Stream:
    """An output stream of the process, with a spare descriptor by which it can be opened again."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._file: TextIO | None = getattr(sys, name)
        self._number = self._spare = -1
        with contextlib.suppress(Exception):
            number = self._file.fileno() if self._file is not None else -1
            if number in (1, 2):
                self._number, self._spare = number, _spare(number)

    def closed(self) -> bool:
        """Return whether an attempt has closed it."""
        return self._spare >= 0 and self._file.closed  # type: ignore[union-attr]

    def reopen(self) -> None:
        """Open a new stream on the same file. Raises `OSError`."""
        os.dup2(self._spare, self._number)
        self._file = open(  # noqa: SIM115 - for as long as the process lives
            self._number, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False
        )
        setattr(sys, self.name, self._file)


_spares: dict[int, int] = {}


def _spare(number: int) -> int:
    """Return a second descriptor of the same file. There is one for the life of this process."""
    if number not in _spares:
        _spares[number] = os.dup(number)
    return _spares[number]


def _environment() -> dict[Any, Any]:
    # The encoded values of `os.environ`: decoding each one after every attempt would be slow.
    found: dict[Any, Any] = os.environ._data  # type: ignore[attr-defined]
    return found


def _set_environment(wanted: dict[Any, Any]) -> None:
    before = {os.fsdecode(name): os.fsdecode(value) for name, value in wanted.items()}
    for name in [*os.environ]:
        if name not in before:
            del os.environ[name]
    os.environ.update(before)


def _folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return None
