"""A port that the replicas of one service share on a machine, and that nobody else has.

With `SO_REUSEPORT` the kernel spreads new connections over all sockets of a port. It lets every
process of the same user in. Two services would then get each other's requests. So the replicas of a
service hold a lock together, on a file that names the service. The lock ends with its process,
however that ends.
"""

import contextlib
import errno
import fcntl
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from raytasks.model.tasks import RaytasksError

_MAX_TEXT = 200


class PortTaken(RaytasksError):
    """The port cannot be had. The text says who has it, or why."""


class SharedPort:
    """A socket that is bound to a port, and the lock that lets only the same service in.

    `service` is a text that is the same for all replicas of a service, and for no others. `port` 0
    takes a free one. Raises `PortTaken`.
    """

    def __init__(self, host: str, port: int, service: str) -> None:
        self.socket = _socket(host)
        self._lock: int | None = None
        try:
            if port:
                self._lock = _lock(port)
                with _only(self._lock, service, port) as first:
                    if first:
                        _check_free(host, port)
                    _bind(self.socket, host, port)
            else:
                _bind(self.socket, host, port)
        except BaseException:
            self.close()
            raise

    @property
    def port(self) -> int:
        """The port's number."""
        number: int = self.socket.getsockname()[1]
        return number

    def close(self) -> None:
        """Give the port back."""
        self.socket.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _socket(host: str) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.setblocking(False)
    return made


def _bind(bound: socket.socket, host: str, port: int) -> None:
    try:
        bound.bind((host, port))
    except OSError as error:
        raise PortTaken(_why(error, host, port)) from None


def _check_free(host: str, port: int) -> None:
    """Refuse a port where somebody else listens. Raises `PortTaken`.

    A program of the same user that shares its port would let us in, too.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _bind(probe, host, port)


def _why(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is in use by another program; choose another RAYTASKS_LISTEN_PORT"
    return (
        f"cannot listen on {host}:{port}: {error.strerror}; see RAYTASKS_LISTEN_HOST and "
        "RAYTASKS_LISTEN_PORT"
    )


def _lock(port: int) -> int:
    """Open the file of the port's lock; other users have files of their own."""
    file = Path(tempfile.gettempdir()) / f"raytasks-listen-{os.getuid()}-{port}"
    try:
        return os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise PortTaken(f"{file} cannot be opened: {error.strerror}") from None


@contextmanager
def _only(lock: int, service: str, port: int) -> Iterator[bool]:
    """Hold the lock together with replicas of the same service; tell whether we are the first.

    The first one holds it alone until the block ends. Raises `PortTaken`.
    """
    mark = service.encode()[:_MAX_TEXT]
    first = True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        first = False
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_SH)  # the first one holds it alone for a moment only
        _compare(lock, mark, port)
    if first:
        os.ftruncate(lock, 0)
        os.pwrite(lock, mark, 0)
    yield first
    if first:
        # The lock is free for a moment on the way, and another service may have taken it.
        fcntl.flock(lock, fcntl.LOCK_SH)
        _compare(lock, mark, port)


def _compare(lock: int, mark: bytes, port: int) -> None:
    holder = os.pread(lock, _MAX_TEXT, 0)
    if holder != mark:
        raise PortTaken(
            f"port {port} is used by another raytasks service ({holder.decode(errors='replace')}); "
            "choose another RAYTASKS_LISTEN_PORT"
        )
