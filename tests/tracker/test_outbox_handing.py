"""Rows of the outbox that cannot be taken: each waits or fails by itself, and stops nobody else."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from msgspec import json
from sqlalchemy import text

from raytasks.model.states import State
from raytasks.model.tasks import StoreUnavailable
from raytasks.protocol.queries import TasksById
from raytasks.store import outbox_rows
from raytasks.store.database import Database
from raytasks.store.store import Store
from raytasks.tracker import access, outbox_book, outbox_reader
from raytasks.tracker.core import Tracker
from raytasks.tracker.outbox_state import outbox_reasons
from tests.making import NOW, new_task, task_id
from tests.outbox_tools import (
    info,
    outbox_values,
    reading,
    until_state,
    until_taken,
    write_rows,
)
from tests.tracking import tracker_on

SECRET = "S3CR3T"


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_reader, "IDLE_SECONDS", 0.02)
    monkeypatch.setattr(outbox_reader, "_COUNT_SECONDS", 0.0)
    monkeypatch.setattr(outbox_book, "_FIRST_PAUSE", 0.02)
    monkeypatch.setattr(access, "_OUTAGE_DELAYS", (0.001,))


@pytest.fixture
def postgres_store(postgres_url: str, open_store: Callable[..., Store]) -> Store:
    return open_store(postgres_url)


@pytest.fixture
def either_store(store_url: str, open_store: Callable[..., Store]) -> Store:
    return open_store(store_url)


@pytest.fixture
def other(postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    """Another session of the database, which may hold locks."""
    with psycopg.connect(postgres_url.replace("+psycopg", "")) as connection:
        yield connection
        connection.rollback()


@asynccontextmanager
async def later_reading(store: Store) -> AsyncIterator[tuple[Tracker, Callable[[], None]]]:
    """A tracker, and what makes it take rows."""
    async with tracker_on(store, clock=lambda: NOW) as tracker:
        yield tracker, lambda: tracker.set_handlers([info()])


async def states(tracker: Tracker, *numbers: int) -> dict[int, State]:
    """Return the states of those of the tasks that are there."""
    found = await tracker.read(TasksById([task_id(number) for number in numbers]))
    return {number: found[task_id(number)].state for number in numbers if task_id(number) in found}


async def submit_some(tracker: Tracker, first: int, count: int = 20) -> None:
    """Submit tasks one after the other; none is refused."""
    for number in range(first, first + count):
        await tracker.submit([new_task(number)])


LOCKS = {
    "deleted": f"DELETE FROM task_outbox WHERE id = '{task_id(2)}'",
    "selected": f"SELECT * FROM task_outbox WHERE id = '{task_id(2)}' FOR UPDATE",
    "shared": f"SELECT * FROM task_outbox WHERE id = '{task_id(2)}' FOR KEY SHARE",
    "changed": f"UPDATE task_outbox SET kind = 'submit' WHERE id = '{task_id(2)}'",
}


@pytest.mark.parametrize("lock", LOCKS)
async def test_a_locked_row_stops_nobody_else(
    postgres_store: Store, other: psycopg.Connection[Any], lock: str
) -> None:
    write_rows(postgres_store, *(outbox_values(number) for number in (1, 2, 3)))
    other.execute(LOCKS[lock])
    async with later_reading(postgres_store) as (tracker, begin):
        begin()
        await until_taken(postgres_store, left=1)
        await until_state(tracker, rows=1, held_by="locked", set_aside=0)
        await submit_some(tracker, 10)
        assert await states(tracker, 1, 2, 3) == {1: State.PENDING, 3: State.PENDING}
        [reason] = outbox_reasons(tracker.outbox.state, NOW + 60.0)
        assert "another session of the database has locked it" in reason["message"]
        assert tracker.ticker.access.error is None
        other.rollback()
        await until_taken(postgres_store)
        await until_state(tracker, rows=0, held_by=None)
        assert len(await states(tracker, 1, 2, 3)) == 3
        tracker.ticker.ledger.check()


@pytest.mark.parametrize("mode", ["SHARE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE"])
async def test_a_locked_table_stops_nobody_else(
    postgres_store: Store, other: psycopg.Connection[Any], mode: str
) -> None:
    write_rows(postgres_store, *(outbox_values(number) for number in (1, 2)))
    other.execute(f"LOCK TABLE task_outbox IN {mode} MODE")
    async with later_reading(postgres_store) as (tracker, begin):
        begin()
        await until_state(tracker, rows=2, held_by="locked")
        await submit_some(tracker, 10)
        other.rollback()
        await until_taken(postgres_store)
        tracker.ticker.ledger.check()


async def test_a_row_that_others_delete_in_the_end_is_gone(
    postgres_store: Store, other: psycopg.Connection[Any]
) -> None:
    write_rows(postgres_store, *(outbox_values(number) for number in (1, 2)))
    other.execute(LOCKS["deleted"])
    async with later_reading(postgres_store) as (tracker, begin):
        begin()
        await until_state(tracker, rows=1, held_by="locked")
        other.commit()
        await until_state(tracker, rows=0, held_by=None)
        assert await states(tracker, 1, 2) == {1: State.PENDING}
        assert tracker.ticker.ledger.backlog == 1


async def test_rows_behind_as_many_locked_ones_as_are_passed_over_wait(
    postgres_store: Store, other: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_book, "MAX_LOCKED", 3)
    monkeypatch.setattr(outbox_rows, "MAX_ROWS", 2)
    write_rows(postgres_store, *(outbox_values(number) for number in range(1, 10)))
    other.execute("SELECT * FROM task_outbox FOR UPDATE")
    async with later_reading(postgres_store) as (tracker, begin):
        begin()
        await until_state(tracker, rows=9, held_by="locked")
        await submit_some(tracker, 10)
        other.rollback()
        await until_taken(postgres_store)


def test_a_take_tells_what_others_have_locked(
    postgres_store: Store, other: psycopg.Connection[Any]
) -> None:
    write_rows(postgres_store, *(outbox_values(number) for number in (1, 2, 3)))
    ids = [task_id(number) for number in (1, 2, 3, 4)]
    other.execute(LOCKS["deleted"])
    with postgres_store._database.writing() as connection:
        found = outbox_rows.take(connection, ids)
    assert found == outbox_rows.TakenRows({ids[0], ids[2]}, {ids[1]})
    other.rollback()
    other.execute("LOCK TABLE task_outbox IN SHARE MODE")
    with postgres_store._database.writing() as connection:
        assert outbox_rows.take(connection, ids) == outbox_rows.TakenRows(set(), set(ids))
        connection.execute(text("UPDATE tracker_epoch SET epoch = epoch"))  # it goes on
    other.rollback()
    with postgres_store._database.writing() as connection:
        assert outbox_rows.take(connection, ids) == outbox_rows.TakenRows({ids[1]}, set())


async def test_a_row_for_which_ticks_fail_stops_nobody_else(
    either_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database says nothing of a command, e.g. as somebody's trigger raises an error."""
    take, fails, tries = outbox_rows.take, True, asyncio.Semaphore(0)
    loop = asyncio.get_running_loop()

    def failing(connection: Any, ids: Any) -> outbox_rows.TakenRows:
        if fails and task_id(2) in ids:
            if len(ids) == 1:
                loop.call_soon_threadsafe(tries.release)
            raise StoreUnavailable("P0001: not this one")
        return take(connection, ids)

    monkeypatch.setattr(outbox_rows, "take", failing)
    async with reading(either_store) as tracker:
        write_rows(either_store, *(outbox_values(number) for number in range(1, 10)))
        await until_taken(either_store, left=1)
        await until_state(tracker, rows=1, set_aside=1, held_by="refused")
        for _ in range(3):
            await tries.acquire()
        for first in (10, 20, 30):
            await tries.acquire()
            await submit_some(tracker, first, 5)
        write_rows(either_store, *(outbox_values(number) for number in range(50, 55)))
        await until_taken(either_store, left=1)
        assert tracker.ticker.access.error is None
        [named] = tracker.ticker.recovery.aside.report()["list"]
        assert task_id(2) in named["what"]
        fails = False
        await until_taken(either_store)
        await until_state(tracker, rows=0, set_aside=0)
        tracker.ticker.ledger.check()


async def test_in_an_outage_no_row_is_blamed(
    either_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cheapest writes succeed, as when a disk is nearly full."""
    take, tries, fails = outbox_rows.take, 0, True

    def failing(connection: Any, ids: Any) -> outbox_rows.TakenRows:
        nonlocal tries
        tries += 1
        if fails:
            raise StoreUnavailable("no space left on the device")
        return take(connection, ids)

    monkeypatch.setattr(outbox_rows, "take", failing)
    async with reading(either_store) as tracker:
        write_rows(either_store, *(outbox_values(number) for number in range(1, 40)))
        async with asyncio.timeout(30):
            while tries < 100:  # noqa: ASYNC110 - it has no signal
                await asyncio.sleep(0.005)
        assert tracker.outbox.state.set_aside <= 8
        fails = False
        await until_taken(either_store)
        await until_state(tracker, rows=0, set_aside=0, held_by=None)


def refuse(store: Store, what: str) -> None:
    """Have the database itself refuse tasks: a condition on the columns of `tasks`."""
    database = Database(store._database.url.render_as_string(hide_password=False))
    if database.is_sqlite:
        statement = (
            f"CREATE TRIGGER refusal BEFORE INSERT ON tasks WHEN NEW.{what} "
            "BEGIN SELECT RAISE(ABORT, 'no such task'); END"
        )
    else:
        statement = f"ALTER TABLE tasks ADD CONSTRAINT refusal CHECK (NOT ({what}))"
    try:
        with database.writing() as connection:
            connection.exec_driver_sql(statement.replace("%", "%%"))
    finally:
        database.close()


@pytest.mark.parametrize(
    ("what", "task_type", "payload"),
    [
        ("priority = 7", "short", f'{{"value":"{SECRET}"}}'),
        (f"payload LIKE '%{SECRET}%'", "unreadable", "null"),
    ],
)
async def test_rows_that_the_database_refuses_fail_and_stop_no_other(
    either_store: Store,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    what: str,
    task_type: str,
    payload: str,
) -> None:
    monkeypatch.setattr(outbox_book, "MAX_ASIDE", 2)
    refuse(either_store, what)
    bad, good = range(1, 11), range(11, 21)
    async with reading(either_store) as tracker:
        secret = {"value": SECRET}
        write_rows(
            either_store,
            *(outbox_values(number, payload=secret, priority=7) for number in bad),
            *(outbox_values(number) for number in good),
        )
        await until_taken(either_store)
        found = await states(tracker, *bad, *good)
        assert found == dict.fromkeys(bad, State.FAILED) | dict.fromkeys(good, State.PENDING)
        rows = await tracker.read(TasksById([task_id(number) for number in bad]))
        for row in rows.values():
            error = json.decode(row.error or "")
            assert "the row of the outbox cannot be taken: /: it cannot be st" in error["message"]
            assert "Error" in error["message"] or "CheckViolation" in error["message"]
            assert (row.task_type, row.payload) == (task_type, payload)
        await until_state(tracker, rows=0, set_aside=0)
        assert tracker.ticker.recovery.aside.report()["count"] == 0
        tracker.ticker.ledger.check()
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == len(bad), "one line for each row"
    assert SECRET not in caplog.text
    assert "Traceback" not in caplog.text


async def test_a_row_that_cannot_even_fail_is_set_aside_and_told_once(
    either_store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    refuse(either_store, f"task_id = '{task_id(2)}'")
    async with reading(either_store) as tracker:
        write_rows(either_store, *(outbox_values(number) for number in (1, 2, 3)))
        await until_taken(either_store, left=1)
        await until_state(tracker, rows=1, set_aside=1, held_by="refused")
        [named] = tracker.ticker.recovery.aside.report()["list"]
        assert task_id(2) in named["what"]
        async with asyncio.timeout(30):
            while tracker.ticker.recovery.aside.report()["list"][0]["tries"] < 4:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        assert len([item for item in caplog.records if item.levelno >= logging.ERROR]) == 1


async def test_a_row_that_is_gone_is_no_longer_set_aside(either_store: Store) -> None:
    refuse(either_store, f"task_id = '{task_id(2)}'")
    async with reading(either_store) as tracker:
        write_rows(either_store, outbox_values(2))
        await until_state(tracker, rows=1, set_aside=1)
        with either_store._database.writing() as connection:
            connection.execute(text("DELETE FROM task_outbox"))
        await until_state(tracker, rows=0, set_aside=0, held_by=None)
