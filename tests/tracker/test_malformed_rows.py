"""Rows of the outbox whose columns hold what no task can have: each fails by itself."""

import asyncio
import math
import time
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import json
from sqlalchemy import select

from raytasks.model.outbox_documents import OutboxRow
from raytasks.model.states import State
from raytasks.model.time_text import rfc3339
from raytasks.protocol.queries import OutboxTask
from raytasks.store import outbox_rows
from raytasks.store.schema import tasks
from raytasks.store.store import Store
from raytasks.testing import FakeClock
from raytasks.tracker import outbox_book, outbox_reader
from raytasks.tracker.core import Tracker
from raytasks.tracker.outbox_intake import OutboxEntry, entry_of
from raytasks.tracker.outbox_state import outbox_reasons
from tests.making import NOW, task_id
from tests.outbox_tools import (
    info,
    outbox_values,
    reading,
    until_state,
    until_taken,
    write_raw,
    write_rows,
)
from tests.tracking import PATIENCE, tracker_on

HUGE = 3_000_000


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_reader, "IDLE_SECONDS", 0.02)


@pytest.fixture
def sqlite_store(sqlite_url: str, open_store: Callable[..., Store]) -> Store:
    """SQLite keeps what a writer gives it."""
    return open_store(sqlite_url)


def failed(tracker: Tracker, *, numbers: set[int]) -> list[dict[str, Any]]:
    """Return the errors of the tasks that have failed; all others wait, and have these numbers."""
    with tracker.ticker.store._database.reading() as connection:
        rows = connection.execute(select(tasks.c.task_id, tasks.c.state, tasks.c.error)).all()
    waiting = {row.task_id for row in rows if row.state == State.PENDING}
    assert waiting == {task_id(number) for number in numbers}
    tracker.ticker.ledger.check()
    return [json.decode(row.error) for row in rows if row.state == State.FAILED]


@pytest.mark.parametrize(
    ("row_id", "told"),
    [
        (b"bytes", "b'bytes'"),
        (task_id(1).encode(), f"b'{task_id(1)}'"),
        (b"\xff\x00\xfe", r"b'\xff\x00\xfe'"),
        (b"", "b''"),
        (5, "'5'"),
        (2.5, "'2.5'"),
        ("", "''"),
        ("x", "'x'"),
        ("x" * HUGE, "'xxx"),
        (b"x" * HUGE, "b'xxx"),
        ("a\0b", r"'a\x00b'"),
        (task_id(1)[:-1] + "\0", task_id(1)[:-1] + r"\x00'"),
        (task_id(1) + "\0more", task_id(1) + r"\x00more'"),
        (task_id(1).upper(), task_id(1).upper()),
        ("-" * 36, "---"),
        ("é" * 18, "éé"),
    ],
    ids=lambda value: repr(value)[:20],
)
async def test_an_id_that_is_none_stops_no_other(
    sqlite_store: Store, row_id: Any, told: str
) -> None:
    async with reading(sqlite_store) as tracker:
        write_raw(sqlite_store, outbox_values(1) | {"id": row_id})
        write_rows(sqlite_store, outbox_values(1), outbox_values(2))
        await until_taken(sqlite_store)
        [error] = failed(tracker, numbers={1, 2})
        assert "is no UUID" in error["message"]
        assert told in error["message"]
        assert len(error["message"]) < 1000


@pytest.mark.parametrize("column", ["id", "kind", "namespace", "document", "created_at"])
@pytest.mark.parametrize("written", ["x'ff'", "x'6100ff'", "zeroblob(36)", "x'c3'"])
async def test_a_text_that_is_no_utf8_stops_no_other(
    sqlite_store: Store, column: str, written: str
) -> None:
    row = outbox_values(1)
    del row[column]
    async with reading(sqlite_store) as tracker:
        write_raw(sqlite_store, row, **{column: f"CAST({written} AS TEXT)"})
        write_rows(sqlite_store, outbox_values(2))
        await until_taken(sqlite_store)
        [error] = failed(tracker, numbers={2})
        assert error["type"] == "InvalidSubmission"


@pytest.mark.parametrize("column", ["kind", "namespace", "created_at"])
async def test_a_huge_text_is_told_in_short(sqlite_store: Store, column: str) -> None:
    async with reading(sqlite_store) as tracker:
        write_raw(sqlite_store, outbox_values(1) | {column: "x" * HUGE})
        write_rows(sqlite_store, outbox_values(2))
        await until_taken(sqlite_store)
        [error] = failed(tracker, numbers={2})
        assert len(error["message"]) < 1000


async def test_a_row_has_an_id(sqlite_store: Store) -> None:
    with pytest.raises(Exception, match="NOT NULL"):
        write_raw(sqlite_store, outbox_values(1) | {"id": None})


async def test_several_rows_with_alike_ids_are_told_apart(sqlite_store: Store) -> None:
    async with reading(sqlite_store) as tracker:
        for row_id in (b"1", "1", b"\xff", b"\xff\xff", "1\0", "rowid 1", "rowid 4"):
            write_raw(sqlite_store, outbox_values(1) | {"id": row_id})
        write_rows(sqlite_store, outbox_values(2))
        await until_taken(sqlite_store)
        assert len(failed(tracker, numbers={2})) == 7


async def test_a_commit_in_doubt_takes_a_malformed_row_once(faulty_store: Any) -> None:
    async with reading(faulty_store) as tracker:
        faulty_store.answer_is_lost = True
        write_raw(faulty_store, outbox_values(1) | {"id": b"\xff"})
        await until_taken(faulty_store)
        await tracker.ticker.wait_for_tick()
        assert len(failed(tracker, numbers=set())) == 1


@pytest.mark.parametrize("column", ["kind", "namespace", "document", "created_at"])
async def test_a_malformed_row_that_waits_can_be_read(sqlite_store: Store, column: str) -> None:
    row = outbox_values(1)
    del row[column]
    write_raw(sqlite_store, row, **{column: "CAST(x'ff' AS TEXT)"})
    found = sqlite_store.read(OutboxTask(task_id(1)))
    assert found is not None
    assert sqlite_store.read(OutboxTask(task_id(2))) is None


def test_what_was_set_aside_is_passed_over(sqlite_store: Store) -> None:
    for row_id in (b"a", b"b"):
        write_raw(sqlite_store, outbox_values(1) | {"id": row_id})
    write_rows(sqlite_store, outbox_values(1), outbox_values(2))
    found = sqlite_store.outbox([], [], HUGE).rows
    assert [row.row_id for row in found] == [task_id(1), task_id(2), "rowid 1", "rowid 2"]
    found = sqlite_store.outbox(["rowid 1", task_id(2)], [], HUGE).rows
    assert [row.row_id for row in found] == [task_id(1), "rowid 2"]


def test_the_place_of_a_malformed_row_is_not_taken_from_another(sqlite_store: Store) -> None:
    """VACUUM gives rows other places."""
    write_rows(sqlite_store, outbox_values(1))
    write_raw(sqlite_store, outbox_values(1) | {"id": b"b"})
    with sqlite_store._database.writing() as connection:
        assert outbox_rows.take(connection, ["rowid 1", "rowid 2", "rowid 3"]).taken == {"rowid 2"}
        assert outbox_rows.take(connection, [task_id(1)]).taken == {task_id(1)}


async def test_a_row_that_breaks_its_check_stops_no_other(
    store_url: str, open_store: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_book, "_FIRST_PAUSE", 0.05)
    store, breaks = open_store(store_url), True

    def breaking(row: OutboxRow, *rest: Any) -> OutboxEntry:
        if breaks and row.row_id == task_id(1):
            raise ZeroDivisionError
        return entry_of(row, *rest)

    monkeypatch.setattr(outbox_reader, "entry_of", breaking)
    async with reading(store) as tracker:
        write_rows(store, outbox_values(1), outbox_values(2))
        await until_taken(store, left=1)
        await until_state(tracker, set_aside=1)
        assert failed(tracker, numbers={2}) == []
        breaks = False
        await until_taken(store)
        assert failed(tracker, numbers={1, 2}) == []


LONE = "\\ud800"
"""Half a character, as JSON can write it."""


@pytest.mark.parametrize(
    "document",
    [
        f'{{"task_type": "{LONE}"}}',
        f'{{"task_type": "short", "payload": "{LONE}"}}',
        f'{{"task_type": "short", "payload": {{"{LONE}": 1}}}}',
        f'{{"task_type": "short", "payload": 1, "{LONE}": 1}}',
        f'{{"task_type": "short", "payload": 1, "tags": ["{LONE}"]}}',
        f'{{"task_type": "short", "payload": 1, "idempotency_key": "{LONE}"}}',
        f'{{"task_type": "short", "payload": 1, "unique": {{"key": "{LONE}"}}}}',
        f'{{"task_type": "short", "payload": 1, "traceparent": "{LONE}"}}',
        f'{{"task_type": "short", "payload": 1, "callback_url": "{LONE}"}}',
        f'{{"task_type": "short", "payload": 1, "run_at": "{LONE}"}}',
        '{"task_type": "short", "payload": "\\u0000", "tags": ["\\u0000"]}',
        '{"task_type": "short", "payload": 1, "unique": {"key": "\\u0000"}}',
        '{"task_type": "short", "payload": 1, "priority": ' + "9" * 5000 + "}",
        '{"task_type": "short", "payload": 1, "delay_seconds": 1e999}',
    ],
)
async def test_a_document_that_cannot_be_stored_stops_no_other(
    store_url: str, open_store: Callable[..., Store], document: str
) -> None:
    store = open_store(store_url)
    async with reading(store) as tracker:
        write_rows(store, outbox_values(1, document=document), outbox_values(2))
        await until_taken(store)
        [error] = failed(tracker, numbers={2})
        assert error["type"] == "InvalidSubmission"


@pytest.mark.parametrize("written", ["NaN", "inf", "-inf", "1e300", "-1e300", "-1"])
async def test_a_time_that_is_none_counts_as_the_time_of_the_look(
    store_url: str, open_store: Callable[..., Store], written: str
) -> None:
    at = float(written)
    if at != at and store_url.startswith("sqlite"):
        at = math.inf  # it has no NaN
    store = open_store(store_url)
    async with tracker_on(store, clock=lambda: NOW) as tracker:
        write_rows(store, outbox_values(1, at=at), outbox_values(2))
        await until_state(tracker, rows=2, oldest_at=NOW)
        [reason] = outbox_reasons(tracker.outbox.state, NOW + 60.0)
        assert "the oldest for 60 s" in str(reason)
        row = await tracker.read(OutboxTask(task_id(1)))
        assert row is not None
        assert rfc3339(row.created_at)
        tracker.set_handlers([info()])
        await until_taken(store)
        assert failed(tracker, numbers={1, 2}) == []


@pytest.mark.parametrize("at", [NOW * 1000, NOW + 600.0])
async def test_a_wrong_clock_of_a_writer_does_not_silence_health(
    store_url: str, open_store: Callable[..., Store], monkeypatch: pytest.MonkeyPatch, at: float
) -> None:
    """In milliseconds, or ten minutes fast."""
    monkeypatch.setattr(outbox_reader, "_COUNT_SECONDS", 0.0)
    store, clock = open_store(store_url), FakeClock(NOW)
    async with tracker_on(store, clock=clock, monotonic=time.monotonic) as tracker:
        write_rows(store, outbox_values(1, at=at), outbox_values(2))
        await until_state(tracker, rows=2, oldest_at=NOW)
        for _ in range(3):  # beyond the writer's time, too
            clock.advance(400.0)
            tracker.outbox.nudge()
            await until_state(tracker, rows=2, oldest_at=NOW)
            seen = tracker.outbox.state
            await asyncio.sleep(0)
            tracker.outbox.nudge()
            async with asyncio.timeout(PATIENCE):
                while tracker.outbox.state is seen:  # noqa: ASYNC110 - it has no signal
                    await asyncio.sleep(0.005)
            assert tracker.outbox.state.oldest_at == NOW
        [reason] = outbox_reasons(tracker.outbox.state, clock())
        assert "the oldest for 1200 s" in reason["message"]
