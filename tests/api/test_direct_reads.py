"""Reads that a replica makes itself: as the tracker answers, and of its database only."""

import asyncio
import os
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, get_args

import pytest

from raytasks.api.direct_reads import DirectReads, open_reads
from raytasks.model.bulk_operations import NewBulk
from raytasks.model.states import State
from raytasks.model.task_events import EventQuery
from raytasks.model.tasks import StoreUnavailable
from raytasks.protocol import codec as wire
from raytasks.protocol.commands import CancelTask, StartBulk
from raytasks.protocol.places import DatabasePlace
from raytasks.protocol.queries import (
    AuditList,
    BulkById,
    BulkList,
    BulkMatches,
    ErrorList,
    KnownTasks,
    NamespaceList,
    OutboxTask,
    Query,
    RepeatedSubmissions,
    ScheduleList,
    StatsHistory,
    StoredQuery,
    TaskActs,
    TaskCounts,
    TaskDetail,
    TaskEnds,
    TaskEvents,
    TasksById,
)
from raytasks.store.store import Store
from raytasks.tracker.core import Tracker
from tests.local_service import LocalService, serving
from tests.making import bulk_filter, new_task, task_id, task_query
from tests.tracking import PATIENCE, tracker_on

OWNER = "the-actor"


@asynccontextmanager
async def both(url: str) -> AsyncIterator[tuple[Tracker, DirectReads]]:
    """A tracker, and the direct reads of its database."""
    async with tracker_on(Store(url), owner=OWNER) as tracker:
        reads = DirectReads(url)
        yield tracker, reads
        reads.close()


def on_the_wire(query: Query[Any], answer: object) -> object:
    """Send a query and its answer as a replica and the tracker do, and return what arrives."""
    assert wire.query_of(wire.encode(query)) == query
    arrived: object = wire.answer_of(query, wire.encode(answer))
    return arrived


async def test_they_are_what_the_tracker_says(store_url: str) -> None:
    asked = bulk_filter("cancel", task_type="short")
    places = [EventQuery(task_id(1)), EventQuery(task_id(9)), EventQuery(task_id(2))]
    queries: list[Query[Any]] = [
        TaskDetail(task_id(1)),
        TaskDetail(task_id(2)),
        TaskDetail(task_id(9)),
        TasksById([task_id(1), task_id(2), task_id(9)]),
        KnownTasks([task_id(1), task_id(9)]),
        RepeatedSubmissions(
            [new_task(n, idempotency_key=f"k{n}", request_digest="d") for n in (11, 14)]
        ),
        TaskEnds([task_id(1), task_id(2), task_id(9)]),
        task_query(limit=2),
        task_query(tag="a"),
        task_query(state=State.CANCELLED),
        TaskEvents(places),
        TaskActs(task_id(2)),
        AuditList(),
        ScheduleList("default"),
        ErrorList("default", None, 1.0),
        NamespaceList(None),
        StatsHistory("default", None, 3600, 1.0),
        TaskCounts("default"),
        BulkMatches(asked),
        OutboxTask(task_id(1)),
    ]
    assert {type(query) for query in queries} == set(get_args(StoredQuery))
    bulks = [BulkById(task_id(7), "default"), BulkById(task_id(8), "default"), BulkList("default")]
    async with both(store_url) as (tracker, reads):
        await tracker.submit([new_task(n, tags='["a"]') for n in (1, 2, 3)])
        await tracker.submit([new_task(4, idempotency_key="k14", request_digest="d")])
        await tracker.execute(CancelTask(task_id(2)))
        retry = bulk_filter("retry", state=State.FAILED)
        await tracker.execute(StartBulk(NewBulk(task_id(7), retry, 1.0)))
        while tracker.ticker.store.open_bulks():  # noqa: ASYNC110 - nothing tells of their end
            await asyncio.sleep(0.01)
        everything: list[Query[Any]] = [*queries, *bulks]
        for query in everything:
            told = await tracker.read(query)
            assert on_the_wire(query, told) == told
            assert await reads.read(query) == told


async def test_what_was_answered_is_there(store_url: str) -> None:
    async with both(store_url) as (tracker, reads):
        for number in range(20):
            await tracker.submit([new_task(number)])
            found = await reads.read(TaskDetail(task_id(number)))
            assert found is not None
            assert found[0].state is State.PENDING
            await tracker.execute(CancelTask(task_id(number)))
            found = await reads.read(TaskDetail(task_id(number)))
            assert found is not None
            assert found[0].state is State.CANCELLED


async def test_those_who_ask_together_are_answered_each(store_url: str) -> None:
    async with both(store_url) as (tracker, reads):
        await tracker.submit([new_task(n) for n in range(300)])
        names = [task_id(n) for n in [*range(305), 5, 5]]
        async with asyncio.timeout(PATIENCE):
            found = await asyncio.gather(*(reads.read(TaskDetail(name)) for name in names))
        for name, item in zip(names, found, strict=True):
            assert (item is None) == (name > task_id(299)), name
            assert item is None or item[0].task_id == name


async def test_a_locked_file_is_waited_for_beside_the_loop(sqlite_url: str) -> None:
    reads = DirectReads(sqlite_url)
    other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("PRAGMA locking_mode=EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    other.execute("UPDATE tracker_epoch SET renewed_at = 1")
    read = asyncio.ensure_future(reads.read(TaskDetail(task_id(1))))
    await asyncio.sleep(0.05)  # the loop runs on: else this would be the time that it all takes
    assert not read.done()
    other.execute("COMMIT")
    other.close()
    async with asyncio.timeout(PATIENCE):
        assert await read is None
    reads.close()


async def test_lists_do_not_hold_up_the_loop(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    monkeypatch.setattr(Store, "read", lambda *_: gate.wait(PATIENCE))
    async with both(sqlite_url) as (tracker, reads):
        lists = [asyncio.ensure_future(reads.read(task_query())) for _ in range(10)]
        await tracker.submit([new_task(1)])
        assert await reads.read(TaskDetail(task_id(1))) is not None
        assert not any(item.done() for item in lists)
        gate.set()
        assert all(await asyncio.gather(*lists))


class TestOutages:
    async def test_a_restart_of_the_server_is_not_noticed(
        self, postgres_server: Any, postgres_url: str
    ) -> None:
        reads = DirectReads(postgres_url)
        for _ in range(2):
            assert await reads.read(TaskDetail(task_id(1))) is None
            assert await reads.read(TasksById([task_id(1)])) == {}
            postgres_server.restart()
        assert await asyncio.gather(*(reads.read(TaskDetail(task_id(n))) for n in (1, 2))) == [
            None,
            None,
        ]
        assert await reads.read(TasksById([task_id(1)])) == {}
        reads.close()

    async def test_a_server_that_is_away_is_unavailable(
        self, postgres_server: Any, postgres_url: str
    ) -> None:
        reads = DirectReads(postgres_url)
        assert await reads.read(TaskDetail(task_id(1))) is None
        postgres_server.stop()
        try:
            for _ in range(2):
                with pytest.raises(StoreUnavailable):
                    await reads.read(TaskDetail(task_id(1)))
                with pytest.raises(StoreUnavailable):
                    await reads.read(task_query())
        finally:
            postgres_server.start()
        assert await reads.read(TaskDetail(task_id(1))) is None
        reads.close()

    async def test_they_go_on_without_the_tracker(self, sqlite_url: str, tmp_path: Path) -> None:
        async with serving(LocalService(sqlite_url, tmp_path), runner=False) as api:
            task = await api.submit()
            api.service.backend.calls.clear()
            assert (await api.client.get(f"/tasks/{task['task_id']}")).status_code == 200
            assert (await api.client.get("/tasks/")).json()["total"] == 1
            # Only why it waits is asked of the tracker, and not waited for long.
            assert api.service.backend.calls == {"WaitingFor": 1}

    async def test_the_tracker_is_asked_for_ends_only_and_only_while_somebody_waits(
        self, sqlite_url: str, tmp_path: Path
    ) -> None:
        service = LocalService(sqlite_url, tmp_path)
        async with serving(service, runner=True) as api:
            await api.submit()  # maybe its end is told, too
            assert service.backend.calls == {"submit": 1}
            for _ in range(5):
                await api.finished(await api.submit())
            calls = service.backend.calls
            # One begins to follow, and there is one for each end that was told.
            assert set(calls) == {"submit", "changes"}
            assert calls["changes"] <= 8

    async def test_an_outage_is_503(self, sqlite_url: str, tmp_path: Path) -> None:
        service = LocalService(sqlite_url, tmp_path)
        async with serving(service, runner=False) as api:
            service.backend._reads = DirectReads(f"sqlite:///{tmp_path}/gone.db")
            answer = await api.client.get(f"/tasks/{task_id(1)}")
            assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
            assert (await api.client.get("/tasks/")).status_code == 503


class TestOpening:
    async def test_the_trackers_database_is_read(self, store_url: str) -> None:
        async with both(store_url):
            reads = await open_reads(DatabasePlace(store_url, "here", OWNER), "here")
            assert reads is not None
            assert await reads.read(TaskDetail(task_id(1))) is None
            reads.close()

    async def test_a_server_is_read_from_anywhere_and_a_file_at_its_node(
        self, store_url: str
    ) -> None:
        async with both(store_url):
            reads = await open_reads(DatabasePlace(store_url, "there", OWNER), "here")
            assert (reads is None) == store_url.startswith("sqlite")
            if reads is not None:
                reads.close()

    async def test_another_database_of_the_same_name_is_not_read(self, store_url: str) -> None:
        async with both(store_url):
            assert await open_reads(DatabasePlace(store_url, "here", "another"), "here") is None

    @pytest.mark.parametrize("url", ["sqlite:///{}/none.db", "postgresql://user@/name?host={}"])
    async def test_one_that_is_not_there_is_not_read_nor_made(
        self, url: str, tmp_path: Path
    ) -> None:
        place = DatabasePlace(url.format(tmp_path), "here", OWNER)
        assert await open_reads(place, "here") is None
        assert os.listdir(tmp_path) == []

    async def test_one_that_is_not_migrated_is_not_read(self, tmp_path: Path) -> None:
        file = tmp_path / "tasks.db"
        sqlite3.connect(file).close()
        assert await open_reads(DatabasePlace(f"sqlite:///{file}", "here", ""), "here") is None
        assert file.read_bytes() == b""

    def test_a_place_does_not_show_its_password(self) -> None:
        place = DatabasePlace("postgresql://user:hunter2@host/name", "here", OWNER)
        assert "hunter2" not in repr(place)
