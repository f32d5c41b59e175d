"""Sessions on PostgreSQL: their settings, directly and behind a real pooler of each kind."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text

from raytasks.model.schema_names import with_schema
from raytasks.model.states import OutcomeKind, State
from raytasks.model.tasks import StoreUnavailable
from raytasks.store.database import Database
from raytasks.store.store import Store
from raytasks.store.task_reads import PostgresPoints
from tests.making import Tracking, new_task, outcome, task_id
from tests.pgbouncer import needs_pgbouncer, pgbouncer_before
from tests.postgres_server import PostgresServer
from tests.store import test_upgrade as upgrades
from tests.tracking import PATIENCE, ScriptedRunner, tracker_on

OpenStore = Callable[..., Store]

_SHOWN = "SELECT name, setting FROM pg_settings WHERE name = ANY(:names)"


def end_sessions(server: PostgresServer) -> None:
    """Kill the server's process of each session."""
    server.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )


def settings_of(database: Database, *names: str, writes: bool = False) -> dict[str, str]:
    begin = database.writing if writes else database.reading
    with begin() as connection:
        found = connection.execute(text(_SHOWN), {"names": list(names)}).all()
        return {row.name: row.setting for row in found}


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    found = Database(url)
    yield found
    found.close()


class TestDirect:
    @pytest.fixture
    def url(self, postgres_url: str) -> str:
        return postgres_url

    def test_a_session_has_its_settings_from_the_start(self, database: Database) -> None:
        assert settings_of(database, "lock_timeout", "enable_seqscan", writes=True) == {
            "lock_timeout": "5000",
            "enable_seqscan": "off",
        }
        assert settings_of(database, "enable_seqscan") == {"enable_seqscan": "on"}

    def test_options_of_the_url_win(self, postgres_url: str) -> None:
        database = Database(f"{postgres_url}&options=-c%20lock_timeout%3D700")
        assert settings_of(database, "lock_timeout", "statement_timeout") == {
            "lock_timeout": "700",
            "statement_timeout": "15000",
        }
        database.close()


@pytest.fixture
def bare_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A PostgreSQL database without tables."""
    postgres_server.run("CREATE DATABASE bare")
    yield postgres_server.url("bare")
    postgres_server.drop(postgres_server.url("bare"))


MODES = [
    ("session", {}),
    ("transaction", {}),
    ("transaction", {"ignore_startup_parameters": "options"}),
]


@needs_pgbouncer
class TestPooled:
    @pytest.fixture(params=MODES, ids=["session", "transaction", "dropped-options"])
    def url(
        self, request: pytest.FixtureRequest, postgres_url: str, tmp_path: Path
    ) -> Iterator[str]:
        """A database with our tables, through a pooler whose sessions have others' settings."""
        mode, more = request.param
        connections = 12 if mode == "session" else 2
        with pgbouncer_before(postgres_url, tmp_path, mode, connections, **more) as through:
            yield through

    def test_each_transaction_has_its_settings(self, database: Database, url: str) -> None:
        with psycopg.connect(url, autocommit=True) as stranger:
            stranger.execute("SET lock_timeout = 1")
            stranger.execute("SET enable_seqscan = on")
        for _ in range(3):
            names = ("lock_timeout", "statement_timeout", "enable_seqscan")
            assert settings_of(database, *names, writes=True) == {
                "lock_timeout": "5000",
                "statement_timeout": "15000",
                "enable_seqscan": "off",
            }

    def test_who_only_reads_cannot_write(self, url: str) -> None:
        database = Database(url, reads_only=True)
        with pytest.raises(StoreUnavailable, match="read-only"), database.writing() as connection:
            connection.execute(text("DELETE FROM tasks"))
        database.close()

    def test_a_task_is_run_and_read(self, url: str, open_store: OpenStore) -> None:
        tracking, points = Tracking(open_store(url)), PostgresPoints(url)
        for number in range(12):  # more often than the driver needs to prepare a statement
            tracking.submit(number)
            [running] = tracking.claim()
            tracking.settle(running, OutcomeKind.SUCCEEDED)
            [(name, (task, history))] = points.read([task_id(number)]).items()
            assert (name, task.state, len(history)) == (task_id(number), State.COMPLETED, 1)
        points.close()

    def test_many_share_the_same_few_connections(self, url: str, open_store: OpenStore) -> None:
        stores = [open_store(url, reads_only=True) for _ in range(2)]
        tracking = Tracking(open_store(url))
        tracking.submit(*range(40))
        wrong: list[object] = []

        def read(store: Store) -> None:
            for _ in range(20):
                found = sum(store.counts().values())
                if found != 40:
                    wrong.append(found)

        threads = [threading.Thread(target=read, args=[store]) for store in stores]
        for thread in threads:
            thread.start()
        for _ in range(20):
            for running in tracking.claim(capacity=2):
                tracking.settle(running, OutcomeKind.SUCCEEDED)
        for thread in threads:
            thread.join(PATIENCE)
        assert wrong == []
        assert {state: n for (*_, state), n in tracking.store.counts().items() if n} == {
            State.COMPLETED: 40
        }

    async def test_a_tracker_works_and_goes_on_when_its_sessions_are_killed(
        self, url: str, open_store: OpenStore, postgres_server: PostgresServer
    ) -> None:
        async with tracker_on(open_store(url)) as tracker:
            await tracker.submit([new_task(1)])
            end_sessions(postgres_server)
            async with asyncio.timeout(PATIENCE):
                while True:
                    with suppress(StoreUnavailable):  # as an API replica, whose client tries again
                        await tracker.submit([new_task(2)])
                        break
            runner = ScriptedRunner(tracker)
            [first] = await runner.claim()
            [second] = await runner.claim([outcome(first)])
            assert {first.task_id, second.task_id} == {task_id(1), task_id(2)}
            assert (first.attempt, second.attempt) == (1, 1)


@needs_pgbouncer
@pytest.mark.parametrize("schema", [None, "beside"])
@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_tables_are_upgraded_through_a_pooler(
    bare_url: str, tmp_path: Path, mode: str, schema: str | None
) -> None:
    direct = bare_url
    place = direct if schema is None else with_schema(direct, schema)
    if schema is not None:
        with psycopg.connect(direct, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {schema}")
    former = upgrades.downgraded(place, "0005")
    upgrades.insert(former, 1)
    former.close()
    with pgbouncer_before(direct, tmp_path, mode, 4) as through:
        database = Database(through if schema is None else with_schema(through, schema))
        database.upgrade()
        upgrades.TestOnline.check(database)
        assert database.tables().is_up_to_date()
        database.close()
        with psycopg.connect(through) as next_client:  # nothing is left in the shared sessions
            assert next_client.execute("SHOW statement_timeout").fetchone() == ("0",)
        with psycopg.connect(direct) as watcher:
            locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
            assert watcher.execute(locks).fetchone() == (0,)


@needs_pgbouncer
def test_a_pooler_of_single_statements_is_refused_with_the_reason(
    postgres_url: str, tmp_path: Path, open_store: OpenStore
) -> None:
    with (
        pgbouncer_before(postgres_url, tmp_path, "statement") as through,
        pytest.raises(StoreUnavailable, match="transaction blocks not allowed in statement"),
    ):
        open_store(through).upgrade()
