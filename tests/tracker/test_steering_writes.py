"""The things that people set: durable, at once in force, and written down once."""

import asyncio
import threading
from typing import Any

import pytest

from raytasks.model.steering import LimitSetting, NamespaceSetting, Pause, PoolSetting, Steering
from raytasks.model.tasks import StoreUnavailable
from raytasks.model.time_text import rfc3339
from raytasks.protocol import codec
from raytasks.protocol.commands import (
    ClearLimit,
    ClearNamespace,
    ClearPool,
    PauseWork,
    ResumeWork,
    SetLimit,
    SetNamespace,
    SetPool,
    SteeringCommand,
)
from raytasks.protocol.queries import AuditList, Health, Metrics, WaitingFor
from raytasks.runner.sizing import TypeWork
from raytasks.tracker import steering_writes
from raytasks.tracker.core import Tracker
from tests.making import NOW, new_task, task_id
from tests.tracking import PATIENCE, FaultyStore, ScriptedRunner, tracker_on

SET_LIMIT = SetLimit("smtp", 20, 500.0, 60.0, None, "anna")
LIMIT = LimitSetting("smtp", 20, 500.0, 60.0, None, changed_at=NOW, by="anna")
SET_POOL = SetPool("mail", 0, 6, "anna")
SIZES = PoolSetting("mail", 0, 6, changed_at=NOW, by="anna")
SET_SHARE = SetNamespace("shop", 2.0, 100, "anna")
SHARE = NamespaceSetting("shop", 2.0, 100, changed_at=NOW, by="anna")


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


async def submit(tracker: Tracker, number: int, **changes: Any) -> None:
    """Submit a task that is due now."""
    await tracker.submit([new_task(number, **changes)])


async def acts(tracker: Tracker) -> list[tuple[str, str | None, str | None, str]]:
    """The acts of the audit, the oldest first."""
    page = await tracker.read(AuditList())
    found = [(item.action, item.namespace, item.target, item.by) for item in page.entries]
    return found[::-1]


@pytest.mark.parametrize(
    ("command", "clear", "setting", "told"),
    [
        (
            SET_LIMIT,
            ClearLimit("smtp", "ben"),
            LIMIT,
            [("set_limit", None, "smtp", "anna"), ("clear_limit", None, "smtp", "ben")],
        ),
        (
            SET_POOL,
            ClearPool("mail", "ben"),
            SIZES,
            [("set_pool", None, "mail", "anna"), ("clear_pool", None, "mail", "ben")],
        ),
        (
            SET_SHARE,
            ClearNamespace("shop", "ben"),
            SHARE,
            [("set_namespace", "shop", None, "anna"), ("clear_namespace", "shop", None, "ben")],
        ),
    ],
)
async def test_a_setting_is_in_force_at_once_and_survives_the_tracker(
    store: FaultyStore,
    sqlite_url: str,
    command: SteeringCommand,
    clear: SteeringCommand,
    setting: LimitSetting | NamespaceSetting | PoolSetting,
    told: list[Any],
) -> None:
    expected = Steering().changed([setting], NOW)
    async with tracker_on(store, clock=Clock()) as tracker:
        assert await tracker.execute(command) == setting
        assert tracker.ticker.steering == expected
        assert await tracker.execute(command) == setting
    clock = Clock()
    clock.now += 1
    async with tracker_on(FaultyStore(sqlite_url), clock=clock) as tracker:
        assert tracker.ticker.steering == expected
        assert await tracker.execute(clear) is True
        assert await tracker.execute(clear) is False
        assert tracker.ticker.steering == Steering() == tracker.ticker.store.steering()
        assert await acts(tracker) == told


@pytest.mark.parametrize(
    "command", [SET_LIMIT, SET_POOL, SET_SHARE, PauseWork("shop", "short", 5.0, "anna")]
)
async def test_a_command_and_its_answer_pass_between_processes(
    store: FaultyStore, command: SteeringCommand
) -> None:
    async with tracker_on(store, clock=Clock()) as tracker:
        asked = codec.command_of(codec.encode(command))
        assert asked == command
        answer = await tracker.execute(command)
        assert codec.answer_of(command, codec.encode(answer)) == answer


class TestPauses:
    async def test_a_paused_type_waits_and_others_run(self, store: FaultyStore) -> None:
        async with tracker_on(store) as tracker:
            await tracker.execute(PauseWork(task_type="short", by="anna"))
            runner = ScriptedRunner(tracker, short=5, other=5)
            call = runner.send()
            await submit(tracker, 1)
            await submit(tracker, 2, task_type="other")
            claims = (await asyncio.wait_for(call, PATIENCE)).claims
            assert [claim.task_id for claim in claims] == [task_id(2)]
            assert (await tracker.demand(["short"])).get("short", TypeWork(0)).open == 0
            call = ScriptedRunner(tracker, "r2").send()
            await tracker.execute(ResumeWork(task_type="short", by="anna"))
            claims = (await asyncio.wait_for(call, PATIENCE)).claims
            assert [claim.task_id for claim in claims] == [task_id(1)]

    async def test_it_ends_by_itself_when_its_time_has_come(self, store: FaultyStore) -> None:
        clock = Clock()
        async with tracker_on(store, clock=clock) as tracker:
            pause = await tracker.execute(PauseWork(seconds=0.2, by="anna"))
            assert (pause.since, pause.until) == (NOW, NOW + 0.2)
            call = ScriptedRunner(tracker).send()
            await submit(tracker, 1)
            assert not call.done()
            clock.now = NOW + 0.2  # nobody wakes the tracker: it looks by itself
            assert len((await asyncio.wait_for(call, PATIENCE)).claims) == 1
            assert await tracker.execute(ResumeWork(by="anna")) is None

    async def test_who_resumes_ends_exactly_one_pause(self, store: FaultyStore) -> None:
        clock = Clock()
        async with tracker_on(store, clock=clock) as tracker:
            pauses = [
                await tracker.execute(PauseWork(*key, by="anna"))
                for key in (("", ""), ("shop", ""), ("", "short"), ("shop", "short"))
            ]
            assert tracker.ticker.steering.in_force(NOW) == [
                pauses[0],
                pauses[2],
                pauses[1],
                pauses[3],
            ]
            clock.now += 1
            assert await tracker.execute(ResumeWork("shop", by="ben")) == pauses[1]
            assert await tracker.execute(ResumeWork("shop", by="ben")) is None
            left = {("", ""), ("", "short"), ("shop", "short")}
            assert set(tracker.ticker.steering.pauses) == left
            assert (await acts(tracker))[-1] == ("resume", "shop", None, "ben")

    async def test_a_deployment_ends_a_drain_and_no_pause_of_a_person(
        self, store: FaultyStore
    ) -> None:
        async with tracker_on(store, clock=Clock()) as tracker:
            await tracker.execute(PauseWork(task_type="short", by="anna"))
            await tracker.pause("ben", drain=True)
            await tracker.end_drain("ben")
            assert set(tracker.ticker.steering.pauses) == {("", "short")}
            await tracker.pause("anna")
            await tracker.pause("ben", drain=True)  # it adds nothing to the pause
            await tracker.end_drain("ben")
            assert set(tracker.ticker.steering.pauses) == {("", "short"), ("", "")}
            await tracker.resume("ben")
            await tracker.pause("ben", drain=True)
            await tracker.pause("anna")  # from now on it is a person's
            await tracker.end_drain("ben")
            assert ("", "") in tracker.ticker.steering.pauses

    async def test_a_later_pause_replaces_the_time_and_keeps_the_beginning(
        self, store: FaultyStore
    ) -> None:
        clock = Clock()
        async with tracker_on(store, clock=clock) as tracker:
            await tracker.execute(PauseWork(task_type="short", seconds=10.0, by="anna"))
            clock.now += 5
            pause = await tracker.execute(PauseWork(task_type="short", seconds=60.0, by="ben"))
            assert pause == Pause("", "short", since=NOW, until=NOW + 65, by="ben")
            clock.now += 61
            pause = await tracker.execute(PauseWork(task_type="short", by="ben"))
            assert pause == Pause("", "short", since=NOW + 66, until=None, by="ben")
            again = await tracker.execute(PauseWork(task_type="short", by="carl"))
            assert again == pause  # nothing changes
            assert [item[0] for item in await acts(tracker)] == ["pause"] * 3

    async def test_what_is_paused_is_said_everywhere(self, store: FaultyStore) -> None:
        async with tracker_on(store, clock=Clock()) as tracker:
            await submit(tracker, 1)
            await submit(tracker, 2, namespace="shop")
            await tracker.execute(PauseWork("shop", "short", 60.0, by="anna"))
            asked = WaitingFor(task_id(2), "short", NOW, "shop")
            reasons = await tracker.read(asked) or []
            [reason] = [item for item in reasons if item["code"] == "paused"]
            assert "the type short is paused in the namespace shop" in reason["message"]
            assert reason["fix"] == "run 'raytasks resume --type short --namespace shop'"
            assert reason["details"] == {
                "since": rfc3339(NOW),
                "by": "anna",
                "namespace": "shop",
                "task_type": "short",
            }
            assert reason["until"] == rfc3339(NOW + 60)
            other = await tracker.read(WaitingFor(task_id(1), "short", NOW, "default")) or []
            assert "paused" not in [item["code"] for item in other]
            report = await tracker.read(Health())
            [said] = [item for item in report["reasons"] if item["code"] == "paused"]
            assert (said["count"], said["since"]) == (1, NOW)
            assert not report["tracker"]["paused"]
            [shown] = report["tracker"]["pauses"]
            assert (shown["namespace"], shown["task_type"]) == ("shop", "short")
            metrics = await tracker.read(Metrics())
            assert (metrics.pauses, metrics.paused) == (1, False)
            await tracker.pause("anna")
            metrics = await tracker.read(Metrics())
            assert (metrics.pauses, metrics.paused) == (2, True)


async def test_a_setting_is_refused_while_the_database_is_away(store: FaultyStore) -> None:
    async with tracker_on(store, clock=Clock()) as tracker:
        store.away = True
        with pytest.raises(StoreUnavailable):
            await tracker.execute(SET_LIMIT)
        assert tracker.ticker.steering == Steering()
        store.away = False
        await tracker.execute(SET_LIMIT)
        assert set(tracker.ticker.steering.limits) == {"smtp"}


async def test_commands_come_one_after_the_other(
    store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steering_writes, "_TURN_SECONDS", 0.05)
    async with tracker_on(store, clock=Clock()) as tracker:
        loop, reached, gate = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

        def hold_up() -> None:
            store.before_commit = None
            loop.call_soon_threadsafe(reached.set)
            gate.wait(PATIENCE)

        store.before_commit = hold_up
        first = asyncio.ensure_future(tracker.execute(SET_LIMIT))
        await asyncio.wait_for(reached.wait(), PATIENCE)
        with pytest.raises(StoreUnavailable):  # it was not begun
            await tracker.execute(SET_SHARE)
        gate.set()
        assert await asyncio.wait_for(first, PATIENCE) == LIMIT
        assert tracker.ticker.steering == Steering().changed([LIMIT], NOW)
        assert await tracker.execute(SET_SHARE) == SHARE


async def test_after_a_write_in_doubt_the_next_command_goes_by_what_is_on_disk(
    store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with tracker_on(store, clock=Clock()) as tracker:
        steer = store.steer

        def lose_the_answer(*arguments: Any) -> Any:
            monkeypatch.setattr(store, "steer", steer)
            steer(*arguments)
            raise StoreUnavailable("the connection was lost after the commit")

        ticker, held, gate = tracker.ticker, asyncio.Event(), asyncio.Event()

        wait_for_work = ticker._wait_for_work

        async def hold_up() -> None:
            monkeypatch.setattr(ticker, "_wait_for_work", wait_for_work)
            held.set()
            await gate.wait()

        monkeypatch.setattr(ticker, "_wait_for_work", hold_up)  # as after an outage
        ticker.wake.set()
        await asyncio.wait_for(held.wait(), PATIENCE)
        monkeypatch.setattr(store, "steer", lose_the_answer)
        refused = asyncio.ensure_future(tracker.execute(SET_LIMIT))
        cleared = asyncio.ensure_future(
            tracker.execute(ClearLimit("smtp", "ben"))
        )  # at once, behind it
        with pytest.raises(StoreUnavailable):
            await asyncio.wait_for(refused, PATIENCE)
        done, _ = await asyncio.wait([cleared], timeout=0.2)
        assert not done  # memory may not be as the disk
        gate.set()
        await asyncio.wait_for(cleared, PATIENCE)
        assert ticker.steering.limits == {}
        assert store.settings()[0].limits == {}
