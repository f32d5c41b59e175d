"""Store calls that another thread can cut off: their connection is closed under them.

No other thread may touch the driver itself. So a connection to a server is cut at its socket,
through a handle of our own. A query of SQLite is interrupted, which is allowed from any thread. A
call that was cut is not committed later: `check_not_cut` stands before each commit.
"""

import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from sqlalchemy import Engine, event

from raytasks.model.tasks import StoreUnavailable

Result = TypeVar("Result")

_CUT = "raytasks_cut"
_SOCKET = "raytasks_socket"


class _Handle:
    """A second handle of a socket, so that it never refers to the socket of a later connection."""

    def __init__(self, number: int) -> None:
        self._lock = threading.Lock()
        self._number: int | None = os.dup(number)

    def cut(self) -> None:
        """End the connection, also under a call that waits for it."""
        with self._lock:
            if self._number is not None:
                with socket.socket(fileno=os.dup(self._number)) as mine:
                    mine.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the handle; the connection itself stays as it is."""
        with self._lock:
            number, self._number = self._number, None
            if number is not None:
                os.close(number)

    def __del__(self) -> None:
        self.close()


class _Present(threading.local):
    call: "Cuttable | None" = None


_present = _Present()


class Cuttable:
    """One call, in one thread, that can be cut off from another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connections: dict[int, Callable[[], None]] = {}
        self.is_cut = False

    def run(self, call: Callable[[], Result]) -> Result:
        """Make the call in this thread."""
        before, _present.call = _present.call, self
        try:
            return call()
        finally:
            _present.call = before

    def cut(self) -> None:
        """Cut the connections that the call uses now; it gets no other. Never raises."""
        with self._lock:
            self.is_cut = True
            for cut in self._connections.values():
                with suppress(Exception):
                    cut()

    def take(self, key: int, cut: Callable[[], None]) -> None:
        """Register a connection that the call uses. Raises `StoreUnavailable` after the cut."""
        with self._lock:
            if self.is_cut:
                raise StoreUnavailable("the call was cut off")
            self._connections[key] = cut

    def give_back(self, key: int) -> None:
        """Unregister a connection that the call no longer uses."""
        with self._lock:
            self._connections.pop(key, None)


def check_not_cut() -> None:
    """Raise `StoreUnavailable` if the call in this thread was cut off."""
    call = _present.call
    if call is not None and call.is_cut:
        raise StoreUnavailable("the call was cut off")


def make_cuttable(engine: Engine) -> None:
    """Make calls that use the engine's connections cuttable."""

    @event.listens_for(engine, "connect", insert=True)
    def _connected(connection: Any, record: Any) -> None:
        record.info[_CUT] = _cutter(connection, record.info)
        _taken(connection, record, None)  # the dialect queries the server at once

    @event.listens_for(engine, "checkout")
    def _taken(_connection: Any, record: Any, _proxy: object) -> None:
        if _present.call is not None:
            _present.call.take(id(record), record.info[_CUT])

    @event.listens_for(engine, "checkin")
    def _given_back(_connection: Any, record: Any) -> None:
        if _present.call is not None:
            _present.call.give_back(id(record))

    @event.listens_for(engine, "close")
    @event.listens_for(engine, "close_detached")
    def _closed(_connection: Any, record: Any = None) -> None:
        handle = None if record is None else record.info.pop(_SOCKET, None)
        if handle is not None:
            handle.close()


def _cutter(connection: Any, info: dict[str, Any]) -> Callable[[], None]:
    """Return a function that cuts the connection off, from any thread."""
    pgconn = getattr(connection, "pgconn", None)
    if pgconn is None:
        interrupt: Callable[[], None] = connection.interrupt
        return interrupt
    handle = info[_SOCKET] = _Handle(pgconn.socket)
    return handle.cut
