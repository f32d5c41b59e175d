"""Tasks that other sessions of PostgreSQL have locked: they wait, and stop nobody else."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from raytasks.model.controls import Limit
from raytasks.model.handler_info import HandlerInfo, HandlerKind
from raytasks.model.lane_names import lane_of
from raytasks.model.states import State
from raytasks.model.tasks import StoreUnavailable
from raytasks.protocol.commands import CancelTask
from raytasks.protocol.messages import Claim
from raytasks.protocol.queries import TasksById
from raytasks.store import cursors, postgres_sessions
from raytasks.store.store import Store
from raytasks.testing.clock import FakeClock
from raytasks.tracker import access, aside
from raytasks.tracker.core import Tracker
from raytasks.tracker.health import health_of
from raytasks.tracker.lock_care import CARE_SECONDS, LockCare
from tests.making import new_task, outcome, task_id
from tests.tracking import PATIENCE, ScriptedRunner, let_run, tracker_on, until


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(postgres_sessions._TIMEOUTS, "lock_timeout", "400")
    monkeypatch.setattr(cursors, "BRIEF_MS", 40)
    monkeypatch.setattr(access, "_OUTAGE_DELAYS", (0.001,))
    monkeypatch.setattr(aside, "_FIRST_PAUSE", 0.05)
    monkeypatch.setattr(aside, "_MAX_PAUSE", 0.2)


@pytest.fixture
def postgres_store(_hurry: None, postgres_url: str, open_store: Callable[..., Store]) -> Store:
    return open_store(postgres_url)


@pytest.fixture
async def on_postgres(postgres_store: Store) -> AsyncIterator[Tracker]:
    async with tracker_on(postgres_store) as tracker:
        tracker.fleet.averages.add("short", 0.0001)
        yield tracker


class Session:
    """Another session of the database, which may hold locks."""

    def __init__(self, connection: "psycopg.Connection[Any]") -> None:
        self._connection = connection
        self.release = connection.rollback

    def lock(self, *numbers: int) -> None:
        """Lock tasks, as somebody who looks at them by hand may."""
        ids = [task_id(number) for number in numbers]
        self._connection.execute(
            "SELECT * FROM tasks WHERE task_id = ANY(%s::uuid[]) FOR UPDATE", [ids]
        )


@pytest.fixture
def other(postgres_url: str) -> Iterator[Session]:
    with psycopg.connect(postgres_url.replace("+psycopg", "")) as connection:
        yield Session(connection)
        connection.rollback()


async def submit(tracker: Tracker, *numbers: int, **changes: Any) -> None:
    """Submit tasks one by one; none is refused."""
    for number in numbers:
        await tracker.submit([new_task(number, **changes)])


async def claimed(runner: ScriptedRunner, number: int) -> list[str]:
    """Claim so many tasks, and return their ids."""
    claims: list[Claim] = []
    while len(claims) < number:
        claims += await runner.claim()
    return [claim.task_id for claim in claims]


def ids(*numbers: int) -> list[str]:
    return [task_id(number) for number in numbers]


async def reasons(tracker: Tracker) -> dict[str, Any]:
    """Return the reasons of `/health`, by code."""
    found = (await health_of(tracker.ticker, 0, 1000))["reasons"]
    return {reason["code"]: reason for reason in found}


@pytest.mark.parametrize("capacity", [1, 3, 256])
async def test_a_locked_task_waits_and_all_others_go_on(
    on_postgres: Tracker, other: Session, capacity: int
) -> None:
    await submit(on_postgres, *range(1, 8))
    other.lock(1, 4)
    runner = ScriptedRunner(on_postgres, capacity=capacity, short=capacity)
    waiting = asyncio.ensure_future(claimed(runner, min(capacity, 5)))
    await submit(on_postgres, *range(20, 30))
    found = await waiting
    assert found[:5] == ids(2, 3, 5, 6, 7)[:capacity]
    await submit(on_postgres, *range(30, 40))
    told = await reasons(on_postgres)
    assert "another session of the database has locked" in told["tasks_locked"]["message"]
    assert told["tasks_locked"]["count"] == 2
    assert "database_away" not in told
    other.release()
    others = ScriptedRunner(on_postgres, "r2")
    left = 27 - len(found)
    assert {*ids(1, 4)} <= {*await claimed(others, left)}
    assert "tasks_locked" not in await reasons(on_postgres)
    on_postgres.ticker.ledger.check()
    await runner.hang_up()
    await others.hang_up()


async def test_what_is_in_order_is_not_passed(on_postgres: Tracker, other: Session) -> None:
    limit = Limit("order", running=1, by="/key", ordered=True)
    info = HandlerInfo("short", HandlerKind.FUNCTION, (1, 1), limits=(limit,))
    on_postgres.set_handlers([info])
    for number, key in ((1, "a"), (2, "a"), (3, "b")):
        values = f'{{"order":"{key}"}}'
        lane = lane_of("default", values)
        await submit(on_postgres, number, limit_values=values, lane=lane)
    other.lock(1)
    runner = ScriptedRunner(on_postgres)
    assert await claimed(runner, 1) == ids(3)
    await submit(on_postgres, 20, task_type="long")
    found = await on_postgres.read(TasksById(ids(1, 2)))
    assert {task.state for task in found.values()} == {State.PENDING}
    other.release()
    assert await claimed(runner, 1) == ids(1)
    await runner.hang_up()


async def test_the_outcome_of_a_locked_task_waits_and_stops_nobody_else(
    on_postgres: Tracker, other: Session
) -> None:
    await submit(on_postgres, 1, 2)
    runner = ScriptedRunner(on_postgres)
    claims = {claim.task_id: claim for claim in await runner.claim()}
    while len(claims) < 2:
        claims |= {claim.task_id: claim for claim in await runner.claim()}
    other.lock(1)
    runner.send([outcome(claim) for claim in claims.values()])
    await let_run()
    await submit(on_postgres, *range(20, 40))
    await until(on_postgres, 2, State.COMPLETED)
    async with asyncio.timeout(PATIENCE):
        while not on_postgres.ticker.recovery.aside.report()["count"]:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    [named] = on_postgres.ticker.recovery.aside.report()["list"]
    assert (named["what"], named["error"]) == (
        f"outcome of task {task_id(1)}, attempt 1",
        "LockNotAvailable",
    )
    await submit(on_postgres, *range(40, 60))
    assert "database_away" not in await reasons(on_postgres)
    other.release()
    await until(on_postgres, 1, State.COMPLETED)
    on_postgres.ticker.ledger.check()
    await runner.hang_up()


async def test_who_needs_a_locked_task_is_refused_and_nobody_else(
    on_postgres: Tracker, other: Session
) -> None:
    await submit(on_postgres, 1, 2)
    other.lock(1)
    acts: Sequence[Any] = await asyncio.gather(
        on_postgres.execute(CancelTask(task_id(1))),
        on_postgres.execute(CancelTask(task_id(2))),
        *(submit(on_postgres, number) for number in range(20, 40)),
        return_exceptions=True,
    )
    refused = acts[0]
    assert isinstance(refused, StoreUnavailable)
    assert "another session of the database has locked" in str(refused)
    assert [item for item in acts[1:] if isinstance(item, Exception)] == []
    other.release()
    await on_postgres.execute(CancelTask(task_id(1)))
    on_postgres.ticker.ledger.check()


def ticked(*passed_over: str, asked: bool = True) -> tuple[Any, Any]:
    """A tick that has asked for claims or not, and its result."""
    plan = SimpleNamespace(questions=[1]) if asked else None
    return SimpleNamespace(plan=plan), SimpleNamespace(passed_over=passed_over)


def test_care_ends_some_time_after_the_last_lock() -> None:
    clock = FakeClock(0.0)
    care = LockCare(clock)
    taken: list[bool] = []

    def note(tick: tuple[Any, Any], seconds: float) -> None:
        clock.advance(seconds)
        care.note(*tick)
        taken.append(care.is_taken)

    note(ticked(), 0.0)
    care.begin()
    note(ticked("x"), CARE_SECONDS - 1)
    clock.advance(CARE_SECONDS - 1)
    [reason] = care.reasons(1000.0)
    assert (reason["code"], reason["count"]) == ("tasks_locked", 1)
    assert reason["since"] == 1000.0 - CARE_SECONDS + 1
    note(ticked(), 0.0)
    assert care.reasons(1000.0) == []
    note(ticked(asked=False), 2.0)  # a tick without claims proves nothing
    note(ticked(), 0.0)
    assert taken == [False, True, True, True, False]


def test_a_lock_that_was_seen_long_ago_is_not_told() -> None:
    clock = FakeClock(0.0)
    care = LockCare(clock)
    care.begin()
    care.note(*ticked("x"))
    assert care.reasons(1000.0)
    clock.advance(CARE_SECONDS + 1)
    assert care.reasons(1000.0) == []
