"""The upgrade of the tables: what is refused without a change, and the script of its statements."""

import re
from collections.abc import Callable
from contextlib import closing

import psycopg
import pytest
from sqlalchemy import create_engine, inspect, text

from raytasks.model.lane_names import lane_of
from raytasks.model.schema_names import with_schema
from raytasks.store.database import Database
from raytasks.store.database_url import parse_url
from raytasks.store.store import Store
from raytasks.store.tables_upgrade import TablesRefused, head
from tests.making import NOW
from tests.postgres_server import PostgresServer
from tests.store import test_upgrade as upgrades
from tests.store.test_upgrade import empty_url

OpenStore = Callable[..., Store]

__all__ = ["empty_url"]


def execute(url: str, *statements: str) -> None:
    engine = create_engine(parse_url(url))
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def content(url: str) -> dict[str, list[str]]:
    """Return the tables of a database with their columns."""
    engine = create_engine(parse_url(url))
    found = inspect(engine)
    tables = {
        table: [column["name"] for column in found.get_columns(table)]
        for table in found.get_table_names()
    }
    engine.dispose()
    return tables


_REVISION = "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)"


@pytest.mark.parametrize(
    ("statements", "message"),
    [
        (["CREATE TABLE tasks (id integer)"], "something named 'tasks' that raytasks has not made"),
        (["CREATE TABLE pauses (id integer)"], "named 'pauses' that raytasks has not made"),
        (
            [_REVISION, "INSERT INTO alembic_version VALUES ('9999')"],
            f"of revision 9999, which this version of raytasks (up to {head()}) does not know",
        ),
        (
            [_REVISION, "INSERT INTO alembic_version VALUES ('0003')"],
            "the table alembic_version is another program's",
        ),
        (
            [_REVISION, f"INSERT INTO alembic_version VALUES ('{head()}')"],
            "the table alembic_version is another program's",
        ),
    ],
    ids=["tasks", "pauses", "newer", "their-0003", "their-head"],
)
def test_tables_of_others_get_one_line_and_stay(
    empty_url: str, statements: list[str], message: str, open_store: OpenStore
) -> None:
    execute(empty_url, *statements)
    before = content(empty_url)
    with pytest.raises(TablesRefused) as caught:
        open_store(empty_url).upgrade()
    assert message in str(caught.value)
    assert "DATABASE_" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert content(empty_url) == before


class TestScript:
    """`raytasks db upgrade --sql`, carried out by psql's own means."""

    @staticmethod
    def carry_out(url: str, script: str) -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            for statement in re.split(r";\n(?!END\b)", script):  # not in a function's body
                if statement.strip():
                    connection.execute(statement)

    @staticmethod
    def defined(url: str) -> list[tuple[object, ...]]:
        """Return all columns, indexes and constraints."""
        with psycopg.connect(url) as connection:
            found: list[tuple[object, ...]] = []
            for question in _DEFINED:
                found += connection.execute(question).fetchall()
            return found

    @pytest.mark.parametrize("version", [None, "0001", "0002", "0003", "0004", "0005", "0006"])
    def test_it_does_what_the_upgrade_does(
        self, postgres_server: PostgresServer, postgres_url: str, version: str | None
    ) -> None:
        postgres_server.run("CREATE DATABASE scripted")
        url = postgres_server.url("scripted")
        try:
            if version is not None:
                upgrades.downgraded(url, version).close()
            database = Database(url)
            script = database.tables().script()
            assert database.tables().script() == script  # nothing was touched
            self.carry_out(url, script)
            assert database.tables().is_up_to_date()
            assert database.tables().script() == ""
            database.close()
            assert self.defined(url) == self.defined(postgres_url)
        finally:
            postgres_server.drop(url)

    def test_the_content_is_kept(self, postgres_server: PostgresServer) -> None:
        postgres_server.run("CREATE DATABASE scripted")
        url = postgres_server.url("scripted")
        former = upgrades.downgraded(url, "0005")
        for number in range(3):
            upgrades.insert(former, number)
        self.carry_out(url, former.tables().script())
        former.close()
        store = Store(url)
        store.upgrade()
        store.begin_epoch(NOW)  # it puts the tasks into their lanes
        [row] = store.lanes()
        assert (row.lane, row.waiting) == (lane_of("team-a", None), 3)
        store.close()
        postgres_server.drop(url)

    def test_it_makes_the_schema(self, postgres_server: PostgresServer) -> None:
        postgres_server.run("CREATE DATABASE scripted")
        url = postgres_server.url("scripted")
        database = Database(with_schema(url, "own"))
        self.carry_out(url, database.tables().script())
        assert database.tables().is_up_to_date()
        database.close()
        with psycopg.connect(url) as connection:
            places = "SELECT DISTINCT schemaname FROM pg_tables WHERE tablename = 'tasks'"
            assert connection.execute(places).fetchall() == [("own",)]
        postgres_server.drop(url)

    @pytest.mark.parametrize("schema", [None, "own"])
    def test_a_missing_function_is_made_again(
        self, postgres_server: PostgresServer, schema: str | None
    ) -> None:
        postgres_server.run("CREATE DATABASE scripted")
        postgres_server.run("CREATE ROLE tracker LOGIN")
        url = postgres_server.url("scripted")
        place = url if schema is None else with_schema(url, schema)
        where = schema or "public"
        database = Database(place)
        try:
            database.upgrade()
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(f"DROP FUNCTION {where}.raytasks_submit_v1")
                connection.execute(f"GRANT USAGE ON SCHEMA {where} TO tracker")
                connection.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA {where} TO tracker")
            # Who may not make it goes on without it.
            with closing(Database(place.replace("postgres:@", "tracker@"))) as limited:
                limited.upgrade()
                assert not limited.tables().is_up_to_date()
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(database.tables().script())
            assert database.tables().is_up_to_date()
            assert database.tables().script() == ""
        finally:
            database.close()
            postgres_server.drop(url)
            postgres_server.run("DROP ROLE tracker")


_DEFINED = (
    "SELECT table_name, column_name, data_type, is_nullable, column_default "
    "FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2",
    "SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1, 2",
    "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint "
    "WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2",
    "SELECT relname, reloptions FROM pg_class WHERE relnamespace = 'public'::regnamespace "
    "AND relkind = 'r' ORDER BY 1",
)
