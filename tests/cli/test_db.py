"""`raytasks db`: status, backup, and the script of an upgrade; errors in one line."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raytasks.store.tables_upgrade import head
from tests.postgres_server import PostgresServer

Run = Callable[..., Any]


def test_the_state_is_shown(run: Run, store_url: str) -> None:
    done = run("db", "status", "--database-url", store_url)
    assert done.code == 0, done.err
    assert f"of revision {head()}, up to date" in done.out
    assert "tracker_epoch" in done.out
    done = run("db", "status", "--database-url", store_url, "--json")
    assert json.loads(done.out)["revision"] == head()


def test_an_old_database_is_a_1(run: Run, tmp_path: Path) -> None:
    (tmp_path / "tasks.db").touch()
    done = run("db", "status", "--database-url", f"sqlite:///{tmp_path}/tasks.db")
    assert done.code == 1
    assert "'raytasks up' or 'raytasks db upgrade' makes those" in done.out


def test_tables_of_others_are_a_2_in_one_line(run: Run, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "tasks.db") as database:
        database.execute("CREATE TABLE tasks (id integer)")
    database.close()
    done = run("db", "upgrade", "--database-url", f"sqlite:///{tmp_path}/tasks.db")
    assert done.code == 2
    assert done.err == (
        "error: RAYTASKS_DATABASE_URL: the database has something named 'tasks' that raytasks has "
        "not made; set RAYTASKS_DATABASE_URL to a file of its own; nothing was changed\n"
    )


def test_a_backup_is_a_file(run: Run, sqlite_url: str, tmp_path: Path) -> None:
    done = run("db", "backup", "copy.db", "--database-url", sqlite_url)
    assert done.code == 0, done.err
    assert done.out.startswith("copy.db: ")
    assert (tmp_path / "copy.db").stat().st_size > 100_000
    again = run("db", "backup", "copy.db", "--database-url", sqlite_url)
    assert (again.code, again.err) == (
        2, "error: copy.db is there already; name a new file\n",
    )  # fmt: skip


class TestScript:
    def test_it_is_printed_and_nothing_is_done(
        self, run: Run, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        postgres_server.run("CREATE DATABASE printed")
        url = postgres_server.url("printed")
        monkeypatch.setenv("RAYTASKS_DATABASE_SCHEMA", "own")
        for _ in range(2):
            done = run("db", "upgrade", "--sql", "--database-url", url)
            assert done.code == 0, done.err
            assert done.out.startswith('CREATE SCHEMA IF NOT EXISTS "own";\n')
            assert "CREATE TABLE tasks" in done.out
        assert run("db", "upgrade", "--database-url", url).code == 0
        done = run("db", "upgrade", "--sql", "--database-url", url)
        assert done.out == "-- the database is up to date\n"
        postgres_server.drop(url)

    def test_sqlite_has_none(self, run: Run, sqlite_url: str) -> None:
        done = run("db", "upgrade", "--sql", "--database-url", sqlite_url)
        assert done.code == 2
        assert done.err.startswith("error: --sql: for PostgreSQL only")
