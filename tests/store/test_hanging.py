"""A database that hangs, refuses to write, or loses its file: every call ends, and says why."""

import asyncio
import os
import signal
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import make_url

from raytasks.model.tasks import StoreUnavailable
from raytasks.protocol.commands import CancelTask
from raytasks.protocol.queries import Health, TasksById
from raytasks.store import database, postgres_sessions
from raytasks.store import store_calls as calls_module
from raytasks.store.store import Store
from raytasks.store.store_calls import StoreCalls, patiently
from raytasks.store.task_reads import PostgresPoints
from raytasks.tracker import access, backlog
from raytasks.tracker.core import Tracker
from tests.making import Tracking, new_task, task_id
from tests.tracking import PATIENCE, tracker_on

OpenStore = Callable[..., Store]


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(postgres_sessions._TIMEOUTS, "lock_timeout", "200")
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.2)
    monkeypatch.setattr(access, "_OUTAGE_DELAYS", (0.01, 0.05))
    monkeypatch.setattr(backlog, "ANSWER_SECONDS", 1.0)


@contextmanager
def locked(url: str) -> Iterator[None]:
    """Hold a lock that lets nobody write, as another program may."""
    if url.startswith("sqlite"):
        other = sqlite3.connect(make_url(url).database or "", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
    else:
        other = psycopg.connect(url)  # type: ignore[assignment]
        other.execute("LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE")
    try:
        yield
    finally:
        other.rollback()
        other.close()


@contextmanager
def frozen(url: str) -> Iterator[list[int]]:
    """Stop the server's processes for all that are connected to a database now; yield their ids."""
    with psycopg.connect(url, autocommit=True) as admin:
        rows = admin.execute(
            "SELECT pid FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchall()
    for (pid,) in rows:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield [pid for (pid,) in rows]
    finally:
        for (pid,) in rows:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def gone(url: str, pids: list[int]) -> None:
    """Wait until these processes of the server have ended."""
    there = "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY(%s)"
    with psycopg.connect(url, autocommit=True) as admin:
        deadline = time.monotonic() + PATIENCE
        while admin.execute(there, [pids]).fetchone() != (0,):
            assert time.monotonic() < deadline, "the server's processes go on"
            time.sleep(0.01)


def submit(store: Store, epoch: int) -> None:
    """Submit a task in a transaction of its own."""
    with store.transaction(now=1.0) as transaction:
        transaction.renew(epoch)
        transaction.submit([new_task(1)])
        transaction.finish()


@asynccontextmanager
async def calling(store: Store) -> AsyncIterator[StoreCalls]:
    calls = StoreCalls(2, "test", on_stuck=store.give_up_connections)
    yield calls
    await calls.close()


async def get_stuck(calls: StoreCalls, call: Callable[[], object], seconds: float) -> None:
    """Make a call that gets stuck, again while it had no thread or too little time to do so."""
    before = calls._stuck
    async with asyncio.timeout(PATIENCE):
        while calls._stuck == before:
            with pytest.raises(StoreUnavailable, match="does not answer"):
                await calls.make(call, seconds)


async def recovers(tracker: Tracker, number: int) -> None:
    """Submit a task until that works."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(StoreUnavailable):
                await tracker.submit([new_task(number)])
                return


class TestCalls:
    async def test_a_call_of_a_frozen_server_is_cut_and_the_next_one_goes_on(
        self, postgres_url: str, open_store: OpenStore
    ) -> None:
        store = open_store(postgres_url)
        async with calling(store) as calls:
            await calls.make(store.ping, PATIENCE)
            with frozen(postgres_url):
                with pytest.raises(StoreUnavailable, match="does not answer"):
                    await calls.make(patiently(store.ping), 0.2)
                await calls.make(patiently(store.ping), PATIENCE)
            assert calls._stuck == 0

    async def test_a_cancelled_call_is_cut_at_its_deadline_too(
        self, postgres_url: str, open_store: OpenStore
    ) -> None:
        store = open_store(postgres_url)
        calls = StoreCalls(1, "test", on_stuck=store.give_up_connections)
        await calls.make(store.ping, PATIENCE)
        began = threading.Event()

        def ping() -> None:
            began.set()
            store.ping()

        with frozen(postgres_url):
            caller = asyncio.ensure_future(calls.make(ping, 0.5))
            assert await asyncio.to_thread(began.wait, PATIENCE)
            caller.cancel()
            with pytest.raises(asyncio.CancelledError):
                await caller
            await calls.make(patiently(store.ping), PATIENCE)
        assert calls._stuck == 0
        await calls.close()

    async def test_point_reads_of_a_frozen_server_are_cut(
        self, postgres_url: str, open_store: OpenStore
    ) -> None:
        points = PostgresPoints(postgres_url)
        async with calling(open_store(postgres_url)) as calls:
            await calls.make(lambda: points.read([task_id(1)]), PATIENCE)
            with frozen(postgres_url), pytest.raises(StoreUnavailable, match="does not answer"):
                await calls.make(lambda: points.read([task_id(1)]), 0.2)
            await calls.make(patiently(lambda: points.read([task_id(1)])), PATIENCE)
        points.close()

    async def test_a_write_that_was_cut_is_not_committed_later(
        self, store_url: str, open_store: OpenStore
    ) -> None:
        store = open_store(store_url)
        tracking = Tracking(store)
        thaw = threading.Event()

        def write() -> None:
            with store.transaction(now=1.0) as transaction:
                transaction.submit([new_task(1)])
                transaction.finish()
                assert thaw.wait(PATIENCE)

        async with calling(store) as calls:
            await get_stuck(calls, write, 0.2)
            assert calls._stuck == 1
            thaw.set()
            await calls.make(lambda: store.renew(tracking.epoch, 2.0), PATIENCE)
            assert await calls.make(lambda: store.read(TasksById([task_id(1)])), PATIENCE) == {}
            async with asyncio.timeout(PATIENCE):
                while calls._stuck:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)

    async def test_a_write_that_a_frozen_server_has_got_is_not_committed_when_it_goes_on(
        self, postgres_url: str, open_store: OpenStore
    ) -> None:
        store = open_store(postgres_url)
        epoch = Tracking(store).epoch

        def write() -> None:
            with store.transaction(now=1.0) as transaction:
                transaction.renew(epoch, only_lock=True)
                transaction.submit([new_task(1)])
                transaction.finish()

        async with calling(store) as calls:
            await calls.make(lambda: store.renew(epoch, 1.0), PATIENCE)
            with frozen(postgres_url) as pids:
                with pytest.raises(StoreUnavailable, match="does not answer"):
                    await calls.make(patiently(write), 0.2)
                await calls.make(patiently(lambda: store.renew(epoch, 2.0)), PATIENCE)
            await asyncio.to_thread(gone, postgres_url, pids)
            assert await calls.make(lambda: store.read(TasksById([task_id(1)])), PATIENCE) == {}

    async def test_a_cheap_write_waits_for_the_transactions_before_it(
        self, store_url: str, open_store: OpenStore
    ) -> None:
        store, other = open_store(store_url), open_store(store_url)
        epoch = Tracking(store).epoch
        with store.transaction(now=1.0) as transaction:
            transaction.renew(epoch)
            transaction.finish()
            assert transaction.connection  # what was sent together is carried out by now
            with pytest.raises(StoreUnavailable, match="lock"):
                other.renew(epoch, 2.0)
        other.renew(epoch, 2.0)

    async def test_threads_that_are_stuck_are_replaced_up_to_a_limit(
        self, sqlite_url: str, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(calls_module, "_LAST_SECONDS", 0.01)
        thaw = threading.Event()
        async with calling(open_store(sqlite_url)) as calls:
            for number in range(1, calls_module.MAX_STUCK + 1):
                assert await calls.make(lambda: 1, PATIENCE) == 1
                await get_stuck(calls, lambda: thaw.wait(PATIENCE), 0.01)
                assert calls._stuck == number
            begun_at = time.monotonic()
            with pytest.raises(StoreUnavailable, match="does not answer"):
                await calls.make(lambda: 1, PATIENCE)
            assert time.monotonic() - begun_at < 1
            thaw.set()
            async with asyncio.timeout(PATIENCE):
                while calls._stuck:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
            assert await calls.make(lambda: 2, PATIENCE) == 2

    async def test_an_error_before_the_commit_leaves_nothing_in_doubt(
        self, store_url: str, open_store: OpenStore
    ) -> None:
        store = open_store(store_url)
        epoch = Tracking(store).epoch

        with locked(store_url), pytest.raises(StoreUnavailable) as caught:
            submit(store, epoch)
        assert not caught.value.in_doubt

    def test_a_refusal_that_comes_with_the_commit_leaves_nothing_in_doubt(
        self, postgres_url: str, open_store: OpenStore
    ) -> None:
        store = open_store(postgres_url)
        epoch = Tracking(store).epoch

        with psycopg.connect(postgres_url) as other:
            other.execute("LOCK TABLE tasks")
            with pytest.raises(StoreUnavailable, match="lock timeout") as caught:
                submit(store, epoch)
        assert not caught.value.in_doubt
        submit(store, epoch)


class TestTracker:
    async def test_a_lock_that_somebody_holds(self, store_url: str) -> None:
        async with tracker_on(Store(store_url)) as tracker:
            await tracker.submit([new_task(1)])
            with locked(store_url):
                for call in (
                    tracker.submit([new_task(2)]),
                    tracker.execute(CancelTask(task_id(1))),
                ):
                    with pytest.raises(StoreUnavailable):
                        await call
                report = await tracker.read(Health())
                assert not report["database"]["ok"]
                assert "lock" in report["database"]["error"]
                assert report["tracker"]["seconds_since_commit"] > 0.2
            await recovers(tracker, 3)
            assert (await tracker.read(Health()))["database"] == {"ok": True, "error": None}

    async def test_a_server_that_is_frozen(self, postgres_url: str) -> None:
        async with tracker_on(Store(postgres_url)) as tracker:
            await tracker.submit([new_task(1)])
            with frozen(postgres_url):
                with pytest.raises(StoreUnavailable):
                    await tracker.submit([new_task(2)])
                with pytest.raises(StoreUnavailable):
                    await tracker.execute(CancelTask(task_id(1)))
            await recovers(tracker, 3)

    async def test_a_start_behind_a_lock(self, store_url: str) -> None:
        tracker = Tracker(Store(store_url))
        with locked(store_url):
            starting = asyncio.ensure_future(tracker.start())
            if store_url.startswith("sqlite"):
                with pytest.raises(StoreUnavailable):
                    await tracker.submit([new_task(1)])
                assert not (await tracker.read(Health()))["database"]["ok"]
        await asyncio.wait_for(starting, PATIENCE)
        await tracker.close()

    async def test_a_server_that_only_reads(self, postgres_url: str) -> None:
        async with tracker_on(Store(postgres_url)) as tracker:
            await tracker.submit([new_task(1)])
            name = make_url(postgres_url).database
            with psycopg.connect(postgres_url, autocommit=True) as admin:
                admin.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
                admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
                async with asyncio.timeout(PATIENCE):
                    while "read-only" not in str(tracker.ticker.access.error):
                        with pytest.raises(StoreUnavailable):
                            await tracker.submit([new_task(2)])
                assert set(await tracker.read(TasksById([task_id(1)]))) == {task_id(1)}
                report = await tracker.read(Health())
                assert "read-only" in report["database"]["error"]
                admin.execute("SET default_transaction_read_only = off")
                admin.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
                admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            await recovers(tracker, 3)

    async def test_a_file_that_cannot_grow(self, sqlite_url: str) -> None:
        store = Store(sqlite_url)
        async with tracker_on(store) as tracker:
            await tracker.submit([new_task(1)])

            def limit(pages: int) -> None:
                with store._database.writing() as connection:
                    connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")

            await tracker.ticker.access.write(lambda: limit(1))
            for number in (2, 3):
                with pytest.raises(StoreUnavailable):
                    await tracker.submit([new_task(number, payload='"' + 30_000 * "x" + '"')])
                assert (await tracker.read(Health()))["database"][
                    "error"
                ] == "database or disk is full"
            await tracker.ticker.access.write(lambda: limit(1_000_000))
            await recovers(tracker, 4)
            assert (await tracker.read(Health()))["database"]["ok"]


class TestFile:
    async def test_one_that_is_deleted_takes_no_more_tasks(self, sqlite_url: str) -> None:
        path = Path(make_url(sqlite_url).database or "")
        async with tracker_on(Store(sqlite_url)) as tracker:
            await tracker.submit([new_task(1)])
            aside = str(path) + ".aside"
            os.rename(path, aside)
            with pytest.raises(StoreUnavailable):
                await tracker.submit([new_task(2)])
            report = await tracker.read(Health())
            assert "was deleted or moved" in report["database"]["error"]
            os.close(os.open(path, os.O_CREAT))  # another one in its place
            with pytest.raises(StoreUnavailable):
                await tracker.submit([new_task(3)])
            assert os.stat(path).st_size == 0
            os.rename(aside, path)
            await recovers(tracker, 4)
            assert set(await tracker.read(TasksById([task_id(i) for i in range(5)]))) == {
                task_id(1),
                task_id(4),
            }

    def test_no_new_one_is_made_under_its_name(self, sqlite_url: str) -> None:
        path = Path(make_url(sqlite_url).database or "")
        store = Store(sqlite_url)
        tracking = Tracking(store)
        store.close()
        path.unlink()
        with pytest.raises(StoreUnavailable, match="was deleted or moved"):
            tracking.submit(1)
        assert not path.exists()


class TestUpgrade:
    def test_tables_of_a_newer_version(self, store_url: str, open_store: OpenStore) -> None:
        store = open_store(store_url)
        with store._database.writing() as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        with pytest.raises(StoreUnavailable, match=r"revision 9999.*newer version"):
            store.upgrade()

    def test_tables_of_somebody_else(self, tmp_path: Path, open_store: OpenStore) -> None:
        path = tmp_path / "other.db"
        with sqlite3.connect(path) as other:
            other.execute("CREATE TABLE tasks (id INTEGER)")
        with pytest.raises(StoreUnavailable, match="tasks"):
            open_store(f"sqlite:///{path}").upgrade()

    async def test_a_tracker_waits_and_says_so(self, sqlite_url: str) -> None:
        store = Store(sqlite_url)
        with store._database.writing() as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        tracker = Tracker(store)
        starting = asyncio.ensure_future(tracker.start())
        with pytest.raises(StoreUnavailable):
            await tracker.submit([new_task(1)])
        assert "9999" in (await tracker.read(Health()))["database"]["error"]
        assert not starting.done()
        starting.cancel()
        await tracker.close()
