"""Free ports of this machine, and those that a command keeps for what it starts.

A command chooses the ports of a service long before anything listens there. Another one that starts
in the same seconds would choose the same ports. So each keeps a mark for its own until it ends. It
is a socket with a name of Linux's abstract namespace, which is as wide as the ports are (see
unix(7)).
"""

import errno
import socket
from collections.abc import Callable, Iterator, Sequence

from raytasks.model.tasks import RaytasksError

ANY = 0
"""In place of a port's number: any free one."""

Choice = Callable[[Sequence[int]], int | None]
"""A way to choose one of several ports: `free` or `kept`."""

_marks: dict[int, int] = {}
"""The file descriptors of the marks of this process, by port."""


class MachineError(RaytasksError):
    """The setup of this machine does not let the service run. The text says what to change."""


def free(ports: Sequence[int]) -> int | None:
    """Return the first of the ports at which nothing listens; None if there is none."""
    return next(_free_ones(ports), None)


def kept(ports: Sequence[int]) -> int | None:
    """Return the first port that is free and that no other process keeps; None if there is none.

    This process then keeps it until it ends.
    """
    return next(filter(keep, _free_ones(ports)), None)


def keep(port: int) -> bool:
    """Keep a port until this process ends, and return whether no other process keeps it."""
    if port in _marks:
        return True
    mark = socket.socket(socket.AF_UNIX)
    try:
        mark.bind(f"\0raytasks-port-{port}")
    except OSError as error:
        mark.close()
        return error.errno != errno.EADDRINUSE  # other systems have no such names
    _marks[port] = mark.detach()
    return True


def free_port(preferred: int = ANY) -> int:
    """Return the preferred port if nothing listens there, else any free one.

    Raises `MachineError`.
    """
    return chosen_port(free, preferred)


def chosen_port(choose: Choice, preferred: int) -> int:
    """Return the preferred port if it can be chosen, else any. Raises `MachineError`."""
    port = choose((preferred, ANY))
    if port is None:
        raise MachineError("no free port is left on this machine")
    return port


def is_free(port: int) -> bool:
    """Return whether nothing listens at a port."""
    return _free(port) is not None


def _free_ones(ports: Sequence[int]) -> Iterator[int]:
    return (number for port in ports if (number := _free(port)))


def _free(port: int) -> int | None:
    """Return the number of a port that can be listened at: any for `ANY`, None if it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return None
        number: int = probe.getsockname()[1]
        return number
