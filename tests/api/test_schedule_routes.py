"""`/schedules`: what is declared, what people set, and the tasks that they submit."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest

from raytasks.api.schedule_routes import SchedulesView, ScheduleView
from raytasks.handling import schedule_times
from raytasks.tracker import schedule_plans
from tests.local_service import Api, LocalService, call, serving
from tests.tracking import PATIENCE

BODY = {"task_type": "report", "cron": "0 9 * * MON-FRI", "payload": {"account": 3}}


@pytest.fixture
async def api(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    """The API without a runner, with handlers that have schedules."""
    service = LocalService(sqlite_url, tmp_path, task_modules=("tests.schedule_handlers",))
    async with serving(service, runner=False) as api:
        async with asyncio.timeout(PATIENCE):
            await service.tracker.ticker.background.schedules.in_force.wait()
        yield api


async def acts(api: Api) -> list[tuple[str, str | None, str | None]]:
    """The acts of the audit, the oldest first."""
    entries = (await call(api, "GET", "/audit"))["entries"]
    return sorted((item["action"], item["namespace"], item["target"]) for item in entries)


async def test_declared_ones_are_listed_with_their_next_times(api: Api) -> None:
    document = await call(api, "GET", "/schedules")
    assert SchedulesView.model_validate(document)
    nightly, often = document["schedules"]
    assert (nightly["name"], often["name"], document["next_cursor"]) == ("nightly", "often", None)
    assert nightly["declared"] == nightly["in_force"]
    assert nightly["override"] is None
    assert nightly["in_force"] == {
        "task_type": "report",
        "cron": "30 2 * * *",
        "every_seconds": None,
        "timezone": "Europe/Berlin",
        "payload": {"account": 7, "token": "**********"},
        "catch_up": "none",
        "max_catch_up": 100,
        "overlap": "allow",
        "priority": 0,
        "max_attempts": 3,
        "timeout_seconds": None,
        "tags": ["night"],
        "limit_values": {},
        "expires_seconds": None,
    }
    berlin = [
        datetime.fromisoformat(at).astimezone(ZoneInfo("Europe/Berlin"))
        for at in nightly["next_times"]
    ]
    assert len(berlin) == 5
    assert all(later.date() - at.date() == timedelta(days=1) for at, later in pairwise(berlin))
    first, second, *_ = map(datetime.fromisoformat, often["next_times"])
    assert second - first == timedelta(seconds=600)


async def test_it_is_listed_page_by_page(api: Api) -> None:
    first = await call(api, "GET", "/schedules?limit=1")
    assert [item["name"] for item in first["schedules"]] == ["nightly"]
    assert first["next_cursor"] == "nightly"
    second = await call(api, "GET", "/schedules?limit=1&cursor=nightly")
    assert [item["name"] for item in second["schedules"]] == ["often"]
    assert second["next_cursor"] is None


async def test_what_is_set_replaces_the_declaration_until_it_is_cleared(api: Api) -> None:
    for _ in range(2):  # it is safe to repeat
        changed = await call(api, "PUT", "/schedules/nightly", BODY)
    assert ScheduleView.model_validate(changed)
    assert changed["in_force"]["cron"] == "0 9 * * MON-FRI"
    assert changed["override"]["by"] == "local"
    assert changed["declared"]["cron"] == "30 2 * * *"
    assert (await call(api, "GET", "/schedules"))["schedules"][0] == changed
    for _ in range(2):
        cleared = await call(api, "DELETE", "/schedules/nightly")
        assert (cleared["override"], cleared["in_force"]) == (None, changed["declared"])
    assert await acts(api) == [
        ("clear_schedule", "default", "nightly"),
        ("set_schedule", "default", "nightly"),
    ]


async def test_a_new_one_ends_when_it_is_deleted(api: Api) -> None:
    made = await call(api, "PUT", "/schedules/mine?namespace=shop", BODY)
    assert (made["namespace"], made["declared"]) == ("shop", None)
    assert len((await call(api, "GET", "/schedules"))["schedules"]) == 2
    ended = await call(api, "DELETE", "/schedules/mine?namespace=shop")
    assert (ended["in_force"], ended["override"], ended["next_times"]) == (None, None, [])
    assert (await call(api, "GET", "/schedules?namespace=shop"))["schedules"] == []
    problem = await call(api, "DELETE", "/schedules/mine?namespace=shop", status=404)
    assert "no schedule 'mine' in the namespace shop; there is none" in problem["detail"]


async def test_it_runs_now(api: Api) -> None:
    task = await call(api, "POST", "/schedules/nightly/run", status=202)
    assert (task["schedule"], task["task_type"], task["tags"]) == ("nightly", "report", ["night"])
    assert task["limit_values"] == {"account": 7}
    assert task["scheduled_for"] is not None
    assert (await call(api, "GET", f"/tasks/{task['task_id']}"))["schedule"] == "nightly"
    shown = (await call(api, "GET", "/schedules"))["schedules"][0]
    assert shown["last_task_id"] == task["task_id"]


async def test_it_is_paused_and_resumed(api: Api) -> None:
    paused = await call(api, "POST", "/schedules/often/pause")
    assert (paused["paused"]["by"], paused["next_times"]) == ("local", [])
    assert await call(api, "POST", "/schedules/often/pause") == paused
    resumed = await call(api, "POST", "/schedules/often/resume")
    assert resumed["paused"] is None
    assert len(resumed["next_times"]) == 5
    assert await acts(api) == [
        ("pause_schedule", "default", "often"),
        ("resume_schedule", "default", "often"),
    ]


@pytest.mark.parametrize("verb", ["run", "pause", "resume"])
async def test_an_unknown_one_is_a_404_that_names_those_there_are(api: Api, verb: str) -> None:
    problem = await call(api, "POST", f"/schedules/nighly/{verb}", status=404)
    assert problem["detail"] == (
        "there is no schedule 'nighly' in the namespace default; there are: nightly, often"
    )
    assert await acts(api) == []


@pytest.mark.parametrize(
    ("changes", "pointer", "message"),
    [
        ({"cron": None}, "", "give cron or every_seconds, one of them"),
        ({"every_seconds": 60}, "", "give cron or every_seconds, one of them"),
        ({"cron": "9 * *"}, "/cron", "five fields"),
        ({"cron": "0 25 * * *"}, "/cron", "Bad hour"),
        ({"cron": 5}, "/cron", "valid string"),
        ({"cron": None, "every_seconds": 0.5}, "/every_seconds", "greater than or equal to 1"),
        ({"cron": None, "every_seconds": True}, "/every_seconds", "give a number"),
        ({"timezone": "Berlin"}, "/timezone", "give one as in Europe/Berlin"),
        ({"catch_up": "some"}, "/catch_up", "'none', 'last' or 'all'"),
        ({"max_catch_up": 0}, "/max_catch_up", "greater than or equal to 1"),
        ({"catch_up": "all", "overlap": "skip"}, "", "write catch_up last"),
        ({"overlap": "replace"}, "/overlap", "'allow' or 'skip'"),
        ({"task_type": "reprot"}, "/task_type", "must be one of: report"),
        ({"payload": {}}, "/payload/account", "Field required"),
        ({"payload": {"account": 1, "token": "x" * 70_000}}, "/payload", "at most 65536 bytes"),
        ({"priority": "high"}, "/priority", "valid integer"),
        ({"tags": ["a b"]}, "/tags/0", "match pattern"),
        ({"limit_values": {"who": 1}}, "/limit_values/who", "it has: account"),
        ({"expires_seconds": 0}, "/expires_seconds", "greater than 0"),
        ({"run_at": "2030-01-01T00:00:00Z"}, "/run_at", "not permitted"),
    ],
)
async def test_a_bad_value_is_a_422_that_names_the_field(
    api: Api, changes: dict[str, Any], pointer: str, message: str
) -> None:
    problem = await call(api, "PUT", "/schedules/mine", {**BODY, **changes}, 422)
    [error] = problem["errors"]
    assert error["pointer"] == pointer
    assert message in error["message"]
    assert len((await call(api, "GET", "/schedules"))["schedules"]) == 2
    assert await acts(api) == []


async def test_a_bad_name_is_a_422(api: Api) -> None:
    problem = await call(api, "PUT", "/schedules/a%20b", BODY, 422)
    assert "name" in str(problem["errors"])


async def test_one_that_stands_still_is_shown_with_its_error(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it holds up no other: neither in the list, nor in the tracker."""
    missing = {"Europe/Berlin"}

    def zone(name: str) -> ZoneInfo:
        if name in missing:
            raise ZoneInfoNotFoundError(name)
        return ZoneInfo(name)

    service = LocalService(sqlite_url, tmp_path, task_modules=("tests.schedule_handlers",))
    monkeypatch.setattr(schedule_times, "ZoneInfo", zone)
    book = service.tracker.ticker.schedules
    async with serving(service, runner=False) as api:
        async with asyncio.timeout(PATIENCE):
            await service.tracker.ticker.background.schedules.in_force.wait()
            while not len(book.held):
                await call(api, "GET", "/schedules")
        document = await call(api, "GET", "/schedules")
        assert SchedulesView.model_validate(document)
        nightly, often = document["schedules"]
        assert nightly["error"].startswith("timezone: there is no time zone 'Europe/Berlin'")
        assert (nightly["next_times"], nightly["in_force"]["cron"]) == ([], "30 2 * * *")
        assert (often["error"], len(often["next_times"])) == (None, 5)
        health = await call(api, "GET", "/health")
        [reason] = [item for item in health["reasons"] if item["code"] == "schedule_stands"]
        assert "nightly of the namespace default" in reason["message"]
        missing.clear()
        asked = {**BODY, "timezone": "Asia/Tokyo"}
        set_ = await call(api, "PUT", "/schedules/nightly", asked)
        assert (set_["error"], len(set_["next_times"])) == (None, 5)
        cleared = await call(api, "DELETE", "/schedules/nightly")
        assert (cleared["error"], len(cleared["next_times"])) == (None, 5)


async def test_what_only_the_tracker_cannot_compute_is_refused(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(*_: object) -> None:
        raise schedule_times.BadSchedule("timezone", "there is no time zone 'Europe/Berlin'")

    monkeypatch.setattr(schedule_plans, "next_time", nothing)
    asked = {**BODY, "timezone": "Europe/Berlin"}
    refused = await call(api, "PUT", "/schedules/mine", asked, 422)
    assert refused["errors"] == [
        {"pointer": "/timezone", "message": "there is no time zone 'Europe/Berlin'"}
    ]
    await call(api, "POST", "/schedules/nightly/pause")
    refused = await call(api, "POST", "/schedules/nightly/resume", None, 409)
    assert "timezone: there is no time zone" in refused["detail"]
