"""A database of an earlier version is upgraded with all that is in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text

from raytasks.model.bulk_operations import BulkAction, BulkFilter
from raytasks.model.states import State
from raytasks.model.task_filter import TaskFilter
from raytasks.protocol.queries import BulkList
from raytasks.store.database import _MIGRATIONS, Database
from raytasks.store.store import Store
from tests.making import NOW, Tracking, counted, new_task, task_id, task_query
from tests.metrics_check import check_identity
from tests.postgres_server import PostgresServer

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
    config.set_main_option("script_location", str(_MIGRATIONS))
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
