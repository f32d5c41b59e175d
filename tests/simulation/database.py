"""The real store on a real SQLite file, with faults, and with virtual threads to call it in."""

import asyncio
import shutil
import sqlite3
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.exc import ProgrammingError

from raytasks.model.tasks import StoreUnavailable
from raytasks.store.cursors import Direct
from raytasks.store.cutting import Cuttable
from raytasks.store.database import Database, translated
from raytasks.store.store import Store
from tests.simulation.kinds import Fault, Swarm
from tests.simulation.loop import Process, SimulatedLoop, present_process

_MEMORY = Path("/dev/shm")


Call = Callable[[], Any]


class Trouble:
    """The database's troubles now. All its users meet the same."""

    def __init__(self, swarm: Swarm, random: Random) -> None:
        self.away = False
        self.hangs = False
        self.read_only = False
        self.refused = 0
        """How many of the next transactions are refused for a reason that no command has."""
        self.poisoned: dict[tuple[str, int], float] = {}
        """Outcomes (task id, attempt) that are refused, and until when."""
        self.refuses_this = False
        """Whether the present transaction has one of them."""
        self.aside = False
        """Whether it is the simulation itself that uses the database: it meets no trouble."""
        self._swarm = swarm
        self._random = random
        self.now: Callable[[], float] = lambda: 0.0
        self.seen_at = 0.0
        """When somebody met trouble last."""
        self._writes_refused: list[tuple[Process, float]] = []

    def end(self) -> None:
        """Have the database be well again."""
        self.away = self.hangs = self.read_only = False
        self.refused = 0
        self.poisoned.clear()
        self.seen_at = self.now()

    @contextmanager
    def poisoning(self, keys: Iterable[tuple[str, int]]) -> Iterator[None]:
        """Refuse the transaction in this block if it has an outcome that is refused, or is now."""
        now = self.now()
        for key in keys:
            if key not in self.poisoned and self._swarm.strikes(
                Fault.OUTCOME_REFUSED, self._random
            ):
                self.poisoned[key] = now + self._random.choice((0.5, 3.0, 60.0))
            self.refuses_this = self.refuses_this or self.poisoned.get(key, 0.0) > now
        try:
            yield
        finally:
            self.refuses_this = False

    def take_refused(self) -> list[tuple[Process, float]]:
        """Return the writes that were refused since the last time, and when."""
        refused, self._writes_refused = self._writes_refused, []
        return refused

    def before_read(self) -> None:
        """Raise what a reader meets."""
        if self.hangs:
            self.seen_at = self.now()
        if self.away and not self.aside:
            self.seen_at = self.now()
            raise StoreUnavailable("the server is away")

    def before_write(self) -> None:
        """Raise what a writer meets when it begins."""
        if self.away and not self.aside:
            self._writes_refused.append((present_process(), self.now()))
        self.before_read()
        if self.read_only and not self.aside:
            self.seen_at = self.now()
            self._writes_refused.append((present_process(), self.now()))
            raise StoreUnavailable("attempt to write a readonly database")

    def before_commit(self) -> None:
        """Raise what a writer meets when it has written."""
        if self.aside:
            return
        if self.refuses_this:
            self.seen_at = self.now()
            raise ProgrammingError("", None, sqlite3.ProgrammingError("permission denied"))
        if self.refused > 0:
            self.refused -= 1
            self.seen_at = self.now()
            raise ProgrammingError("", None, sqlite3.ProgrammingError("permission denied"))
        if self._swarm.strikes(Fault.FAILS_BEFORE_COMMIT, self._random):
            self.seen_at = self.now()
            raise StoreUnavailable("the connection was lost before the commit")

    def after_commit(self) -> None:
        """Raise what a writer meets when it has committed: the answer may be lost."""
        if self._swarm.strikes(Fault.FAILS_AFTER_COMMIT, self._random):
            self.seen_at = self.now()
            raise StoreUnavailable("the connection was lost after the commit")


class FaultyDatabase(Database):
    """The real database, which is in `trouble` now and then."""

    trouble: Trouble
    committed: Callable[[], None]

    @contextmanager
    def writing_directly(self) -> Iterator[tuple[Connection, Direct]]:
        """See `Database.writing_directly`, which `writing` uses."""
        self.trouble.before_write()
        with super().writing_directly() as both:
            yield both
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
    """Stands for so many threads of one process."""

    def __init__(self, threads: "Threads", number: int) -> None:
        self._threads = threads
        self._number = number
        self._busy = 0
        self._queue: deque[tuple[Future[Any], Call, Call]] = deque()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **more: Any) -> Future[Any]:
        """Have a call made in its turn."""
        future: Future[Any] = Future()
        # What a call is without its `Cuttable`: a server carries it out that nobody waits for.
        bare = args[0] if isinstance(getattr(fn, "__self__", None), Cuttable) else fn
        self._queue.append((future, partial(fn, *args, **more), bare))
        self._begin(present_process())
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Do nothing: there are no threads."""

    def _begin(self, process: Process) -> None:
        while self._queue and self._busy < self._number:
            future, call, bare = self._queue.popleft()
            if future.set_running_or_notify_cancel():
                self._busy += 1
                self._threads.carry_out(process, call, bare, partial(self._finish, process, future))

    def _finish(
        self, process: Process, future: Future[Any], result: Any, failure: BaseException | None
    ) -> None:
        self._busy -= 1
        if failure is None:
            future.set_result(result)
        else:
            future.set_exception(failure)
        self._begin(process)


class Threads:
    """Runs what is given to executors: each call at one moment, in the order of its executor.

    Time passes between that moment and the caller's answer, so that a process may die between
    a commit and its answer. While the database hangs, a call waits; or it was made, and its answer
    waits. Or the server makes it in the end, though its caller has given it up long ago.
    """

    def __init__(
        self, loop: SimulatedLoop, random: Random, trouble: Trouble, *, slowness: float
    ) -> None:
        self._loop = loop
        self._random = random
        self._trouble = trouble
        self._slowness = slowness
        self._others: dict[Process, VirtualThreads] = {}
        self._held: list[Call] = []
        loop.executor = self._run_for_asyncio

    def make(self, number: int, _name: str) -> VirtualThreads:
        """Return so many threads for the store of a tracker."""
        return VirtualThreads(self, number)

    def go_on(self) -> None:
        """Let the calls go on that waited for the database."""
        held, self._held = self._held, []
        for go_on in held:
            go_on()

    def carry_out(
        self,
        process: Process,
        call: Call,
        bare: Call,
        finish: Callable[[Any, BaseException | None], None],
    ) -> None:
        """Make a call in a process, some time from now, and tell what came of it."""

        def make(call: Call) -> None:
            result: Any = None
            failure: BaseException | None = None
            try:
                result = call()
            except Exception as error:
                failure = error
            if self._trouble.hangs:
                self._held.append(lambda: self._later(process, lambda: finish(result, failure)))
            else:
                self._later(process, lambda: finish(result, failure))

        def begin() -> None:
            if not self._trouble.hangs:
                make(call)
                return
            match self._random.choice(("waits", "was made", "is made in the end")):
                case "waits":
                    self._held.append(lambda: make(call))
                case "was made":
                    make(call)
                case _:
                    self._held.append(lambda: make(bare))

        self._later(process, begin)

    def _run_for_asyncio(self, call: Call, future: asyncio.Future[Any]) -> None:
        process = present_process()
        others = self._others.get(process)
        if others is None:
            others = self._others[process] = VirtualThreads(self, 8)
        done = asyncio.wrap_future(others.submit(call), loop=self._loop)
        done.add_done_callback(lambda _: _copy(done, future))

    def _later(self, process: Process, call: Callable[[], None]) -> None:
        seconds = self._random.uniform(0.0001, 0.002) * self._slowness
        self._loop.call_later(seconds, call, context=process.context)


def _copy(done: asyncio.Future[Any], future: asyncio.Future[Any]) -> None:
    if future.done():
        return
    error = done.exception()
    if error is None:
        future.set_result(done.result())
    else:
        future.set_exception(error)
