"""A database of an earlier version is upgraded with all that is in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from making import NOW, Tracking, counted, new_task, task_id
from sqlalchemy import text

from raytasks.models import TaskQuery
from raytasks.states import State
from raytasks.store.database import _MIGRATIONS, Database
from raytasks.store.store import Store
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


def downgraded(url: str) -> Database:
    """Return an empty database of version 0002."""
    database = Database(url)
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    with database.writing() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
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
        page = store.page(TaskQuery())
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
