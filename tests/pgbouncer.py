"""A real PgBouncer before the tests' PostgreSQL server: Debian's package `pgbouncer`."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from sqlalchemy.engine import make_url

from tests.ports import quiet_port

PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")

needs_pgbouncer = pytest.mark.skipif(
    PROGRAM is None, reason="pgbouncer is not installed: apt-get install pgbouncer"
)

_SECONDS = 10.0


@contextmanager
def pgbouncer_before(
    url: str, folder: Path, mode: str, connections: int = 2, **more: str
) -> Iterator[str]:
    """Run a pooler before the database at `url`, and yield the URL that leads through it.

    All its clients share so many connections. `more` are further lines of its configuration.
    """
    assert PROGRAM is not None
    place = make_url(url)
    host, port = str(place.query["host"]), quiet_port()
    lines = {
        "listen_addr": "127.0.0.1",
        "listen_port": str(port),
        "unix_socket_dir": "",
        "auth_type": "any",
        "pool_mode": mode,
        "default_pool_size": str(connections),
        **more,
    }
    file = folder / f"pgbouncer-{mode}.ini"
    settings = "\n".join(f"{name} = {value}" for name, value in lines.items())
    file.write_text(f"[databases]\n* = host={host} user=postgres\n[pgbouncer]\n{settings}\n")
    file.chmod(0o644)
    command = [PROGRAM, "--quiet", str(file)]
    if os.getuid() == 0:  # it refuses to run as root; the server's user may use its socket
        command[1:1] = ["--user", Path(host).owner()]
    with file.open("rb") as given, (folder / "pgbouncer.log").open("wb") as log:
        command[-1] = f"/dev/fd/{given.fileno()}"
        process = subprocess.Popen(command, stderr=log, pass_fds=[given.fileno()])
        through = f"postgresql://postgres@127.0.0.1:{port}/{quote(str(place.database))}"
        try:
            _wait_for(through, process)
            yield through
        finally:
            process.kill()
            process.wait()


def _wait_for(url: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            psycopg.connect(url, autocommit=True).close()
        except psycopg.OperationalError:
            assert process.poll() is None, "pgbouncer has ended"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        else:
            return
