"""DATABASE_SCHEMA: the store works the same in a schema of its own, beside the user's tables.

The database has tables of the user's under names of ours, and the user's own Alembic.
"""

from collections.abc import Callable, Iterator

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Column, Integer, MetaData, Table, Text, create_engine
from sqlalchemy.engine import Engine

from raytasks.api.direct_reads import DirectReads
from raytasks.model.schema_names import with_schema
from raytasks.model.states import State
from raytasks.model.tasks import StoreUnavailable
from raytasks.protocol.queries import TaskDetail
from raytasks.store.database_url import parse_url
from raytasks.store.store import Store
from raytasks.store.tables_upgrade import TablesRefused
from tests.making import NOW, Tracking, new_task, task_id
from tests.postgres_copies import Copies
from tests.postgres_server import PostgresServer, migrate
from tests.store import test_store as plain
from tests.store import test_store_machine as machine
from tests.tracking import ScriptedRunner, tracker_on, until

OpenStore = Callable[..., Store]

SCHEMA = "user"
"""A word of SQL: what does not quote it fails."""

USERS = MetaData()
"""The tables of the database's user, in `public`."""
Table("tasks", USERS, Column("id", Integer, primary_key=True), Column("title", Text))
Table("invoices", USERS, Column("id", Integer, primary_key=True))

_REVISION = "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)"


@pytest.fixture(scope="module")
def shared_databases(postgres_server: PostgresServer) -> Copies:
    """Databases with the user's tables, and ours in a schema."""
    postgres_server.run("CREATE DATABASE shared_template")
    url = postgres_server.url("shared_template")
    engine = create_engine(parse_url(url))
    USERS.create_all(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO tasks VALUES (1, 'mine')")
        connection.exec_driver_sql(_REVISION)
        connection.exec_driver_sql("INSERT INTO alembic_version VALUES ('0001')")
    engine.dispose()
    migrate(with_schema(url, SCHEMA))
    return postgres_server.copies_of("shared_template")


@pytest.fixture
def shared_url(shared_databases: Copies) -> Iterator[str]:
    """The URL of such a database, for one test, without the schema."""
    url = shared_databases.take()
    yield url
    shared_databases.give_back(url)


@pytest.fixture
def store_url(shared_url: str) -> str:
    """The same, with the schema: the store's tests run on it."""
    return with_schema(shared_url, SCHEMA)


@pytest.fixture
def tracking(store: Store) -> Tracking:
    return Tracking(store)


class TestSchema(plain.TestSchema):
    """As in the search path."""


class TestVerbs(plain.TestVerbs):
    """As in the search path."""


class TestFences(plain.TestFences):
    """As in the search path."""


class TestCounts(plain.TestCounts):
    """As in the search path."""


def test_it_agrees_with_the_model(store_url: str) -> None:
    machine.run_on_server(store_url, examples=2)


async def test_tracker_and_replicas_work_and_the_users_tables_stay(
    store_url: str, shared_url: str, open_store: OpenStore
) -> None:
    async with tracker_on(open_store(store_url)) as tracker:
        runner, reads = ScriptedRunner(tracker), DirectReads(store_url)
        await tracker.submit([new_task(1)])
        [claim] = await runner.claim()
        runner.end(claim)
        await until(tracker, 1, State.COMPLETED)
        found = await reads.read(TaskDetail(task_id(1)))
        assert found is not None
        assert (found[0].state, len(found[1])) == (State.COMPLETED, 1)
        await runner.hang_up()
        reads.close()
    with psycopg.connect(shared_url) as connection:
        assert connection.execute("SELECT * FROM public.tasks").fetchall() == [(1, "mine")]
        assert connection.execute("SELECT * FROM alembic_version").fetchall() == [("0001",)]


class TestUsersAlembic:
    @pytest.fixture
    def engine(self, shared_url: str) -> Iterator[Engine]:
        engine = create_engine(parse_url(shared_url))
        yield engine
        engine.dispose()

    def test_autogenerate_does_not_see_our_tables(self, engine: Engine) -> None:
        with engine.connect() as connection:
            assert compare_metadata(MigrationContext.configure(connection), USERS) == []

    def test_with_all_schemas_it_needs_the_filter_of_the_documents(self, engine: Engine) -> None:
        def include_name(name: str | None, kind: str, _parents: object) -> bool:
            return kind != "schema" or name != SCHEMA

        options: dict[str, object] = {"include_schemas": True}
        with engine.connect() as connection:
            bare = MigrationContext.configure(connection, opts=options)
            dropped = {change[1].schema for change in compare_metadata(bare, USERS)
                       if change[0] == "remove_table"}  # fmt: skip
            assert dropped == {SCHEMA}
            options["include_name"] = include_name
            filtered = MigrationContext.configure(connection, opts=options)
            assert compare_metadata(filtered, USERS) == []


class TestSchemaOfItsOwn:
    def test_one_that_may_not_be_made_is_named_with_the_statement_to_run(
        self, postgres_server: PostgresServer, postgres_url: str, open_store: OpenStore
    ) -> None:
        postgres_server.run("CREATE ROLE guest LOGIN")
        try:
            url = with_schema(postgres_url.replace("postgres:@", "guest@"), "elsewhere")
            with pytest.raises(TablesRefused) as caught:
                open_store(url).upgrade()
            assert str(caught.value) == (
                "the schema elsewhere is not there, and guest may not make it; "
                'run: CREATE SCHEMA "elsewhere" AUTHORIZATION guest'
            )
            with psycopg.connect(postgres_url, autocommit=True) as connection:
                connection.execute("CREATE SCHEMA elsewhere AUTHORIZATION guest")
                open_store(url).upgrade()
                connection.execute("DROP SCHEMA elsewhere CASCADE")
        finally:
            postgres_server.run("DROP ROLE guest")

    def test_two_services_share_a_database(self, store_url: str, open_store: OpenStore) -> None:
        other = open_store(store_url.replace(SCHEMA, "another"))
        other.upgrade()
        mine, theirs = Tracking(open_store(store_url)), Tracking(other, now=NOW + 1)
        mine.submit(1)
        theirs.submit(2)
        assert sum(mine.store.counts().values()) == sum(other.counts().values()) == 1
        assert mine.store.database_id() != other.database_id()

    def test_without_its_name_the_users_tables_are_refused(
        self, shared_url: str, open_store: OpenStore
    ) -> None:
        before = tables_of(shared_url)
        with pytest.raises(StoreUnavailable, match="set RAYTASKS_DATABASE_SCHEMA to give raytasks"):
            open_store(shared_url).upgrade()
        assert tables_of(shared_url) == before


def tables_of(url: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        names = "SELECT schemaname, tablename FROM pg_tables ORDER BY 1, 2"
        return connection.execute(names).fetchall()
