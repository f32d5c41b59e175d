"""`GET /logs`: pages of the service's log, and a stream; past events of a task without a wait."""

from pathlib import Path
from typing import Any

import pytest

from raytasks.api import log_routes
from raytasks.observe.log_stream import LogStream
from raytasks.tracker import journal
from tests.event_client import EventClient
from tests.keyring import bearer, locked
from tests.local_service import Api


@pytest.fixture(autouse=True)
def no_tick_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is, no line tells of a slow tick."""
    monkeypatch.setattr(journal, "SLOW_TICK_SECONDS", 1e9)


def log_of(api: Api) -> LogStream:
    return api.service.tracker.log


def follow(api: Api, last: str | None = None, **query: str) -> EventClient:
    return EventClient(api.service.app, "/logs", last, accept="text/event-stream", **query)


async def page(api: Api, **query: Any) -> dict[str, Any]:
    answer = await api.client.get("/logs", params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def messages(found: dict[str, Any]) -> list[str]:
    return [line["message"] for line in found["lines"]]


class TestPages:
    async def test_an_attempt_and_what_it_has_logged(self, api: Api) -> None:
        task = await api.submit(payload={"lines": 1, "step": "permanent"})
        await api.finished(task)
        found = await page(api, task_type="scripted")
        said, ended = found["lines"]
        assert said["message"] == "line 1"
        assert said["fields"]["logger"] == "raytasks.handlers.scripted"
        assert (ended["level"], ended["message"]) == ("WARNING", "attempt 1 of scripted failed")
        assert ended["fields"]["task_id"] == said["fields"]["task_id"] == task["task_id"]
        assert ended["fields"]["state"] == "FAILED"
        assert (found["gap"], found["more"]) == (False, False)

    async def test_a_place_to_go_on_after(self, idle_api: Api) -> None:
        log = log_of(idle_api)
        log.write("INFO", "first")
        begin = await page(idle_api)
        assert messages(begin)[-1] == "first"
        log.write("INFO", "second", {"namespace": "other", "pid": 3})
        after = await page(idle_api, after=begin["next"])
        assert messages(after) == ["second"]
        assert after["lines"][0]["fields"] == {"namespace": "other", "pid": 3}
        assert after["next"] == after["lines"][0]["id"]
        assert messages(await page(idle_api, after=after["next"])) == []

    async def test_filters(self, idle_api: Api) -> None:
        log = log_of(idle_api)
        log.write("ERROR", "bad", {"namespace": "other"})
        log.write("WARNING", "odd", {"task_type": "mail"})
        assert messages(await page(idle_api, level="WARNING")) == ["bad", "odd"]
        assert messages(await page(idle_api, task_type="mail")) == ["odd"]
        assert messages(await page(idle_api, level="WARNING", namespace="mine")) == ["odd"]
        assert messages(await page(idle_api, lines=1)) == ["odd"]

    @pytest.mark.parametrize(
        "query", ["level=LOUD", "after=7", "lines=5000", "task_type=%20", "other=1"]
    )
    async def test_a_query_that_is_none(self, idle_api: Api, query: str) -> None:
        assert (await idle_api.client.get(f"/logs?{query}")).status_code == 422


class TestStreams:
    async def test_the_newest_lines_and_then_each_new_one(self, idle_api: Api) -> None:
        log = log_of(idle_api)
        log.write("INFO", "before")
        async with follow(idle_api, lines="1") as client:
            await client.until(lambda: len(client.events) == 1)
            log.write("ERROR", "after")
            await client.until(lambda: len(client.events) == 2)
        assert client.headers["content-type"].startswith("text/event-stream")
        assert [event.data["message"] for event in client.events] == ["before", "after"]
        assert client.events[1].id == client.events[1].data["id"]

    async def test_after_a_break_it_goes_on(self, idle_api: Api) -> None:
        log = log_of(idle_api)
        log.write("INFO", "one")
        last = (await page(idle_api))["next"]
        log.write("INFO", "two")
        async with follow(idle_api, last) as client:
            await client.until(lambda: len(client.events) == 1)
        assert client.events[0].data["message"] == "two"

    async def test_the_log_of_another_tracker_begins_with_a_gap(self, idle_api: Api) -> None:
        log_of(idle_api).write("INFO", "one")
        async with follow(idle_api, "7:900") as client:
            await client.until(lambda: len(client.events) >= 2)
        assert client.events[0].event == "gap"
        assert "one" in [event.data.get("message") for event in client.events]

    async def test_silence_is_told_with_the_place(
        self, idle_api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(log_routes, "POLL_SECONDS", 0.01)
        log = log_of(idle_api)
        async with follow(idle_api, level="ERROR") as client:
            await client.until(lambda: client.body.endswith(b": \n\n"))
            log.write("INFO", "not asked for")
            place = f": \nid: {log.stream}:{log.newest(1).last}\n\n".encode()
            await client.until(lambda: place in client.body)
        assert not client.events

    async def test_a_bad_place_is_refused(self, idle_api: Api) -> None:
        async with follow(idle_api, "no-place") as client:
            await client.until(lambda: client.complete)
        assert client.status == 422


class TestRights:
    @pytest.mark.parametrize(("key", "status"), [("r", 403), ("s", 403), ("b", 403), ("o", 200)])
    async def test_it_needs_operate_and_a_key_for_the_whole_service(
        self, sqlite_url: str, tmp_path: Path, key: str, status: int
    ) -> None:
        async with locked(sqlite_url, tmp_path) as api:
            assert (await api.client.get("/logs")).status_code == 401
            answer = await api.client.get("/logs", headers=bearer(key))
        assert answer.status_code == status
        if key == "b":
            assert "team-b" in answer.json()["detail"]


class TestPastEventsOfATask:
    async def test_of_one_that_waits_they_end_with_the_present(self, idle_api: Api) -> None:
        task = await idle_api.submit()
        path = f"/tasks/{task['task_id']}/events"
        async with EventClient(idle_api.service.app, path, follow="false") as client:
            events = await client.to_the_end()
        assert [event.event for event in events] == ["state", "present"]
        assert events[-1].data == {"task_id": task["task_id"], "state": "PENDING"}

    async def test_of_one_that_has_ended_they_end_as_ever(self, api: Api) -> None:
        task = await api.submit(payload={"lines": 1})
        await api.finished(task)
        path = f"/tasks/{task['task_id']}/events"
        async with EventClient(api.service.app, path, follow="false") as client:
            events = await client.to_the_end()
        assert [event.event for event in events][-1] == "end"
