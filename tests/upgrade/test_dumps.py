"""Databases that 0.1.0 has filled with 100,000 tasks go on with today's version."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from raytasks.api.app import create_app
from raytasks.handling.declaration import handler_of
from raytasks.handling.registry import Registry
from raytasks.model.handler_info import REMOTE_POOL
from raytasks.model.states import OutcomeKind, State
from raytasks.protocol.messages import Outcome
from raytasks.protocol.queries import TaskDetail
from raytasks.settings import Settings
from raytasks.store.store import Store
from raytasks.testing import FakeClock
from raytasks.tracker.core import Tracker
from tests.making import outcome
from tests.tracker.test_outpost import Cluster, LoopedRunner
from tests.tracking import ScriptedRunner, tracker_on
from tests.upgrade.dump_handlers import mail, report
from tests.upgrade.dumped import TABLES, TASKS, Content

pytestmark = pytest.mark.timeout(120)

DAY = 86_400.0
OpenStore = Callable[..., Store]
WAITING = ("PENDING", "RETRYING")
URL = "http://localhost"


@pytest.fixture
def clock(content: Content) -> FakeClock:
    """A clock that shows a minute after the last change of 0.1.0."""
    [[latest]] = content.rows("SELECT max(updated_at) FROM tasks")
    return FakeClock(latest + 60)


@asynccontextmanager
async def upgraded(url: str, clock: FakeClock, open_store: OpenStore) -> AsyncIterator[Tracker]:
    """Today's tracker on the database; it hands out tasks, and no runner is there yet."""
    async with tracker_on(open_store(url), clock=clock) as tracker:
        await tracker.resume()
        yield tracker


@asynccontextmanager
async def api_of(
    tracker: Tracker, clock: FakeClock, folder: Path
) -> AsyncIterator[httpx.AsyncClient]:
    """The real API over the tracker, in this process."""
    registry = Registry()
    for handler in (mail, report):
        registry.add(handler_of(handler))
    settings = Settings(_env_file=None, artifacts_url=str(folder / "artifacts"), debug=True)
    app = create_app(tracker, registry, settings, clock=clock)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=URL, timeout=20) as client:
        yield client


def test_the_dump_has_all_states(content: Content) -> None:
    """The dump is worth an upgrade: were it empty, all other tests would pass as well."""
    by_state = Counter[str]()
    for (_, _, state), number in content.counts().items():
        by_state[state] += number
    assert set(by_state) == {state.value for state in State}
    assert sum(by_state.values()) == TASKS
    assert min(by_state.values()) >= 1000
    assert min(content.sizes((*TABLES, "stats_minutes")).values()) > 0
    assert content.rows("SELECT version_num FROM alembic_version") == [("0003",)]
    questions = (
        "suspect", "cancel_requested AND runner_id IS NOT NULL", "checkpoint IS NOT NULL",
        "idempotency_key IS NOT NULL", "progress_fraction IS NOT NULL", "namespace = 'team-a'",
        "state = 'PENDING' AND attempt > 0", "run_at > updated_at + 3600",
    )  # fmt: skip
    for question in questions:
        assert content.rows(f"SELECT count(*) FROM tasks WHERE {question}")[0][0] > 10, question


def test_nothing_is_lost_and_a_second_start_changes_nothing(
    old_url: str, content: Content, clock: FakeClock, open_store: OpenStore
) -> None:
    counts, sizes = content.counts(), content.sizes()
    stored = content.many("SELECT task_id, payload, result, error, checkpoint FROM tasks")
    suspects = content.rows("SELECT task_id FROM tasks WHERE suspect")
    store = open_store(old_url)
    store.upgrade()
    assert content.counts() == counts
    assert content.sizes() == sizes
    after = content.many("SELECT task_id, payload, result, error, checkpoint FROM tasks")
    assert after == stored
    told = {(space, kind, state.value): n for (space, kind, state), n in store.counts().items()}
    assert {key: number for key, number in told.items() if number} == counts
    claimed = "SELECT count(*) FROM tasks WHERE state = 'RUNNING' AND claimed_at = started_at"
    assert content.rows(claimed)[0][0] == sum(
        number for (*_, state), number in counts.items() if state == "RUNNING"
    )
    alone = content.rows("SELECT task_id FROM tasks WHERE company = 1")
    assert sorted(alone) == sorted(suspects)

    async def start() -> None:
        async with tracker_on(open_store(old_url), clock=clock):
            pass

    known = content.tables()
    for _ in range(2):
        asyncio.run(start())
        assert content.tables() == known


async def test_all_that_waits_runs_to_its_end(
    old_url: str, content: Content, clock: FakeClock, open_store: OpenStore
) -> None:
    before = content.counts()
    async with upgraded(old_url, clock, open_store) as tracker:
        runner = ScriptedRunner(tracker, pool=REMOTE_POOL, capacity=2000, mail=2000, report=2000)
        for old in tracker.runners():
            tracker.mark_lost(old.runner_id, "its cluster was stopped before the upgrade")
        clock.advance(2 * DAY)  # now everything is due
        ended = await run_all(tracker, runner)
    after = content.counts()
    assert {state for *_, state in after} == {"COMPLETED", "FAILED", "CANCELLED"}
    assert sum(after.values()) == TASKS
    cancelled = content.rows(
        "SELECT count(*) FROM tasks WHERE state = 'CANCELLED' AND payload LIKE '%to_cancel%'"
    )
    assert cancelled == [(200,)]
    open_before = sum(
        number for (*_, state), number in before.items() if state in (*WAITING, "RUNNING")
    )
    assert ended == open_before - 200
    assert content.rows("SELECT count(*) FROM attempts WHERE outcome = 'lost'")[0][0] >= 1000


async def test_a_second_cluster_takes_over_from_the_first(
    old_url: str, content: Content, clock: FakeClock, open_store: OpenStore
) -> None:
    """The attempts that run in the first one are passed on, and end once."""

    class Runner(LoopedRunner):
        def capacity_by_type(self) -> dict[str, int]:
            return {"mail": 2}

    first, second = (
        Cluster(open_store(old_url), name, 30.0, clock=clock) for name in ("first", "second")
    )
    first.begin()
    await first.until_loaded()
    runner = Runner(first, REMOTE_POOL, 2)
    try:
        await first.tracker.resume()
        claims = [await runner.claim() for _ in range(2)]
        second.begin()
        await second.until_loaded()
        await first.until_outpost()
        for claim in claims:
            runner.end(claim, result="{}")
        async with asyncio.timeout(30):
            for claim in claims:
                query = TaskDetail(claim.task_id)
                found = None
                while found is None or not found[0].state.final:
                    await asyncio.sleep(0.02)
                    found = await second.tracker.read(query)
                task, attempts = found
                assert (task.state, task.attempt) == (State.COMPLETED, claim.attempt)
                assert [item.attempt for item in attempts] == list(range(1, claim.attempt + 1))
    finally:
        runner.life.cancel()
        for cluster in (first, second):
            await cluster.kill()
            await cluster.tracker.close()
    owners = content.rows("SELECT owner, epoch FROM reigns ORDER BY epoch")
    assert [owner for owner, _ in owners] == ["first", "second"]
    told = {key: number for key, number in open_store(old_url).counts().items() if number}
    assert {(*key[:2], key[2].value): number for key, number in told.items()} == content.counts()


async def run_all(tracker: Tracker, runner: ScriptedRunner) -> int:
    """Run all tasks that wait, each with success, and return how many those were."""
    ended = 0
    outcomes: list[Outcome] = []
    while tracker.backlog or tracker.fleet.running:
        call = runner.send(outcomes)
        while not call.done() and (tracker.backlog or tracker.fleet.running):
            await asyncio.wait([call], timeout=0.05)
        outcomes = [
            outcome(claim, OutcomeKind.SUCCEEDED, at=tracker.ticker.clock(), result="{}")
            for claim in (call.result().claims if call.done() else ())
        ]
        ended += len(outcomes)
    await runner.hang_up()
    return ended


async def test_the_api_tells_their_histories(
    old_url: str, content: Content, clock: FakeClock, open_store: OpenStore, tmp_path: Path
) -> None:
    [second] = content.of_fate("completed_second")
    [failed] = content.of_fate("failed_thrice")
    async with (
        upgraded(old_url, clock, open_store) as tracker,
        api_of(tracker, clock, tmp_path) as client,
    ):
        task = (await client.get(f"/tasks/{second}")).raise_for_status().json()
        assert (task["state"], task["attempt"]) == ("COMPLETED", 2)
        assert task["result"] == {"order": task["payload"]["order"]}
        assert [item["outcome"] for item in task["attempts"]] == ["failed", "succeeded"]
        assert task["attempts"][0]["error"]["type"] == "SMTPServerDisconnected"
        task = (await client.get(f"/tasks/{failed}")).raise_for_status().json()
        assert [item["outcome"] for item in task["attempts"]] == ["failed"] * 3
        story = await client.get(f"/tasks/{failed}/events")
        states = [
            json.loads(line.removeprefix("data:"))["state"]
            for line in story.text.splitlines()
            if line.startswith("data:") and '"task_type"' in line
        ]
        assert states == [
            "PENDING", "RUNNING", "RETRYING", "RUNNING", "RETRYING", "RUNNING", "FAILED",
        ]  # fmt: skip
        tagged = (await client.get("/tasks/", params={"tag": "customer:3", "limit": 5})).json()
        assert len(tagged["tasks"]) == 5
        assert all("customer:3" in task["tags"] for task in tagged["tasks"])
        team = (await client.get("/tasks/", params={"namespace": "team-a"})).json()
        assert team["tasks"][0]["task_type"] == "report"
        bulks = (await client.get("/bulk")).raise_for_status().json()["operations"]
        assert {item["action"] for item in bulks} == {"retry", "cancel"}
        assert all(item["state"] == "DONE" and item["changed"] for item in bulks)
        stats = (await client.get("/stats")).raise_for_status().json()
        assert stats["windows"]["day"]["completed"] > 10_000


async def test_old_tasks_obey(
    old_url: str, content: Content, clock: FakeClock, open_store: OpenStore, tmp_path: Path
) -> None:
    [failed] = content.of_fate("failed")
    [cancelled] = content.of_fate("cancelled_one_by_one")
    [pending] = content.of_fate("pending")
    async with (
        upgraded(old_url, clock, open_store) as tracker,
        api_of(tracker, clock, tmp_path) as client,
    ):
        for old in (failed, cancelled):
            task = (await client.post(f"/tasks/{old}/retry")).raise_for_status().json()
            assert task["state"] == "PENDING"
        task = (await client.post(f"/tasks/{pending}/cancel")).raise_for_status().json()
        assert task["state"] == "CANCELLED"
        task = (await client.get(f"/tasks/{failed}")).json()
        assert [item["outcome"] for item in task["attempts"]] == ["failed"]  # it is kept


async def test_an_old_idempotency_key_finds_its_task(
    old_url: str, content: Content, clock: FakeClock, open_store: OpenStore, tmp_path: Path
) -> None:
    statement = "SELECT task_id, payload, tags, priority, idempotency_key FROM tasks "
    statement += "WHERE idempotency_key IS NOT NULL AND task_type = 'mail' AND state = :state"
    async with (
        upgraded(old_url, clock, open_store) as tracker,
        api_of(tracker, clock, tmp_path) as client,
    ):
        for state in ("PENDING", "COMPLETED"):
            rows = content.rows(statement + " ORDER BY task_id DESC LIMIT 1", state=state)
            [(task_id, payload, tags, priority, key)] = rows
            body = {
                "task_type": "mail",
                "payload": json.loads(payload),
                "priority": priority,
                "tags": json.loads(tags),
            }
            headers = {"Idempotency-Key": key}
            again = await client.post("/tasks/", json=body, headers=headers)
            assert again.json()["task_id"] == str(task_id), again.text
            other = await client.post("/tasks/", json={**body, "priority": 9}, headers=headers)
            assert other.status_code == 409
