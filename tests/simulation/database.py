"""The real store on a real SQLite file, with faults, and with virtual threads to call it in."""

import asyncio
import shutil
import sqlite3
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.exc import ProgrammingError

from raytasks.models import StoreUnavailable
from raytasks.store.database import Database, translated
from raytasks.store.store import Store
from tests.simulation.kinds import Fault, Swarm
from tests.simulation.loop import Process, SimulatedLoop, present_process

_MEMORY = Path("/dev/shm")


class Trouble:
    """What the database suffers from now. Everybody who uses it meets the same."""

    def __init__(self, swarm: Swarm, random: Random) -> None:
        self.away = False
        self.hangs = False
        self.read_only = False
        self.refused = 0
        """How many of the next transactions are refused for a reason that no command has."""
        self.aside = False
        """Whether it is the simulation itself that uses the database: it meets no trouble."""
        self._swarm = swarm
        self._random = random
        self.writes_refused: list[tuple[Process, float]] = []
        self.now: Callable[[], float] = lambda: 0.0

    def end(self) -> None:
        """Have the database be well again."""
        self.away = self.hangs = self.read_only = False
        self.refused = 0

    def before_read(self) -> None:
        """Raise what a reader meets."""
        if self.away and not self.aside:
            raise StoreUnavailable("the server is away")

    def before_write(self) -> None:
        """Raise what a writer meets when it begins."""
        self.before_read()
        if self.read_only and not self.aside:
            self.writes_refused.append((present_process(), self.now()))
            raise StoreUnavailable("attempt to write a readonly database")

    def before_commit(self) -> None:
        """Raise what a writer meets when it has written."""
        if self.aside:
            return
        if self.refused > 0:
            self.refused -= 1
            raise ProgrammingError("", None, sqlite3.ProgrammingError("permission denied"))
        if self._swarm.strikes(Fault.FAILS_BEFORE_COMMIT, self._random):
            raise StoreUnavailable("the connection was lost before the commit")

    def after_commit(self) -> None:
        """Raise what a writer meets when it has committed: the answer may be lost."""
        if self._swarm.strikes(Fault.FAILS_AFTER_COMMIT, self._random):
            raise StoreUnavailable("the connection was lost after the commit")


class FaultyDatabase(Database):
    """The real database, which is in `trouble` now and then."""

    trouble: Trouble
    committed: Callable[[], None]

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """See `Database.writing`."""
        self.trouble.before_write()
        with super().writing() as connection:
            yield connection
            self.trouble.before_commit()
        self.committed()
        self.trouble.after_commit()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """See `Database.reading`."""
        self.trouble.before_read()
        with super().reading() as connection:
            yield connection

    def upgrade(self) -> None:
        """Do nothing: the file has its tables."""
        with translated():
            self.trouble.before_write()

    def close(self) -> None:
        """Keep the connections: the next tracker has the same."""


class SharedStore(Store):
    """The store of one tracker; all have the same connections, as they take turns anyway."""

    def __init__(self, database: Database) -> None:
        super().__init__(str(database.url))
        self._database = database


class Files:
    """The file of all schedules of this process: made once, emptied for each."""

    def __init__(self) -> None:
        parent = _MEMORY if _MEMORY.is_dir() else None
        self._folder = Path(tempfile.mkdtemp(prefix="raytasks-simulation-", dir=parent))
        self.url = f"sqlite:///{self._folder / 'tasks.db'}"
        plain = Store(self.url)
        plain.upgrade()
        plain.close()
        self.database = FaultyDatabase(self.url)
        for engine in (self.database._writer, self.database._reader):
            event.listen(engine, "connect", _do_not_sync)
        self.reader = sqlite3.connect(self._folder / "tasks.db", isolation_level=None)
        self._tables = [
            name
            for (name,) in self.reader.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
            )
            if name not in ("alembic_version", "tracker_epoch") and not name.startswith("sqlite_")
        ]
        self._epoch = self.reader.execute("SELECT * FROM tracker_epoch").fetchone()

    def reset(self) -> None:
        """Empty all tables, so that a schedule finds what a new database has."""
        self.reader.execute("BEGIN IMMEDIATE")
        for table in self._tables:
            self.reader.execute(f"DELETE FROM {table}")
        places = ", ".join("?" * len(self._epoch))
        self.reader.execute("DELETE FROM tracker_epoch")
        self.reader.execute(f"INSERT INTO tracker_epoch VALUES ({places})", self._epoch)
        self.reader.execute("COMMIT")

    def remove(self) -> None:
        """Close and delete the file."""
        self.reader.close()
        Database.close(self.database)
        shutil.rmtree(self._folder, ignore_errors=True)


def _do_not_sync(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA synchronous=OFF")


class VirtualThreads(Executor):
    """Stands for so many threads; what is given to them is run by `Threads`."""

    def __init__(self, number: int, _name: str) -> None:
        self.number = number

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Do nothing: there are no threads."""


@dataclass
class _Pool:
    """The threads of one executor, and what waits for them."""

    threads: int
    executor: object  # kept, so that no other has its id
    busy: int = 0
    queue: deque[tuple[Callable[[], Any], asyncio.Future[Any]]] = field(default_factory=deque)


class Threads:
    """Runs what asyncio gives to executors: each call at one moment, in the order of its executor.

    Between its moment and the caller's hearing of it time passes, so that a process may die between
    a commit and its answer. A call waits while the database hangs.
    """

    def __init__(
        self, loop: SimulatedLoop, random: Random, trouble: Trouble, *, slowness: float
    ) -> None:
        self._loop = loop
        self._random = random
        self._trouble = trouble
        self._slowness = slowness
        self._pools: dict[tuple[Process, int], _Pool] = {}
        self._held: list[Callable[[], None]] = []
        loop.executor = self._submit

    def go_on(self) -> None:
        """Let the calls go on that waited for the database."""
        held, self._held = self._held, []
        for go_on in held:
            go_on()

    def _submit(
        self, executor: VirtualThreads | None, call: Callable[[], Any], future: asyncio.Future[Any]
    ) -> None:
        process = present_process()
        key = (process, id(executor))
        pool = self._pools.get(key)
        if pool is None:
            pool = _Pool(executor.number if executor else 8, executor)
            self._pools[key] = pool
        pool.queue.append((call, future))
        self._begin(process, pool)

    def _begin(self, process: Process, pool: _Pool) -> None:
        while pool.queue and pool.busy < pool.threads:
            call, future = pool.queue.popleft()
            if not future.cancelled():
                pool.busy += 1
                self._go(process, pool, call, future)

    def _go(
        self, process: Process, pool: _Pool, call: Callable[[], Any], future: asyncio.Future[Any]
    ) -> None:
        def carry_out() -> None:
            if self._trouble.hangs:
                self._held.append(lambda: self._later(process, carry_out))
                return
            result: Any = None
            failure: BaseException | None = None
            try:
                result = call()
            except Exception as error:
                failure = error
            self._later(process, lambda: finish(result, failure))

        def finish(result: Any, failure: BaseException | None) -> None:
            pool.busy -= 1
            if not future.done():
                if failure is None:
                    future.set_result(result)
                else:
                    future.set_exception(failure)
            self._begin(process, pool)

        self._later(process, carry_out)

    def _later(self, process: Process, call: Callable[[], None]) -> None:
        seconds = self._random.uniform(0.0001, 0.002) * self._slowness
        self._loop.call_later(seconds, call, context=process.context)
