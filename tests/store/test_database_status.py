"""The state of a database: revision, sizes, and who holds up the vacuum."""

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text

from raytasks.model.states import State
from raytasks.model.tasks import StoreUnavailable
from raytasks.store import database_status
from raytasks.store.all_tables import TABLE_NAMES
from raytasks.store.database import Database
from raytasks.store.database_status import read_status
from raytasks.store.store import Store
from raytasks.store.tables_upgrade import head
from tests.making import Tracking
from tests.pgbouncer import needs_pgbouncer, pgbouncer_before
from tests.store import test_upgrade as upgrades
from tests.store.test_upgrade import empty_url

__all__ = ["empty_url"]

OpenStore = Callable[..., Store]


def test_tables_in_use(store_url: str, open_store: OpenStore) -> None:
    Tracking(open_store(store_url)).submit(1, 2)
    found = read_status(store_url)
    assert (found.revision, found.head, found.complete) == (head(), head(), True)
    assert (found.missing, found.refused, found.pooled) == ([], None, False)
    assert found.tasks == {State.PENDING: 2}
    assert {table.name for table in found.tables} == TABLE_NAMES
    assert found.bytes > 100_000
    assert found.server.startswith(("SQLite 3.", "PostgreSQL "))


def test_an_earlier_version_and_no_tables_at_all(empty_url: str) -> None:
    former = upgrades.downgraded(empty_url, "0005")
    found = read_status(empty_url)
    assert (found.revision, found.complete) == ("0005", False)
    assert (found.missing[0], found.missing[-1]) == ("0006", head())
    assert found.tables
    with former.writing() as connection:
        for name in [*(table.name for table in found.tables), "alembic_version"]:
            connection.execute(text(f"DROP TABLE {name}"))
    former.close()
    found = read_status(empty_url)
    assert (found.revision, found.missing[-1], found.complete) == (None, head(), False)
    assert (found.tasks, found.tables) == ({}, [])


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="unable to open database file"):
        read_status(f"sqlite:///{tmp_path}/none.db")
    assert not list(tmp_path.iterdir())


class TestPostgresql:
    def test_sizes_and_the_last_vacuum(self, postgres_url: str, open_store: OpenStore) -> None:
        Tracking(open_store(postgres_url)).submit(1, 2)
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE tasks")
            connection.execute("SELECT pg_stat_force_next_flush()")
        [tasks] = [row for row in read_status(postgres_url).tables if row.name == "tasks"]
        assert (tasks.rows, tasks.dead_rows) == (2, 0)
        assert tasks.bytes is not None
        assert tasks.bytes > 8192
        assert tasks.vacuumed_at is not None

    def test_who_holds_a_snapshot(self, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(database_status, "HOLD_SECONDS", 0.0)
        with psycopg.connect(postgres_url, application_name="report") as connection:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            connection.execute("SELECT  count(*)\nFROM tasks")
            [holder] = read_status(postgres_url).holders
            assert holder.name.startswith("report, user postgres, pid ")
            assert (holder.state, holder.query) == (
                "idle in transaction", "SELECT count(*) FROM tasks",
            )  # fmt: skip
            assert holder.seconds is not None
        assert read_status(postgres_url).holders == []

    def test_others_tables_are_named(self, postgres_url: str) -> None:
        database = Database(postgres_url)
        with database.writing() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        database.close()
        found = read_status(postgres_url)
        assert found.refused is not None
        assert "of revision 9999" in found.refused
        assert (found.complete, found.tables) == (False, [])

    @needs_pgbouncer
    def test_a_pooler_is_named(self, postgres_url: str, tmp_path: Path) -> None:
        with pgbouncer_before(postgres_url, tmp_path, "transaction") as through:
            assert read_status(through).pooled
