"""Ports for services that tests start."""

import random
import socket

from raytasks.cluster.ports import free_port

_FIRST, _LAST = 20_000, 29_999
"""Which no system gives to clients by itself, nor Ray to its workers, nor Serve to replicas."""


def quiet_port() -> int:
    """Return a free port that no client of the many that Ray starts gets by chance meanwhile."""
    while True:
        number = random.randint(_FIRST, _LAST)
        if free_port(number) == number and _is_quiet(number):
            return number


def _is_quiet(number: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", number)) != 0
