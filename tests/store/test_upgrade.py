"""A database of an earlier version is upgraded with all that is in it."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from raytasks.model.bulk_operations import BulkAction, BulkFilter
from raytasks.model.lane_names import lane_of
from raytasks.model.states import State
from raytasks.model.task_filter import TaskFilter
from raytasks.model.tasks import StoreUnavailable
from raytasks.protocol.queries import BulkList
from raytasks.store import online_upgrade
from raytasks.store.database import Database
from raytasks.store.schema import tasks
from raytasks.store.store import Store
from raytasks.store.tables_upgrade import MIGRATIONS
from tests.making import NOW, Tracking, counted, new_task, task_id, task_query
from tests.metrics_check import check_identity
from tests.postgres_server import PostgresServer
from tests.tracking import PATIENCE

_TASK = """
INSERT INTO tasks (task_id, task_type, state, payload, priority, rank, ready, attempt, max_attempts,
                   failures, crashes, cancel_requested, created_at, run_at, updated_at,
                   idempotency_key, request_digest)
VALUES (:id, 'short', 'PENDING', '{}', 0, :now, true, 0, 3, 0, 0, false, :now, :now, :now,
        :key, 'd')
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without tables, of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/tasks.db"
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    server.run("CREATE DATABASE former")
    yield server.url("former")
    server.run("DROP DATABASE former WITH (FORCE)")


def downgraded(url: str, version: str = "0002") -> Database:
    """Return an empty database of an earlier version."""
    database = Database(url)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with database.writing() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, version)
    return database


def test_what_is_there_is_kept(empty_url: str) -> None:
    database = downgraded(empty_url)
    with database.writing() as connection:
        for number in (1, 2):
            values = {"id": task_id(number), "now": NOW, "key": f"k{number}"}
            connection.execute(text(_TASK), values)
        connection.execute(text("INSERT INTO task_counts VALUES ('short', 'PENDING', 2)"))
    database.close()
    store = Store(empty_url)
    try:
        store.upgrade()
        tracking = Tracking(store)
        assert counted(store.counts()) == {("short", State.PENDING): 2}
        page = store.read(task_query())
        assert [(task.task_id, task.namespace) for task in page.tasks] == [
            (task_id(2), "default"),
            (task_id(1), "default"),
        ]
        again = new_task(3, idempotency_key="k1", request_digest="d")
        assert tracking.tick(submissions=[again]).duplicates[again.task_id].task_id == task_id(1)
        [first, second] = tracking.claim()
        assert (first.revision, second.revision) == (1, 1)
    finally:
        store.close()


_TASK_0003 = """
INSERT INTO tasks (task_id, task_type, state, payload, priority, rank, ready, attempt, max_attempts,
                   failures, crashes, cancel_requested, created_at, run_at, started_at, updated_at,
                   runner_id, suspect)
VALUES (:id, 'short', :state, '{}', 0, :now, :ready, 1, 3, 0, 0, false, :now, :now, :now, :now,
        :runner_id, :suspect)
"""


def test_what_version_0003_kept_goes_on(empty_url: str) -> None:
    database = downgraded(empty_url, "0003")
    with database.writing() as connection:
        for number, runner_id, suspect in ((1, "r1", False), (2, None, True)):
            values = {
                "id": task_id(number),
                "now": NOW,
                "state": "PENDING" if runner_id is None else "RUNNING",
                "ready": runner_id is None,
                "runner_id": runner_id,
                "suspect": suspect,
            }
            connection.execute(text(_TASK_0003), values)
        for state in ("PENDING", "RUNNING"):
            row = {"state": state}
            counts = "INSERT INTO task_counts VALUES ('default', 'short', :state, 1)"
            connection.execute(text(counts), row)
    database.close()
    store = Store(empty_url)
    try:
        store.upgrade()
        tracking = Tracking(store)
        assert check_identity(store) == {("default", "short", "submitted"): 2}
        [running] = store.running()
        assert (running.task_id, running.claimed_at) == (task_id(1), NOW)
        columns = "SELECT claimed_at, company, has_files, snoozes FROM tasks ORDER BY task_id"
        with store._database.reading() as connection:
            kept = [tuple(row) for row in connection.execute(text(columns))]
        assert kept == [(NOW, None, None, 0), (None, 1, None, 0)]
        [again] = tracking.claim()
        assert (again.task_id, again.attempt) == (task_id(2), 2)
    finally:
        store.close()


_BULK = """
INSERT INTO bulk_operations (bulk_id, namespace, action, state, task_type, tag, cursor, looked_at,
                             changed, created_at, finished_at)
VALUES (:id, 'team-a', :action, :state, :task_type, :tag, :id, 7, 5, :now, :finished)
"""


def test_bulk_operations_keep_their_filters(empty_url: str) -> None:
    database = downgraded(empty_url, "0004")
    rows = [
        (1, "retry", "FAILED", "short", None, NOW),
        (2, "cancel", None, None, "nightly", None),  # it goes on
        (3, "retry", None, None, None, NOW),
    ]
    with database.writing() as connection:
        for number, action, state, task_type, tag, finished in rows:
            values = {"action": action, "state": state, "task_type": task_type, "tag": tag}
            more = {"id": task_id(number), "now": NOW, "finished": finished}
            connection.execute(text(_BULK), values | more)
    database.close()
    store = Store(empty_url)
    try:
        store.upgrade()
        found = {item.bulk_id: item for item in store.read(BulkList("team-a"))}
        for number, action, state, task_type, tag, finished in rows:
            item = found[task_id(number)]
            states = () if state is None else (State(state),)
            wanted = TaskFilter("team-a", states, task_type, tag)
            assert item.filter == BulkFilter(BulkAction(action), wanted)
            assert (item.looked_at, item.finished_at, item.by) == (7, finished, "unknown")
        assert [item.bulk_id for item in store.open_bulks()] == [task_id(2)]
    finally:
        store.close()


_LATER_TASK = """
INSERT INTO tasks (task_id, task_type, state, payload, priority, rank, ready, attempt, max_attempts,
                   failures, crashes, cancel_requested, created_at, run_at, updated_at, finished_at,
                   namespace)
VALUES (:id, 'short', :state, '{}', 0, :now, :ready, 0, 3, 0, 0, false, :now, :now, :now, :finished,
        'team-a')
"""


def insert(database: Database, number: int, state: str = "PENDING") -> None:
    """Insert a task of another namespace, as version 0005 does."""
    values = {
        "id": task_id(number),
        "state": state,
        "now": NOW,
        "ready": state == "PENDING",
        "finished": None if state == "PENDING" else NOW,
    }
    counts = (
        "INSERT INTO task_counts VALUES ('team-a', 'short', :state, 1) ON CONFLICT "
        "(namespace, task_type, state) DO UPDATE SET tasks = task_counts.tasks + 1"
    )
    with database.writing() as connection:
        connection.execute(text(_LATER_TASK), values)
        connection.execute(text(counts), {"state": state})


def test_tasks_of_other_namespaces_come_into_their_lanes(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what an earlier tracker writes after the migration, and before it is replaced."""
    monkeypatch.setattr(online_upgrade, "BATCH", 2)
    database = downgraded(empty_url, "0005")
    for number in range(5):
        insert(database, number)
    insert(database, 8, "FAILED")
    store = Store(empty_url)
    try:
        store.upgrade()
        lane = lane_of("team-a", None)
        [row] = store.lanes()
        assert (row.lane, row.namespace, row.waiting) == (lane, "team-a", 5)
        insert(database, 9)
        assert len(store.lanes()) == 2
        tracking = Tracking(store)
        [row] = store.lanes()
        assert (row.lane, row.waiting) == (lane, 6)
        tracking.tick(retries=[task_id(8)])
        [row] = store.lanes()
        assert (row.lane, row.waiting) == (lane, 7)
        [change] = tracking.ready_changes
        assert (change.lane, change.namespace, change.change) == (lane, "team-a", 1)
        assert {running.lane for running in tracking.claim()} == {lane}
    finally:
        store.close()
        database.close()


_WAITING_BUILD = (
    "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
    "AND query LIKE 'CREATE INDEX CONCURRENTLY%' AND datname = current_database()"
)


class TestOnline:
    """PostgreSQL's indexes are built beside a tracker that goes on writing."""

    @pytest.fixture
    def former(self, postgres_server: PostgresServer) -> Iterator[Database]:
        """A database of version 0005 with some tasks."""
        postgres_server.run("CREATE DATABASE former")
        database = downgraded(postgres_server.url("former"), "0005")
        for number in range(3):
            insert(database, number)
        yield database
        database.close()
        postgres_server.run("DROP DATABASE former WITH (FORCE)")

    @staticmethod
    def indexes(database: Database) -> dict[str, bool]:
        with database.reading() as connection:
            return online_upgrade._indexes(connection)

    @classmethod
    def check(cls, database: Database) -> None:
        found = cls.indexes(database)
        assert {name for name, valid in found.items() if valid} == {
            "pk_tasks", *(index.name for index in tasks.indexes)
        }  # fmt: skip
        assert all(found.values())

    def test_the_indexes_are_the_same_as_those_of_a_new_database(
        self, former: Database, postgres_url: str
    ) -> None:
        former.upgrade()
        self.check(former)
        defined = "SELECT indexdef FROM pg_indexes WHERE tablename = 'tasks' ORDER BY indexname"
        with former.reading() as connection:
            upgraded = connection.execute(text(defined)).scalars().all()
        new = Database(postgres_url)
        with new.reading() as connection:
            assert connection.execute(text(defined)).scalars().all() == upgraded
        new.close()

    def test_a_build_that_was_interrupted_is_begun_again(
        self, former: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(_connection: Connection) -> None:
            raise StoreUnavailable("killed")

        with monkeypatch.context() as patch:
            patch.setattr(online_upgrade, "complete", broken)
            with pytest.raises(StoreUnavailable, match="killed"):
                former.upgrade()
        [index] = [index for index in tasks.indexes if index.name == "ix_tasks_ready"]
        with online_upgrade.alone(former._reader) as connection, former.writing() as other:
            # The build has to wait for this, fails, and leaves its remains.
            other.execute(text("UPDATE tasks SET priority = 1"))
            connection.execute(text("SET lock_timeout = 100"))
            with pytest.raises(OperationalError):
                connection.execute(text(online_upgrade._build(index, connection.dialect)))
        assert self.indexes(former)["ix_tasks_ready"] is False
        former.upgrade()
        self.check(former)
        assert former.tables().is_up_to_date()

    def test_an_earlier_tracker_writes_while_an_index_is_built(self, former: Database) -> None:
        former.tables().migrate()
        url = former.url.set(drivername="postgresql").render_as_string(hide_password=False)
        upgrading = Database(url)
        thread = threading.Thread(target=upgrading.upgrade)
        with psycopg.connect(url) as old, psycopg.connect(url, autocommit=True) as watcher:
            old.execute("UPDATE tasks SET priority = 1")
            thread.start()
            until = time.monotonic() + PATIENCE
            while watcher.execute(_WAITING_BUILD).fetchone() is None:
                assert time.monotonic() < until
            insert(former, 7)  # the build waits for the open transaction, and nobody for the build
            old.commit()
        thread.join(PATIENCE)
        assert not thread.is_alive()
        self.check(former)
        upgrading.close()
        store = Store(url)
        store.begin_epoch(NOW)
        [row] = store.lanes()
        assert (row.lane, row.waiting) == (lane_of("team-a", None), 4)
        store.close()


def test_the_outbox_comes_beside_a_service_of_before(empty_url: str) -> None:
    database = downgraded(empty_url, "0007")
    with database.writing() as connection:
        connection.execute(
            text(_TASK.replace(":id", "'0198c1de-0000-7000-8000-000000000001'")),
            {"now": NOW, "key": "k"},
        )
    database.upgrade()
    with database.writing() as connection:
        if not database.is_sqlite:
            connection.execute(text("SELECT raytasks_submit_v1('short', '{}')"))
        else:
            connection.execute(
                text("INSERT INTO task_outbox (id, document, created_at) VALUES ('a', '{}', 1)")
            )
    database.close()
    store = Store(empty_url)
    [row] = store.outbox((), (), 1000).rows
    assert (row.kind, row.namespace) == ("submit", "default")
    assert store.read(task_query()).tasks[0].state is State.PENDING
    store.close()
