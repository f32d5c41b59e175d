"""Point reads: the same as the store says, in fewer steps, and only of a database that is there."""

import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from raytasks.model.states import OutcomeKind
from raytasks.model.tasks import StoreUnavailable
from raytasks.protocol.queries import TaskDetail, TasksById
from raytasks.store.store import Store
from raytasks.store.task_reads import Found, PostgresPoints, SqlitePoints
from tests.making import NOW, Tracking, outcome, task_id


class Points:
    """The point reads of a database of either kind."""

    def __init__(self, url: str) -> None:
        self.reads = SqlitePoints(url) if url.startswith("sqlite") else PostgresPoints(url)

    def read(self, name: str) -> Found | None:
        if isinstance(self.reads, SqlitePoints):
            return self.reads.read(name)
        return self.reads.read([name]).get(name)


@pytest.fixture
def points(store_url: str) -> Iterator[Points]:
    made = Points(store_url)
    yield made
    made.reads.close()


def fill(store: Store) -> Tracking:
    """Make tasks with all kinds of histories: 1 has two attempts, 2 runs, 3 waits, 4 was lost."""
    tracking = Tracking(store, now=NOW + 0.1)
    tracking.submit(1, tags='["a"]', payload='{"x": "ü\\u0000"}', priority=3, timeout_seconds=2.5)
    [first] = tracking.claim()
    error = '{"type": "E", "message": "\\"ü\\n"}'
    tracking.settle(first, OutcomeKind.FAILED, error=error, retryable=True, node_id="n")
    [second] = tracking.claim()
    tracking.settle(second, OutcomeKind.SUCCEEDED, result="[1]", ray_attempt=0)
    tracking.submit(4, run_at=NOW - 1.0)
    [lost] = tracking.claim()
    tracking.settle(lost, OutcomeKind.LOST, started_at=NOW, finished_at=NOW)
    tracking.tick(late=[("r1", outcome(lost, OutcomeKind.SUCCEEDED))])
    tracking.submit(2, payload_ref='{"name": "x"}', max_attempts=1)
    tracking.claim(short=1)
    tracking.tick(cancels=[task_id(2)])
    tracking.submit(3, run_at=NOW + 60, namespace="other")
    return tracking


def test_they_are_what_the_store_says(store: Store, points: Points) -> None:
    fill(store)
    histories = []
    for number in (1, 2, 3, 4):
        expected = store.read(TaskDetail(task_id(number)))
        found = points.read(task_id(number))
        assert expected is not None
        assert found == expected
        for item, other in zip([found[0], *found[1]], [expected[0], *expected[1]], strict=True):
            for name in type(item).__match_args__:
                pair = getattr(item, name), getattr(other, name)
                assert type(pair[0]) is type(pair[1]), (name, pair)
        histories.append(len(found[1]))
    assert histories == [2, 0, 0, 1]


def test_an_unknown_task_is_none(store: Store, points: Points) -> None:
    assert points.read(task_id(1)) is None
    Tracking(store).submit(1)
    assert points.read(task_id(1)) is not None


def test_each_read_sees_what_was_committed_before_it(store: Store, points: Points) -> None:
    tracking = Tracking(store)
    tracking.submit(1)
    for _ in range(5):
        [running] = tracking.claim()
        found = points.read(task_id(1))
        assert found is not None
        assert (found[0].state, len(found[1])) == ("RUNNING", running.attempt - 1)
        tracking.settle(running, OutcomeKind.RELEASED)


def test_many_at_a_time(postgres_url: str, open_store: type[Store]) -> None:
    tracking = fill(open_store(postgres_url))
    reads = PostgresPoints(postgres_url)
    names = [task_id(number) for number in (4, 9, 1, 2)]
    expected = {name: tracking.store.read(TaskDetail(name)) for name in names if name != names[1]}
    assert reads.read(names) == expected
    reads.close()


class TestSqlite:
    def test_a_file_that_is_missing_is_not_made(self, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path}/tasks.db"
        reads, store = SqlitePoints(url), Store(url, reads_only=True)
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                reads.read(task_id(1))
            with pytest.raises(StoreUnavailable):
                store.ping()
        assert list(tmp_path.iterdir()) == []
        store.close()

    def test_a_file_without_our_tables_is_left_as_it_is(self, tmp_path: Path) -> None:
        file = tmp_path / "tasks.db"
        sqlite3.connect(file).close()
        reads = SqlitePoints(f"sqlite:///{file}")
        with pytest.raises(StoreUnavailable, match="no such table"):
            reads.read(task_id(1))
        reads.close()
        assert file.read_bytes() == b""

    def test_a_path_with_odd_letters(self, sqlite_url: str, tmp_path: Path) -> None:
        folder = tmp_path / "50% of what? #1"
        folder.mkdir()
        url = f"sqlite:///{folder}/tâsks.db".replace("?", "%3F")
        shutil.copy(tmp_path / "tasks.db", folder / "tâsks.db")
        reads, store = SqlitePoints(url), Store(url, reads_only=True)
        assert reads.read(task_id(1)) is None
        assert store.read(TasksById([task_id(1)])) == {}
        reads.close()
        store.close()

    def test_it_opens_with_and_without_a_log(
        self, sqlite_url: str, open_store: type[Store]
    ) -> None:
        # Nobody else has it open: the file has no -wal and -shm beside it.
        reads = SqlitePoints(sqlite_url)
        assert reads.read(task_id(1)) is None
        Tracking(open_store(sqlite_url)).submit(1)
        assert reads.read(task_id(1)) is not None
        other = SqlitePoints(sqlite_url)
        assert other.read(task_id(1)) is not None
        other.close()
        reads.close()

    def test_it_holds_on_to_no_moment(self, sqlite_url: str, open_store: type[Store]) -> None:
        store = open_store(sqlite_url)
        Tracking(store).submit(1)
        reads, lists = SqlitePoints(sqlite_url), open_store(sqlite_url, reads_only=True)
        assert reads.read(task_id(1)) is not None
        assert lists.read(TaskDetail(task_id(1))) is not None
        with store._database.writing() as connection:
            connection.exec_driver_sql("UPDATE tracker_epoch SET renewed_at = 1")
        other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))
        busy, _, _ = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert busy == 0
        other.close()
        reads.close()

    def test_nothing_can_be_written(self, sqlite_url: str, open_store: type[Store]) -> None:
        store = open_store(sqlite_url, reads_only=True)
        with pytest.raises(StoreUnavailable, match="readonly"):
            store.begin_epoch(NOW)

    def test_it_does_not_wait_for_a_lock(self, sqlite_url: str) -> None:
        other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        other.execute("UPDATE tracker_epoch SET renewed_at = 1")
        reads = SqlitePoints(sqlite_url)
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match="locked"):
            reads.read(task_id(1))
        assert time.monotonic() - began < 1
        other.execute("COMMIT")
        other.close()
        assert reads.read(task_id(1)) is None
        reads.close()


def test_nothing_can_be_written_on_a_server_either(
    postgres_url: str, open_store: type[Store]
) -> None:
    store = open_store(postgres_url, reads_only=True)
    with pytest.raises(StoreUnavailable, match="read-only"):
        store.begin_epoch(NOW)
