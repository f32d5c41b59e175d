"""Backups: one moment of a database that is in use, restored to where the tasks go on."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import inspect

from raytasks.model.schema_names import with_schema
from raytasks.model.states import OutcomeKind, State
from raytasks.store.all_tables import TABLE_NAMES
from raytasks.store.backup import BackupFailed, back_up, dump_command
from raytasks.store.database import Database
from raytasks.store.store import Store
from raytasks.store.tables_upgrade import VERSION_TABLE
from tests.making import NOW, Tracking, counted
from tests.postgres_server import PostgresServer
from tests.upgrade.make_dumps import BINARIES

OpenStore = Callable[..., Store]


@pytest.fixture(autouse=True)
def _servers_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{BINARIES}:{os.environ['PATH']}")


def filled(store: Store) -> Tracking:
    """Return a store with tasks that wait, run and have ended, and a version of the handlers."""
    tracking = Tracking(store)
    tracking.submit(1, 2, 3)
    [first, _] = tracking.claim(capacity=2)
    tracking.settle(first, OutcomeKind.SUCCEEDED)
    store.number_version(tracking.epoch, "token-1", "g", {}, NOW)
    return tracking


def check_it_goes_on(store: Store) -> None:
    """Check that a service goes on with what `filled` has left."""
    store.upgrade()
    assert counted(store.counts()) == {
        ("short", State.PENDING): 1,
        ("short", State.RUNNING): 1,
        ("short", State.COMPLETED): 1,
    }
    tracking = Tracking(store)
    assert len(tracking.claim()) == 1
    row, is_new = store.number_version(tracking.epoch, "token-2", "g", {}, NOW)
    assert (row.number, is_new) == (2, True)


def test_every_table_is_known(store_url: str) -> None:
    database = Database(store_url)
    with database.reading() as connection:
        there = set(inspect(connection).get_table_names())
    database.close()
    assert there - {"sqlite_sequence"} == {*TABLE_NAMES, VERSION_TABLE}


class TestSqlite:
    def test_a_copy_of_one_moment_goes_on(
        self, sqlite_url: str, tmp_path: Path, open_store: OpenStore
    ) -> None:
        tracking, copy = filled(open_store(sqlite_url)), tmp_path / "copy.db"
        with tracking.store._database.writing():  # a writer does not hinder it
            size = back_up(sqlite_url, copy)
        assert [file.name for file in tmp_path.glob("copy*")] == ["copy.db"]
        assert copy.stat().st_size == size
        tracking.submit(4)
        check_it_goes_on(open_store(f"sqlite:///{copy}"))

    def test_a_file_that_is_there_is_kept(self, sqlite_url: str, tmp_path: Path) -> None:
        (tmp_path / "copy.db").write_text("mine")
        with pytest.raises(BackupFailed, match="is there already; name a new file"):
            back_up(sqlite_url, tmp_path / "copy.db")
        assert (tmp_path / "copy.db").read_text() == "mine"

    @pytest.mark.parametrize("content", [b"mine", b""])
    def test_a_part_of_another_name_is_not_ours(
        self, sqlite_url: str, tmp_path: Path, open_store: OpenStore, content: bytes
    ) -> None:
        part = tmp_path / "copy.db.part"
        part.write_bytes(content)
        filled(open_store(sqlite_url))
        back_up(sqlite_url, tmp_path / "copy.db")
        assert part.read_bytes() == content

    def test_without_tables_there_is_none(self, tmp_path: Path) -> None:
        (tmp_path / "empty.db").touch()
        with pytest.raises(BackupFailed, match="no tables of raytasks"):
            back_up(f"sqlite:///{tmp_path}/empty.db", tmp_path / "copy.db")
        assert not list(tmp_path.glob("copy*"))


class TestPostgresql:
    @pytest.fixture
    def restored_url(self, postgres_server: PostgresServer) -> Iterator[str]:
        """An empty database to restore into."""
        postgres_server.run("CREATE DATABASE restored")
        yield postgres_server.url("restored")
        postgres_server.drop(postgres_server.url("restored"))

    @pytest.mark.parametrize("schema", [None, "own"])
    def test_a_dump_is_restored_and_goes_on(
        self,
        postgres_url: str,
        restored_url: str,
        tmp_path: Path,
        schema: str | None,
        open_store: OpenStore,
    ) -> None:
        with psycopg.connect(postgres_url, autocommit=True) as users:
            users.execute("CREATE TABLE invoices (id integer)")
        place, target = postgres_url, restored_url
        if schema is not None:
            place, target = with_schema(place, schema), with_schema(target, schema)
        store = open_store(place)
        store.upgrade()
        filled(store)
        file = tmp_path / "tasks.dump"
        assert back_up(place, file) == file.stat().st_size > 1000
        restore = ["pg_restore", "--no-owner", "--exit-on-error", f"--dbname={restored_url}"]
        subprocess.run([*restore, str(file)], check=True, timeout=60)
        check_it_goes_on(open_store(target))
        with psycopg.connect(restored_url) as connection:
            submit = f"SELECT {schema or 'public'}.raytasks_submit_v1('short', '{{}}')"
            assert connection.execute(submit).fetchone() is not None
            question = "SELECT to_regclass('invoices')"
            assert connection.execute(question).fetchone() == (None,)

    def test_the_password_is_not_among_the_arguments(self) -> None:
        database = Database("postgresql://me:hunter2@a:5432,b:5433/name?schema=own&sslmode=require")
        command, environment = dump_command(database, Path("x.dump"))
        assert environment == {"PGPASSWORD": "hunter2"}
        assert command == [
            "pg_dump", "--format=custom", "--no-owner", "--file=x.dump", "--schema=own",
            "dbname=name host=a,b port=5432,5433 sslmode=require user=me",
        ]  # fmt: skip

    def test_without_pg_dump_the_command_is_told(
        self, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shutil, "which", lambda _: None)
        with pytest.raises(BackupFailed, match="run it where it is: pg_dump --format=custom"):
            back_up(postgres_url, tmp_path / "tasks.dump")
        assert not list(tmp_path.glob("tasks.dump*"))

    def test_what_pg_dump_says_is_told(
        self, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        program = tmp_path / "pg_dump"
        program.write_text("#!/bin/sh\necho 'pg_dump: error: no space' >&2\nexit 1\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        with pytest.raises(BackupFailed, match=r"^pg_dump: error: no space$"):
            back_up(postgres_url, tmp_path / "tasks.dump")
        assert not list(tmp_path.glob("tasks.dump*"))

    def test_a_folder_that_is_not_there_is_told(self, postgres_url: str, tmp_path: Path) -> None:
        with pytest.raises(BackupFailed, match=r"nowhere/tasks\.dump: No such file"):
            back_up(postgres_url, tmp_path / "nowhere" / "tasks.dump")
