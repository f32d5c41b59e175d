"""Ports for the servers that are measured."""

import random
import socket

_FIRST, _LAST = 15_000, 31_000  # no system gives these to clients by itself


def quiet_port() -> int:
    """Return a free port that none of Ray's many clients gets by chance meanwhile."""
    while True:
        port = random.randint(_FIRST, _LAST)
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return port
