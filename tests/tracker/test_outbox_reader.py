"""The reader of the outbox: each committed row becomes one task, whatever else happens."""

import asyncio
from collections.abc import Callable
from typing import Any, Never

import psycopg
import pytest
from msgspec import json

from raytasks.model.acts import BY_OUTBOX
from raytasks.model.states import State
from raytasks.model.steering import NamespaceSetting
from raytasks.model.tasks import Task
from raytasks.protocol.commands import SetNamespace
from raytasks.protocol.queries import AuditList, TasksById
from raytasks.store import outbox_rows
from raytasks.store.store import Store
from raytasks.tracker import outbox_book, outbox_reader
from raytasks.tracker.core import Tracker
from tests.making import NOW, new_task, task_id
from tests.outbox_tools import (
    info,
    outbox_values,
    reading,
    until_state,
    until_taken,
    write_raw,
    write_rows,
)
from tests.tracking import PATIENCE, FaultyStore, ScriptedRunner, tracker_on, until


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_reader, "IDLE_SECONDS", 0.02)


@pytest.fixture
def outbox_store(store_url: str, open_store: Callable[..., Store]) -> Store:
    return open_store(store_url)


async def until_backlog(tracker: Tracker, number: int, namespace: str = "default") -> None:
    """Wait until so many tasks of a namespace count; a row is gone before its task counts."""
    async with asyncio.timeout(PATIENCE):
        backlogs = tracker.ticker.ledger.backlogs
        while backlogs[namespace] != number:  # noqa: ASYNC110 - it has no signal
            await asyncio.sleep(0.005)


async def task(tracker: Tracker, number: int) -> Task | None:
    return (await tracker.read(TasksById([task_id(number)]))).get(task_id(number))


async def existing(tracker: Tracker, number: int) -> Task:
    found = await task(tracker, number)
    assert found is not None
    return found


def error_of(found: Task) -> dict[str, Any]:
    error: dict[str, Any] = json.decode(found.error or "")
    return error


async def test_a_row_becomes_a_task_with_its_options_and_defaults(outbox_store: Store) -> None:
    async with reading(outbox_store) as tracker:
        runner = ScriptedRunner(tracker)
        write_rows(
            outbox_store,
            outbox_values(
                1,
                payload={"a": [1, "é"]},
                priority=5,
                tags=["x", "y"],
                namespace="team-a",
                idempotency_key="k",
                unique={"key": "u"},
                traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01",
            ),
            outbox_values(2, task_type="long", delay_seconds=60, max_attempts=2),
            outbox_values(3, task_type="long", expires_at="1970-01-20T00:00:00Z"),
        )
        await until_taken(outbox_store)
        first, second, third = [await existing(tracker, number) for number in (1, 2, 3)]
        assert (first.task_id, first.payload) == (task_id(1), '{"a":[1,"é"]}')
        assert (first.namespace, first.priority, first.tags) == ("team-a", 5, '["x","y"]')
        assert (first.max_attempts, first.created_at, first.run_at) == (3, NOW, NOW)
        assert first.unique_spec is not None
        assert "a" * 32 in (first.trace_context or "")
        assert (second.max_attempts, second.timeout_seconds) == (2, 5.0)
        assert (second.run_at, second.state) == (NOW + 60, State.PENDING)
        assert (third.max_attempts, third.expires_at) == (7, 1_641_600.0)
        await runner.claim()
        assert (await until(tracker, 1, State.RUNNING)).attempt == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task_type": "shrot"}, "did you mean 'short'?"),
        ({"task_type": "raytasks.callback"}, "belong to raytasks itself"),
        ({"task_type": 7}, "/task_type: Input should be a valid string"),
        ({"task_type": "a\u0000b"}, "there is no task type"),
        ({"priority": 10_000}, "/priority"),
        ({"nonsense": 1}, "/nonsense"),
        ({"idempotency_key": "é"}, "printable ASCII"),
        ({"idempotency_key": 7}, "printable ASCII"),
        ({"payload": "x" * 1024 * 1024}, "MAX_PAYLOAD_BYTES"),
        ({"payload": "x" * 3 * 1024 * 1024}, "MAX_PAYLOAD_BYTES"),
        ({"callback_url": "https://example.org/"}, "has no secret"),
        ({"kind": "outcome"}, "no rows of the kind 'outcome'"),
        ({"namespace": "No Namespace"}, "is no namespace"),
        ({"document": "{"}, "the document is no JSON"),
        ({"document": "[1]"}, "must be a JSON object"),
        ({"document": '{"payload": NaN}'}, "the document is no JSON"),
        ({"payload": json.decode("[" * 150 + "]" * 150)}, "MAX_DEPTH"),
        ({"run_at": 5}, "/run_at"),
        ({"limit_values": {"x": 1}}, "/limit_values/x"),
    ],
)
async def test_what_does_not_fit_fails_with_the_reason(
    faulty_store: FaultyStore, changes: dict[str, Any], message: str
) -> None:
    async with reading(faulty_store) as tracker:
        write_rows(faulty_store, outbox_values(1, **changes), outbox_values(2))
        await until_taken(faulty_store)
        failed, other = await existing(tracker, 1), await existing(tracker, 2)
        assert (failed.state, failed.attempt, failed.revision) == (State.FAILED, 0, 1)
        assert message in error_of(failed)["message"]
        assert error_of(failed)["type"] == "InvalidSubmission"
        assert other.state is State.PENDING
        assert not failed.task_type.startswith("raytasks.")
        tracker.ticker.ledger.check()


async def test_a_key_that_is_taken_ends_the_task_with_the_holder(outbox_store: Store) -> None:
    async with reading(outbox_store) as tracker:
        write_rows(outbox_store, outbox_values(1, idempotency_key="k", unique={"key": "u"}))
        await until_taken(outbox_store)
        reject = {"key": "u", "on_conflict": "reject"}
        write_rows(
            outbox_store,
            outbox_values(2, idempotency_key="k", unique={"key": "u"}),
            outbox_values(3, idempotency_key="k", payload=1),
            outbox_values(4, unique={"key": "u"}),
            outbox_values(5, unique=reject),
            outbox_values(6, unique={"key": "u", "on_conflict": "replace"}, priority=9),
        )
        await until_taken(outbox_store)
        found = [await existing(tracker, number) for number in range(1, 7)]
        states = [item.state.value for item in found]
        assert states == ["PENDING", "CANCELLED", "FAILED", "CANCELLED", "FAILED", "CANCELLED"]
        assert found[0].priority == 9
        [audited] = (await tracker.read(AuditList())).entries
        assert (audited.action, audited.by, audited.target) == ("replace", BY_OUTBOX, task_id(1))
        for item in (found[1], found[3], found[5]):
            reason = json.decode(item.cancel_reason or "")
            assert (reason["code"], reason["by"]) == ("duplicate", None)
            assert task_id(1) in reason["message"]
            assert not item.cancel_requested
        assert error_of(found[2])["type"] == "KeyConflict"
        assert error_of(found[4])["type"] == "UniqueConflict"
        assert all(task_id(1) in error_of(found[place])["message"] for place in (2, 4))
        tracker.ticker.ledger.check()


async def test_rows_count_that_commit_after_others_with_greater_ids(outbox_store: Store) -> None:
    async with reading(outbox_store) as tracker:
        for number in (5, 3, 4, 1, 2):
            write_rows(outbox_store, outbox_values(number))
            await until_taken(outbox_store)
        assert all([await task(tracker, number) for number in range(1, 6)])


async def test_a_commit_in_doubt_takes_no_row_twice(faulty_store: FaultyStore) -> None:
    async with reading(faulty_store) as tracker:
        faulty_store.answer_is_lost = True
        write_rows(faulty_store, outbox_values(1))
        await until_taken(faulty_store)
        await tracker.ticker.wait_for_tick()
        assert tracker.ticker.ledger.counts["short", State.PENDING] == 1
        tracker.ticker.ledger.check()


async def test_a_row_that_is_written_twice_is_one_task(outbox_store: Store) -> None:
    async with reading(outbox_store) as tracker:
        for _ in range(2):
            write_rows(outbox_store, outbox_values(1))
            await until_taken(outbox_store)
        assert tracker.ticker.ledger.counts["short", State.PENDING] == 1


async def test_a_row_that_breaks_its_tick_stops_no_other(
    outbox_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_book, "_FIRST_PAUSE", 0.05)
    take, breaks = outbox_rows.take, True

    def breaking(connection: Any, ids: Any) -> outbox_rows.TakenRows:
        if breaks and task_id(2) in ids:
            raise ZeroDivisionError
        return take(connection, ids)

    monkeypatch.setattr(outbox_rows, "take", breaking)
    async with reading(outbox_store) as tracker:
        write_rows(outbox_store, *(outbox_values(number) for number in (1, 2, 3)))
        await until_taken(outbox_store, left=1)
        assert await task(tracker, 2) is None
        await until_state(tracker, set_aside=1)
        [named] = tracker.ticker.recovery.aside.report()["list"]
        assert task_id(2) in named["what"]
        breaks = False
        await until_taken(outbox_store)
        assert await task(tracker, 2)


async def test_rows_wait_while_the_backlog_is_full(faulty_store: FaultyStore) -> None:
    async with reading(faulty_store, max_backlog=3) as tracker:
        runner = ScriptedRunner(tracker)
        write_rows(
            faulty_store,
            *(outbox_values(number) for number in range(1, 6)),
            outbox_values(6, task_type="nope"),
        )
        await until_taken(faulty_store, left=2)
        assert await task(tracker, 6), "what fails needs no room"
        await until_backlog(tracker, 3)
        await until_state(tracker, held_by="backlog_full")
        assert (tracker.outbox.state.rows, tracker.outbox.state.oldest_at) == (2, NOW)
        claimed = len(await runner.claim())
        await until_taken(faulty_store, left=max(0, 2 - claimed))


async def test_a_full_namespace_stops_no_other(
    faulty_store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_rows, "MAX_ROWS", 2)
    async with reading(faulty_store) as tracker:
        setting = await tracker.execute(SetNamespace("a", 1.0, 1))
        assert isinstance(setting, NamespaceSetting)
        rows = [outbox_values(number, namespace="a") for number in range(1, 6)]
        write_rows(faulty_store, *rows, outbox_values(6))
        await until_taken(faulty_store, left=4)
        assert await task(tracker, 6)
        await until_backlog(tracker, 1, "a")


async def test_a_long_document_does_not_crowd_out_others(
    faulty_store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_rows, "MAX_BYTES", 1000)
    async with reading(faulty_store) as tracker:
        rows = [outbox_values(number, payload="x" * 700) for number in range(1, 8)]
        write_rows(faulty_store, *rows)
        await until_taken(faulty_store)
        await until_backlog(tracker, 7)


async def test_rows_wait_for_the_first_version_of_the_handlers(faulty_store: FaultyStore) -> None:
    async with tracker_on(faulty_store, clock=lambda: NOW) as tracker:
        write_rows(faulty_store, outbox_values(1))
        await until_state(tracker, held_by="no_version")
        tracker.set_handlers([info()])
        await until_taken(faulty_store)


async def test_an_outage_loses_no_row(faulty_store: FaultyStore) -> None:
    async with reading(faulty_store) as tracker:
        faulty_store.away = True
        write_rows(faulty_store, *(outbox_values(number) for number in (1, 2)))
        await until_state(tracker, held_by="database_away")
        faulty_store.away = False
        await until_taken(faulty_store)
        await tracker.submit([new_task(3)])
        assert tracker.backlog == 3


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("created_at", "2026-12-01 00:00:00"),
        ("document", b"{}"),
        ("namespace", b"default"),
        ("kind", b"submit"),
    ],
)
async def test_a_column_of_a_wrong_type_stops_no_other(
    sqlite_url: str, open_store: Callable[..., Store], column: str, value: Any
) -> None:
    """SQLite keeps what a writer gives it."""
    store = open_store(sqlite_url)
    row = outbox_values(1) | {column: value}
    async with reading(store) as tracker:
        write_raw(store, row)
        write_rows(store, outbox_values(2))
        await until_taken(store)
        assert (await existing(tracker, 2)).state is State.PENDING
        bad = await existing(tracker, 1)
        assert bad.state is State.FAILED
        assert f"the row has columns of a wrong type: {column} (" in error_of(bad)["message"]
        await tracker.ticker.wait_for_tick()  # memory follows the database
        assert tracker.backlog == 1


async def test_rows_that_cannot_be_read_are_told(faulty_store: FaultyStore) -> None:
    async with reading(faulty_store) as tracker:
        faulty_store.outbox = broken  # type: ignore[method-assign, assignment]
        write_rows(faulty_store, outbox_values(1))
        await until_state(tracker, rows=1, oldest_at=NOW, held_by=None)


def broken(*_: object) -> Never:
    raise RuntimeError("it cannot be read")


async def test_a_nudge_is_answered_at_once(
    faulty_store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_reader, "IDLE_SECONDS", 3600.0)
    monkeypatch.setattr(outbox_reader, "BUSY_SECONDS", 3600.0)
    async with reading(faulty_store) as tracker:
        await asyncio.sleep(0.05)  # it has looked, and waits
        write_rows(faulty_store, outbox_values(1))
        tracker.outbox.nudge()
        await until_taken(faulty_store)


@pytest.mark.parametrize("options", ["[]", '["priority"]', '[{"priority": 5}]'])
async def test_options_of_the_function_that_are_a_list_are_named(
    postgres_url: str, open_store: Callable[..., Store], options: str
) -> None:
    store = open_store(postgres_url)
    with psycopg.connect(postgres_url.replace("+psycopg", "")) as connection:
        call = "SELECT CAST(raytasks_submit_v1('short', '{}', %s::jsonb) AS text)"
        row = connection.execute(call, [options]).fetchone()
    assert row is not None
    async with reading(store) as tracker:
        await until_taken(store)
        [found] = (await tracker.read(TasksById([row[0]]))).values()
        assert found.state is State.FAILED
        message = error_of(found)["message"]
        assert "the third argument of raytasks_submit_v1, its options, must be" in message
        assert """e.g. '{"priority": 5}'""" in message
