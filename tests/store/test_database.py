"""Connections: which URLs are taken, and that a database that is away is one kind of trouble."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DataError, IntegrityError, ProgrammingError

from raytasks.model.tasks import StoreUnavailable
from raytasks.protocol.queries import TasksById
from raytasks.store import database as database_module
from raytasks.store import online_upgrade
from raytasks.store.database import Database
from raytasks.store.database_url import (
    DatabaseUrlError,
    parse_url,
    schema_of,
    without_password,
)
from raytasks.store.store import Store
from tests.making import NOW, Tracking, ids, new_task, task_id

OpenStore = Callable[..., Store]


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("sqlite:///./tasks.db", "sqlite+pysqlite"),
        ("sqlite+pysqlite:////data/tasks.db", "sqlite+pysqlite"),
        ("postgresql://user:pw@host:5433/name?sslmode=require", "postgresql+psycopg"),
        ("postgres://user@host/name", "postgresql+psycopg"),
        ("postgresql+psycopg://host/name", "postgresql+psycopg"),
    ],
)
def test_a_url_gets_our_driver_and_keeps_the_rest(url: str, driver: str) -> None:
    parsed = parse_url(url)
    assert parsed.drivername == driver
    rest = parsed.render_as_string(hide_password=False).partition("://")[2]
    assert rest == url.partition("://")[2]


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:pw@a:5432,b:5433/name?target_session_attrs=read-write",
        "postgresql://me:pw@/name?host=a:5432&host=b:5433&target_session_attrs=read-write",
    ],
)
def test_a_url_may_name_several_servers(url: str) -> None:
    parsed = parse_url(url)
    assert parsed.query == {"host": ("a:5432", "b:5433"), "target_session_attrs": "read-write"}
    assert (parsed.username, parsed.password, parsed.database) == ("me", "pw", "name")
    [_, given] = parsed.get_dialect()().create_connect_args(parsed)
    assert (given["host"], given["port"]) == ("a,b", "5432,5433")
    assert "pw" not in without_password(url)


@pytest.mark.parametrize(
    ("url", "schema"),
    [
        ("postgresql://host/name", None),
        ("postgresql://host/name?schema=own&sslmode=require", "own"),
        ("sqlite:///./tasks.db", None),
    ],
)
def test_a_url_may_name_a_schema(url: str, schema: str | None) -> None:
    assert schema_of(url) == schema
    assert "schema" not in parse_url(url).query


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite:///./tasks.db?schema=own", "SQLite has no schemas"),
        ("postgresql://host/name?schema=Own", "'Own' is not a name for a schema"),
        ("", "not a database URL"),
        ("tasks.db", "not a database URL"),
        ("sqlite://", "a database in memory keeps nothing"),
        ("sqlite:///:memory:", "a database in memory keeps nothing"),
        ("sqlite:///file::memory:?uri=true", "a database in memory keeps nothing"),
        ("mysql://host/name", "'mysql' is not supported; use sqlite or postgresql"),
        ("postgresql+asyncpg://host/name", "'postgresql+asyncpg' is not supported"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_in_one_line(url: str, message: str) -> None:
    with pytest.raises(DatabaseUrlError) as caught:
        Database(url)
    assert message in str(caught.value)
    assert str(caught.value).startswith("RAYTASKS_DATABASE_URL: ")
    assert "\n" not in str(caught.value)


def test_a_refused_url_does_not_show_its_password() -> None:
    with pytest.raises(DatabaseUrlError) as caught:
        parse_url("mysql://user:hunter2@host/name")
    assert "hunter2" not in str(caught.value)


class TestSqlite:
    def test_what_was_committed_is_on_disk_before_the_answer(self, sqlite_url: str) -> None:
        database = Database(sqlite_url)
        with database.writing() as connection:
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        database.close()

    def test_another_writer_makes_it_unavailable_and_readers_go_on(
        self, sqlite_url: str, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def hasty(url: Any, **arguments: Any) -> Engine:
            arguments["connect_args"]["timeout"] = 0.05
            return create_engine(url, **arguments)

        monkeypatch.setattr(database_module, "create_engine", hasty)
        store = open_store(sqlite_url)
        tracking = Tracking(store)
        other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="database is locked"):
            tracking.submit(1)
        assert store.read(TasksById([task_id(1)])) == {}
        store.ping()
        other.execute("ROLLBACK")
        other.close()
        tracking.submit(1)
        assert len(store.read(TasksById([task_id(1)]))) == 1

    def test_a_folder_that_is_not_there(self, tmp_path: Path, open_store: OpenStore) -> None:
        store = open_store(f"sqlite:///{tmp_path}/nowhere/tasks.db")
        for call in (store.upgrade, store.ping, store.counts, lambda: store.begin_epoch(NOW)):
            with pytest.raises(StoreUnavailable, match="unable to open database file"):
                call()
        (tmp_path / "nowhere").mkdir()
        store.upgrade()
        assert store.begin_epoch(NOW) == 1

    def test_a_database_that_cannot_be_written(
        self, sqlite_url: str, open_store: OpenStore
    ) -> None:
        store = open_store(sqlite_url)
        tracking = Tracking(store)
        with store._database.writing() as connection:
            connection.exec_driver_sql("PRAGMA query_only = ON")
        with pytest.raises(StoreUnavailable, match="readonly"):
            tracking.submit(1)

    def test_a_full_disk(self, sqlite_url: str, open_store: OpenStore) -> None:
        store = open_store(sqlite_url)
        tracking = Tracking(store)
        with store._database.writing() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 1")
        with pytest.raises(StoreUnavailable, match="full"):
            tracking.submit(1, payload="x" * 500_000)
        assert store.counts() == {}

    def test_a_reader_sees_one_state_while_a_writer_commits(
        self, sqlite_url: str, open_store: OpenStore
    ) -> None:
        store = open_store(sqlite_url)
        tracking = Tracking(store)
        tracking.submit(1)
        question = text("SELECT count(*) FROM tasks")
        with store._database.reading() as connection:
            assert connection.execute(question).scalar() == 1
            tracking.submit(2)
            assert connection.execute(question).scalar() == 1
        assert sum(store.counts().values()) == 2

    def test_a_path_with_odd_letters(self, tmp_path: Path, open_store: OpenStore) -> None:
        store = open_store(f"sqlite:///{tmp_path}/tâsks here.db")
        store.upgrade()
        assert (tmp_path / "tâsks here.db").exists()


class TestPostgresql:
    @pytest.fixture
    def server(self, postgres_server: Any) -> Iterator[Any]:
        """The server, which runs again after the test whatever happens."""
        yield postgres_server
        postgres_server.start()

    def test_a_stopped_server_is_unavailable_until_it_is_back(
        self, server: Any, postgres_url: str, open_store: OpenStore
    ) -> None:
        store = open_store(postgres_url)
        tracking = Tracking(store)
        tracking.submit(1)
        server.stop()
        for _ in range(2):
            for call in (store.ping, store.counts, lambda: tracking.submit(2)):
                with pytest.raises(StoreUnavailable) as caught:
                    call()
                assert "\n" not in str(caught.value)
        server.start()
        store.ping()
        tracking.submit(3)
        assert set(store.read(TasksById([task_id(n) for n in (1, 2, 3)]))) == {
            task_id(1),
            task_id(3),
        }

    def test_a_server_that_was_restarted_costs_at_most_one_failed_write(
        self, server: Any, postgres_url: str, open_store: OpenStore
    ) -> None:
        store = open_store(postgres_url)
        tracking = Tracking(store)
        store.ping()
        server.restart()
        store.ping()
        with pytest.raises(StoreUnavailable):
            tracking.submit(1)
        tracking.submit(1)

    def test_a_connection_that_is_cut_in_a_transaction_writes_nothing(
        self, server: Any, postgres_url: str, open_store: OpenStore
    ) -> None:
        store = open_store(postgres_url)
        tracking = Tracking(store)

        def tick_that_is_cut() -> None:
            with store.transaction(now=NOW) as transaction:
                transaction.submit([new_task(2)])
                connection = transaction._connection
                pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
                server.run(f"SELECT pg_terminate_backend({pid})")
                transaction.promote()

        with pytest.raises(StoreUnavailable):
            tick_that_is_cut()
        tracking.submit(1)
        assert list(store.read(TasksById(ids([1, 2])))) == ids([1])

    def test_a_server_that_only_reads_is_unavailable_for_writes(
        self, server: Any, postgres_url: str, open_store: OpenStore
    ) -> None:
        # What a client meets after a failover, when it is still connected to a standby.
        name = make_url(postgres_url).database
        server.run(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        store = open_store(postgres_url)
        store.ping()
        with pytest.raises(StoreUnavailable, match="read-only"):
            store.begin_epoch(NOW)

    def test_a_host_that_is_not_there(self, tmp_path: Path, open_store: OpenStore) -> None:
        store = open_store(f"postgresql://user@/name?host={tmp_path}")
        with pytest.raises(StoreUnavailable):
            store.ping()

    def test_upgrades_of_two_processes_wait_for_each_other(
        self, server: Any, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server.run("CREATE DATABASE empty")
        try:
            store, other = (open_store(server.url("empty")) for _ in range(2))
            monkeypatch.setattr(online_upgrade, "_LOCK_SECONDS", 0.2)
            with (
                online_upgrade.alone(other._database._reader),
                pytest.raises(StoreUnavailable, match="another process upgrades"),
            ):
                store.upgrade()
            store.upgrade()
            other.upgrade()
            assert store.begin_epoch(NOW) == 1
        finally:
            server.run("DROP DATABASE empty WITH (FORCE)")

    def test_a_value_that_cannot_be_stored_is_another_kind_of_trouble(
        self, postgres_url: str, open_store: OpenStore
    ) -> None:
        tracking = Tracking(open_store(postgres_url))
        with pytest.raises(DataError):
            tracking.submit(1, payload="\x00")


def test_a_mistake_of_ours_is_not_taken_for_an_outage(store: Store) -> None:
    Tracking(store).submit(1)
    with pytest.raises(IntegrityError):
        Tracking(store).submit(1)


def test_a_statement_that_is_wrong_is_not_taken_for_an_outage(
    postgres_url: str, open_store: OpenStore
) -> None:
    store = open_store(postgres_url)
    with pytest.raises(ProgrammingError), store._database.reading() as connection:
        connection.execute(text("SELECT nothing FROM nowhere"))


class TestLogOfSqlite:
    """SQLite's log does not grow for ever, and is short again afterwards."""

    def filled(
        self, sqlite_url: str, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
    ) -> tuple[Tracking, Path]:
        monkeypatch.setattr(database_module, "MAX_LOG_BYTES", 200_000)
        tracking = Tracking(open_store(sqlite_url))
        return tracking, Path(sqlite_url.removeprefix("sqlite:///") + "-wal")

    def test_readers_without_a_pause_do_not_make_it_long(
        self, sqlite_url: str, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each begins before the one before it has ended: the log is never out of use."""
        tracking, log = self.filled(sqlite_url, open_store, monkeypatch)
        monkeypatch.setattr(database_module, "_SHORTEN_SECONDS", 0.0)
        monkeypatch.setattr(database_module, "_SHORTEN_WAIT_MS", 0)
        file = sqlite_url.removeprefix("sqlite:///")
        readers = [sqlite3.connect(file, isolation_level=None) for _ in range(2)]
        sizes = []
        for number in range(40):
            reader = readers[number % 2]
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM tasks").fetchall()
            tracking.submit(number, payload='"' + "x" * 30_000 + '"')
            if number:
                readers[(number + 1) % 2].execute("ROLLBACK")
            sizes.append(log.stat().st_size)
        for reader in readers:
            reader.close()
        tracking.submit(99)
        assert log.stat().st_size <= 200_000

    def test_it_is_emptied_once_a_reader_that_held_a_moment_has_gone(
        self, sqlite_url: str, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tracking, log = self.filled(sqlite_url, open_store, monkeypatch)
        monkeypatch.setattr(database_module, "_SHORTEN_WAIT_MS", 0)
        reader = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM tasks").fetchall()
        for number in range(20):
            tracking.submit(number, payload='"' + "x" * 30_000 + '"')
        assert log.stat().st_size > 400_000
        reader.execute("ROLLBACK")
        tracking.store._database._shorten_at = 0.0
        tracking.submit(50)
        assert log.stat().st_size == 0
        reader.close()
        tracking.submit(51)
        assert len(tracking.store.read(TasksById([task_id(51)]))) == 1
