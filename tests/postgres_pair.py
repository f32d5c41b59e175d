"""A PostgreSQL server with a standby that streams from it, for tests of a failover."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from sqlalchemy.engine import make_url

from tests.postgres_server import PostgresServer
from tests.upgrade.make_dumps import BINARIES


class PostgresPair:
    """Two servers: `primary` takes writes, until it is killed and the standby is promoted."""

    def __init__(self, primary: PostgresServer, place: Path, standby: Path) -> None:
        self.primary = primary
        self._place = place
        self._standby = standby
        # What starts a server must not be root: the owner of the first server's files is not.
        self._user = place.owner() if os.getuid() == 0 else None

    def url(self, name: str) -> str:
        """Return the URL of a database on whichever server takes writes."""
        hosts = f"host={self._place}&host={self._standby}"
        return f"postgresql://postgres@/{name}?{hosts}&target_session_attrs=read-write"

    def standby_url(self, name: str) -> str:
        """Return the URL of a database on the standby, whatever it takes."""
        return f"postgresql://postgres@/{name}?host={self._standby}"

    def start_standby(self) -> None:
        """Copy the primary, let the copy follow it, and have each commit wait for the copy."""
        self._run("pg_basebackup", "-h", self._place, "-U", "postgres", "-D", self._standby,
                  "--write-recovery-conf", "--checkpoint=fast")  # fmt: skip
        # It listens in its own folder, as the primary does; the copy has the primary's lock.
        for file in self._standby.glob(".s.PGSQL*"):
            file.unlink()
        self._control("start", "--wait", "-o", f"-h '' -k {self._standby}")
        self.primary.run("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.primary.run("SELECT pg_reload_conf()")

    def kill_primary(self) -> None:
        """End the primary at once, without a checkpoint."""
        self._control("stop", "--mode=immediate", at=self._place)

    def promote(self) -> None:
        """Make the standby take writes."""
        self._control("promote", "--wait")

    def standby_says(self, question: str) -> object:
        """Return the answer of the standby to a question of one value."""
        with psycopg.connect(self.standby_url("postgres"), autocommit=True) as connection:
            [(answer,)] = connection.execute(question).fetchall()
            return answer

    def remove(self) -> None:
        """Stop both, as far as they run."""
        for place in (self._standby, self._place):
            if (place / "postmaster.pid").exists():
                self._control("stop", "--mode=immediate", at=place)

    def _control(self, verb: str, *options: str, at: Path | None = None) -> None:
        place = at or self._standby
        log = ("--log", str(place / "log")) if verb == "start" else ()
        self._run("pg_ctl", verb, "--pgdata", place, "--silent", *log, *options)

    def _run(self, program: str, *arguments: str | Path) -> None:
        command = [str(BINARIES / program), *map(str, arguments)]
        subprocess.run(command, check=True, timeout=60, user=self._user, cwd="/tmp")


@contextmanager
def postgres_pair(runtime: Path) -> Iterator[PostgresPair]:
    """Run a server with a standby that has all it has; `runtime` is a folder of one's own."""
    folders = [Path(tempfile.mkdtemp(prefix="raytasks-postgres-")) for _ in range(2)]
    place, standby = folders
    server = PostgresServer(place, runtime)
    if os.getuid() == 0:
        shutil.chown(standby, place.owner(), place.group())
    standby.chmod(0o700)
    pair = PostgresPair(server, Path(str(make_url(server.url("x")).query["host"])), standby)
    try:
        yield pair
    finally:
        pair.remove()
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
