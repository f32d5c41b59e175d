"""The disk space of a finished task, with one attempt and a payload of 100 bytes.

    python -m benchmarks.task_size [--tasks N] [--on sqlite postgresql]

Tasks go through the real tracker and store, without Ray. The size is that of all tables and indexes
after `VACUUM`, beyond that of an empty database.
"""

import argparse
import asyncio
import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import replace
from sqlalchemy import create_engine, text

from benchmarks.flow_cost import PLAIN, completed, new_tasks, submit, tracking, working
from benchmarks.servers.postgres import running_postgres
from raytasks.model.tasks import NewTask

KINDS = ["sqlite", "postgresql"]
PAYLOAD = '"' + "x" * 98 + '"'


async def fill(url: str, number: int) -> None:
    """Run so many tasks."""
    async with tracking(url) as tracker:
        await submit(tracker, _with_payload(number))
        async with working(tracker, [PLAIN]):
            await completed(tracker, PLAIN, number)


def _with_payload(number: int) -> Iterator[list[NewTask]]:
    for batch in new_tasks(PLAIN, number):
        yield [replace(task, payload=PAYLOAD) for task in batch]


def size_of(url: str) -> int:
    """Return the bytes of a database after `VACUUM`."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.execute(text("VACUUM"))
            if engine.dialect.name == "sqlite":
                connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
                return Path(engine.url.database or "").stat().st_size
            query = text("SELECT pg_database_size(current_database())")
            return int(connection.execute(query).scalar_one())
    finally:
        engine.dispose()


async def _start(url: str) -> None:
    async with tracking(url):
        pass


def bytes_per_task(url: str, number: int) -> float:
    """Return the bytes that each of so many tasks takes in an empty database."""
    asyncio.run(_start(url))
    empty = size_of(url)
    asyncio.run(fill(url, number))
    return (size_of(url) - empty) / number


def main() -> None:
    """Measure, and print a line for each database."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--on", nargs="*", default=KINDS, choices=KINDS)
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="task-size-"))
        for kind in given.on:
            if kind == "postgresql":
                url = stack.enter_context(running_postgres()).new_database()
            else:
                url = f"sqlite:///{folder}/tasks.db"
            print(f"{kind:<12} {bytes_per_task(url, given.tasks):>8.0f} bytes a task")


if __name__ == "__main__":
    main()
