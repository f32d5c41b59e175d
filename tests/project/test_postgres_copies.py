"""A database that tests use one after the other is as a fresh one for each."""

from typing import Any

import psycopg
import pytest

from raytasks.store.store import Store
from tests.making import Tracking
from tests.postgres_server import PostgresServer


def rows(url: str) -> dict[str, list[Any]]:
    with psycopg.connect(url) as connection:
        names = connection.execute(
            "SELECT oid::regclass::text FROM pg_class"
            " WHERE relkind IN ('r', 'S') AND relnamespace = 'public'::regnamespace"
        ).fetchall()
        return {name: connection.execute(f"SELECT * FROM {name}").fetchall() for (name,) in names}


def test_one_with_other_rows_is_as_a_fresh_one(postgres_server: PostgresServer) -> None:
    fresh = postgres_server.new_database()
    used = postgres_server.copies.take()
    store = Store(used)
    Tracking(store).submit(1, 2)
    assert rows(used) != rows(fresh)
    with psycopg.connect(used) as left:
        left.execute("LOCK TABLE tasks")
        postgres_server.copies.give_back(used)
        with pytest.raises(psycopg.OperationalError):
            left.execute("SELECT 1")
    store.close()
    again = postgres_server.copies.take()
    assert again == used
    assert rows(again) == rows(fresh)
    postgres_server.copies.give_back(again)
    postgres_server.drop(fresh)


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE tasks ADD COLUMN mine integer",
        "DROP INDEX ix_tasks_ready",
        "CREATE TABLE mine (number integer)",
        "CREATE FUNCTION mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
        "CREATE SCHEMA mine",
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_tasks_ready'::regclass",
        "GRANT SELECT ON tasks TO pg_monitor",
        "DO $$BEGIN EXECUTE format("
        "'ALTER DATABASE %I SET default_transaction_read_only = on', current_database()); END$$",
    ],
)
def test_one_that_was_changed_is_not_used_again(
    postgres_server: PostgresServer, change: str
) -> None:
    used = postgres_server.copies.take()
    with psycopg.connect(used, autocommit=True) as connection:
        connection.execute(change)
    postgres_server.copies.give_back(used)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(used)
