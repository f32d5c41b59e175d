"""The streams of events, over the real tracker and a real runner."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from raytasks.api.events import stream as event_stream
from raytasks.api.events import streams
from raytasks.handling.task_log import DROPPED, MAX_LINES
from raytasks.model.tasks import StoreUnavailable
from raytasks.protocol.commands import CancelTask, RetryTask
from raytasks.protocol.feed_follower import TaskWatch
from raytasks.protocol.queries import Health, TaskEvents
from raytasks.store.store import Store
from raytasks.tracker.core import Tracker
from tests.event_client import EventClient, Sse, parse
from tests.local_service import Api

UNKNOWN = "0198c1de-0000-7000-8000-000000000001"


def stream(api: Api, task: dict[str, Any], last: str | None = None, **query: str) -> EventClient:
    return EventClient(api.service.app, f"/tasks/{task['task_id']}/events", last, **query)


def all_of(api: Api, last: str | None = None, **query: str) -> EventClient:
    return EventClient(api.service.app, "/tasks/events", last, **query)


def kinds(events: list[Sse]) -> list[str]:
    return [event.data["state"] if event.event == "state" else event.event for event in events]


async def has(client: EventClient, condition: Callable[[EventClient], object]) -> None:
    await client.until(lambda: condition(client))


async def has_events(client: EventClient, count: int) -> None:
    await client.until(lambda: len(client.events) >= count)


def watched(api: Api) -> int:
    """Return how many wait in the replica."""
    app: Any = api.service.app
    while not hasattr(app, "state"):
        app = app._app
    watch: TaskWatch = app.state.service.watch
    return watch.watched


class TestOneTask:
    @pytest.mark.parametrize(
        ("query", "wanted"),
        [
            ("", ["state", "state", "log", "log", "progress", "state", "end"]),
            ("?type=state", ["state", "state", "state", "end"]),
            ("?type=state&type=progress", ["state", "state", "progress", "state", "end"]),
            ("?logs=false", ["state", "state", "progress", "state", "end"]),
            ("?level=ERROR", ["state", "state", "progress", "state", "end"]),
            ("?type=log&level=INFO", ["log", "log", "end"]),
        ],
    )
    async def test_only_what_is_wanted_comes(self, api: Api, query: str, wanted: list[str]) -> None:
        task = await api.submit(payload={"lines": 2, "step": "progress"})
        ended = await api.finished(task)
        answer = await api.client.get(f"/tasks/{task['task_id']}/events{query}")
        assert answer.status_code == 200, answer.text
        found = [event.event for event in parse(answer.text)]
        expected = [kind for kind in wanted if kind != "progress" or ended["progress"]]
        assert found == expected

    async def test_a_kind_or_a_level_that_is_none_is_refused(self, api: Api) -> None:
        task = await api.submit()
        for query in ("type=gap", "level=LOUD", "logs=perhaps"):
            answer = await api.client.get(f"/tasks/{task['task_id']}/events?{query}")
            assert answer.status_code == 422, query

    async def test_what_has_happened_comes_first(self, api: Api) -> None:
        task = await api.submit(payload={"lines": 2, "step": "progress"})
        ended = await api.finished(task)
        async with stream(api, task) as client:
            events = await client.to_the_end()
        assert client.status == 200
        assert kinds(events) == [
            "PENDING", "RUNNING", "log", "log", *["progress"] * bool(ended["progress"]),
            "COMPLETED", "end",
        ]  # fmt: skip
        assert client.ids == ["0.0", "1.0", "1.1", "1.2", "2.0"]
        first, begun, line, *_, last, end = [event.data for event in events]
        assert first == {
            "task_id": task["task_id"], "task_type": "scripted", "namespace": "default",
            "state": "PENDING", "attempt": 0, "revision": 0, "at": task["created_at"],
            "by": None, "action": None, "outcome": None, "error": None,
        }  # fmt: skip
        [attempt] = ended["attempts"]
        assert (begun["attempt"], begun["at"]) == (1, attempt["started_at"])
        assert (line["attempt"], line["level"], line["message"]) == (1, "INFO", "line 1")
        assert begun["at"] <= line["at"] <= last["at"] == attempt["finished_at"]
        assert (last["outcome"], last["error"]) == ("succeeded", None)
        assert end == {"task_id": task["task_id"], "state": "COMPLETED"}

    async def test_it_is_a_stream_that_nobody_keeps(self, api: Api) -> None:
        task = await api.submit()
        async with stream(api, task) as client:
            await client.to_the_end()
        assert client.headers == {
            "content-type": "text/event-stream; charset=utf-8",
            "cache-control": "no-store",
            "x-accel-buffering": "no",
        }
        assert client.body.startswith(b"retry: 1000\n\n")
        assert client.complete

    async def test_then_what_happens(self, api: Api, tmp_path: Path) -> None:
        gate = tmp_path / "gate"
        task = await api.submit(payload={"step": "wait_file", "file": str(gate), "lines": 3})
        async with stream(api, task) as client:
            await client.until(lambda: len(client.of("log")) == 3)
            assert [event["state"] for event in client.of("state")] == ["PENDING", "RUNNING"]
            assert not client.over
            gate.touch()
            events = await client.to_the_end()
        assert kinds(events) == ["PENDING", "RUNNING", "log", "log", "log", "COMPLETED", "end"]

    async def test_progress_is_told_as_it_is_made(self, api: Api) -> None:
        task = await api.submit(payload={"step": "progress", "seconds": 2.0})
        async with stream(api, task) as client:
            await client.until(lambda: len(client.of("progress")) > 1)
            assert "COMPLETED" not in kinds(client.events)
            events = await client.to_the_end()
        told = client.of("progress")
        assert all(item["attempt"] == 1 for item in told)
        fractions = [item["fraction"] for item in told]
        assert fractions == sorted(set(fractions))
        assert told[0]["message"].startswith("step ")
        assert kinds(events)[-2:] == ["COMPLETED", "end"]
        assert all(event.id is None for event in events if event.event in ("progress", "end"))

    async def test_a_failed_attempt_says_why(self, api: Api) -> None:
        task = await api.submit(payload={"fail_first": 1, "lines": 1})
        async with stream(api, task) as client:
            events = await client.to_the_end()
        assert kinds(events) == [
            "PENDING", "RUNNING", "log", "RETRYING", "RUNNING", "log", "COMPLETED", "end"
        ]  # fmt: skip
        retrying = client.of("state")[2]
        assert (retrying["attempt"], retrying["outcome"]) == (1, "failed")
        assert retrying["error"] == {"type": "RuntimeError", "message": "scripted failure 1"}
        assert [line["attempt"] for line in client.of("log")] == [1, 2]

    async def test_every_place_is_one_to_go_on_from(self, api: Api) -> None:
        task = await api.submit(payload={"fail_first": 1, "lines": 2})
        await api.finished(task)
        async with stream(api, task) as client:
            events = await client.to_the_end()
        for index, event in enumerate(events):
            if event.id is None:
                continue
            async with stream(api, task, event.id) as again:
                assert await again.to_the_end() == events[index + 1 :]
            async with stream(api, task, last_event_id=event.id) as again:
                assert await again.to_the_end() == events[index + 1 :]

    async def test_the_header_comes_before_the_query(self, api: Api) -> None:
        task = await api.submit()
        await api.finished(task)
        async with stream(api, task, "1.0", last_event_id="0.0") as client:
            assert kinds(await client.to_the_end()) == ["COMPLETED", "end"]

    async def test_a_long_history_comes_in_pieces(self, api: Api) -> None:
        task = await api.submit(payload={"lines": MAX_LINES + 50})
        async with stream(api, task) as client:
            events = await client.to_the_end()
        lines = client.of("log")
        assert len(lines) == MAX_LINES + 1
        assert [line["message"] for line in lines[-2:]] == [f"line {MAX_LINES}", DROPPED]
        assert len(set(client.ids)) == len(client.ids) == MAX_LINES + 4
        assert kinds(events)[-2:] == ["COMPLETED", "end"]

    @pytest.mark.parametrize("kind", ["scripted_async", "scripted_class"])
    async def test_handlers_of_every_kind_log(self, api: Api, kind: str) -> None:
        task = await api.submit(task_type=kind, payload={"lines": 2})
        async with stream(api, task) as client:
            await client.to_the_end()
        assert [line["message"] for line in client.of("log")] == ["line 1", "line 2"]

    async def test_cancelled_and_retried_by_a_person(self, idle_api: Api) -> None:
        task = await idle_api.submit()
        path = f"/tasks/{task['task_id']}"
        async with stream(idle_api, task) as client:
            await client.until(lambda: client.ids == ["0.0"])
            await idle_api.client.post(f"{path}/cancel")
            assert kinds(await client.to_the_end()) == ["PENDING", "CANCELLED", "end"]
        await idle_api.client.post(f"{path}/retry")
        async with stream(idle_api, task, client.ids[-1]) as client:
            await client.until(lambda: client.ids == ["2.0"])
            await idle_api.client.post(f"{path}/cancel")
            assert kinds(await client.to_the_end()) == ["PENDING", "CANCELLED", "end"]
        async with stream(idle_api, task) as client:
            events = await client.to_the_end()
        assert kinds(events) == ["PENDING", "CANCELLED", "PENDING", "CANCELLED", "end"]
        told = [(event["by"], event["action"]) for event in client.of("state")]
        retried, cancelled = ("local", "retry"), ("local", "cancel")
        assert told == [(None, None), cancelled, retried, cancelled]
        times = [event["at"] for event in client.of("state")]
        assert all(times)
        assert times == sorted(times)


class TestAnswers:
    @pytest.mark.parametrize("task_id", [UNKNOWN, "nonsense", "x" * 500])
    async def test_an_unknown_task(self, idle_api: Api, task_id: str) -> None:
        answer = await idle_api.client.get(f"/tasks/{task_id}/events")
        assert (answer.status_code, answer.json()["status"]) == (404, 404)
        assert answer.headers["content-type"] == "application/problem+json"

    @pytest.mark.parametrize(
        "bad", ["x", "1", "1.", "1:1", "-1.0", "1.0.0", "1" * 12 + ".0", "١.0"]
    )
    async def test_a_bad_place(self, idle_api: Api, bad: str) -> None:
        task = await idle_api.submit()
        url = f"/tasks/{task['task_id']}/events"
        answer = await idle_api.client.get(url, params={"last_event_id": bad})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"] == "?last_event_id"
        headers = {b"Last-Event-ID": bad.encode()}
        answer = await idle_api.client.get(url, headers=headers)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"] == "Last-Event-ID"

    @pytest.mark.parametrize("bad", ["x", "1", "1.0", "1:x", ":", "1:" + "1" * 30])
    async def test_a_bad_place_in_the_feed(self, idle_api: Api, bad: str) -> None:
        answer = await idle_api.client.get("/tasks/events", params={"last_event_id": bad})
        assert answer.status_code == 422

    @pytest.mark.parametrize(
        "query", [{"task_type": "no good"}, {"tag": "no good"}, {"state": "FAILED"}]
    )
    async def test_a_bad_filter(self, idle_api: Api, query: dict[str, str]) -> None:
        answer = await idle_api.client.get("/tasks/events", params=query)
        assert answer.status_code == 422

    async def test_the_store_is_away(self, idle_api: Api) -> None:
        task = await idle_api.submit()
        idle_api.service.backend.failure = StoreUnavailable("away")
        for path in (f"/tasks/{task['task_id']}/events", "/tasks/events"):
            answer = await idle_api.client.get(path)
            assert (answer.status_code, answer.json()["detail"]) == (503, "away")
            assert answer.headers["retry-after"] == "1"
        assert watched(idle_api) == 0

    async def test_it_goes_away_while_a_client_listens(self, idle_api: Api) -> None:
        task = await idle_api.submit()
        async with stream(idle_api, task) as client:
            await client.until(lambda: client.ids)
            idle_api.service.backend.failure = StoreUnavailable("away")
            await idle_api.service.tracker.execute(CancelTask(task["task_id"]))
            await client.to_the_end()
        assert (client.ids, client.complete) == (["0.0"], True)
        idle_api.service.backend.failure = None
        async with stream(idle_api, task, client.ids[-1]) as client:
            assert kinds(await client.to_the_end()) == ["CANCELLED", "end"]

    async def test_a_pruned_task_is_no_more(self, idle_api: Api) -> None:
        task = await idle_api.submit()
        async with stream(idle_api, task) as client:
            await client.until(lambda: client.ids)
            tracker = idle_api.service.tracker
            calls = [
                tracker.execute(CancelTask(task["task_id"])),
                tracker.prune([task["task_id"]], 2e10),
            ]
            await asyncio.gather(*calls)
            await client.hang_up()

    async def test_the_document_tells_the_shapes(self, idle_api: Api) -> None:
        document = (await idle_api.client.get("/openapi.json")).json()
        for path, events in (
            ("/tasks/{task_id}/events", {"state", "log", "progress", "end", "present"}),
            ("/tasks/events", {"state", "gap"}),
        ):
            responses = document["paths"][path]["get"]["responses"]
            [(kind, content)] = responses["200"]["content"].items()
            assert kind == "text/event-stream"
            assert content["x-events"].keys() == events
            name = content["x-events"]["state"]["$ref"].rpartition("/")[2]
            assert "revision" in document["components"]["schemas"][name]["required"]
            assert "application/problem+json" in responses["422"]["content"]


class TestAllTasks:
    async def test_changes_come_as_they_happen(self, api: Api) -> None:
        before = await api.submit()
        await api.finished(before)
        async with all_of(api) as client:
            await client.until(lambda: client.body.count(b"id: "))
            task = await api.submit(tags=["a"])
            await client.until(lambda: len(client.of("state")) == 3)
        assert kinds(client.events) == ["PENDING", "RUNNING", "COMPLETED"]
        first = client.of("state")[0]
        assert first == {
            "task_id": task["task_id"], "task_type": "scripted", "namespace": "default",
            "state": "PENDING", "attempt": 0, "revision": 0, "at": first["at"],
            "by": None, "action": None,
        }  # fmt: skip
        epoch = api.service.tracker.ticker.epoch
        assert all(name.startswith(f"{epoch}:") for name in client.ids)

    async def test_only_what_is_wanted_comes(self, idle_api: Api) -> None:
        async with (
            all_of(idle_api, tag="a") as tagged,
            all_of(idle_api, task_type="noop") as typed,
            all_of(idle_api) as everything,
        ):
            for client in (tagged, typed, everything):
                await has(client, lambda client: client.body.count(b"id: "))
            await idle_api.submit(tags=["aa", "b"])
            both = await idle_api.submit(task_type="noop", tags=["b", "a"])
            plain = await idle_api.submit(task_type="noop")
            await everything.until(lambda: len(everything.ids) == 3)
            await typed.until(lambda: len(typed.ids) == 2)
            await tagged.until(lambda: len(tagged.ids) == 1)
        assert [event["task_id"] for event in tagged.of("state")] == [both["task_id"]]
        assert [event["task_id"] for event in typed.of("state")] == [
            both["task_id"],
            plain["task_id"],
        ]

    async def test_every_place_is_one_to_go_on_from(self, api: Api) -> None:
        async with all_of(api) as client:
            await client.until(lambda: client.body.count(b"id: "))
            start = client.body.decode().rpartition("id: ")[2].strip()
            for _ in range(2):
                await api.finished(await api.submit())
            await client.until(lambda: len(client.ids) == 6)
        for index, last in enumerate([start, *client.ids]):
            rest = client.events[index:]
            async with all_of(api, last) as again:
                await has_events(again, len(rest))
                await api.service.backend.read(Health())
                assert again.events == rest

    async def test_what_is_lost_is_a_gap(self, api: Api) -> None:
        await api.finished(await api.submit())
        async with all_of(api, "999999:1") as client:
            await client.until(lambda: client.events)
            assert client.events[0].event == "gap"
            await api.submit()
            await client.until(lambda: len(client.events) == 4)
        assert kinds(client.events) == ["gap", "PENDING", "RUNNING", "COMPLETED"]
        async with all_of(api, client.events[0].id) as again:
            await again.until(lambda: len(again.events) == 3)
            assert again.events == client.events[1:]

    async def test_a_break_of_the_feed_is_a_gap(self, idle_api: Api) -> None:
        async with all_of(idle_api) as client:
            await client.until(lambda: client.body.count(b"id: "))
            await idle_api.submit()
            await client.until(lambda: client.ids)
            idle_api.service.tracker.ticker.ledger.feed.break_off()
            await client.until(lambda: client.of("gap"))
            await idle_api.submit()
            await client.until(lambda: len(client.events) == 3)
        assert kinds(client.events) == ["PENDING", "gap", "PENDING"]


@asynccontextmanager
async def another_tracker(api: Api, cancel: str | None = None) -> AsyncIterator[Tracker]:
    """Have the backend use a new tracker on the same database, as after a restart.

    It may cancel a task before anybody follows its feed.
    """
    service = api.service
    tracker = Tracker(Store(service.settings.database_url), lease_seconds=1.0)
    await tracker.start()
    running = asyncio.ensure_future(tracker.run())
    if cancel is not None:
        await tracker.execute(CancelTask(cancel))
    service.backend._tracker = tracker
    service.tracker.ticker.ledger.feed.break_off()  # the call that waits there is answered
    try:
        yield tracker
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await tracker.close()


class TestRestart:
    async def test_a_tasks_events_go_on_with_another_tracker(self, idle_api: Api) -> None:
        task = await idle_api.submit()
        async with stream(idle_api, task) as client:
            await client.until(lambda: client.ids == ["0.0"])
            async with another_tracker(idle_api) as tracker:
                await tracker.execute(CancelTask(task["task_id"]))
                assert kinds(await client.to_the_end()) == ["PENDING", "CANCELLED", "end"]
                await tracker.execute(RetryTask(task["task_id"]))
                async with stream(idle_api, task, "1.0") as again:
                    await again.until(lambda: again.ids == ["2.0"])

    async def test_also_where_its_feed_tells_of_nothing(self, idle_api: Api) -> None:
        task = await idle_api.submit()
        async with stream(idle_api, task) as client:
            await client.until(lambda: client.ids)
            async with another_tracker(idle_api, cancel=task["task_id"]):
                events = await client.to_the_end()
        assert kinds(events) == ["PENDING", "CANCELLED", "end"]

    async def test_all_tasks_have_a_gap(self, idle_api: Api) -> None:
        async with all_of(idle_api) as client:
            await client.until(lambda: client.body.count(b"id: "))
            task = await idle_api.submit()
            await client.until(lambda: client.ids)
            async with another_tracker(idle_api) as tracker:
                await client.until(lambda: client.of("gap"))
                await tracker.execute(CancelTask(task["task_id"]))
                await client.until(lambda: len(client.events) == 3)
        assert kinds(client.events) == ["PENDING", "gap", "CANCELLED"]
        epochs = [int(name.partition(":")[0]) for name in client.ids]
        assert epochs[2] == epochs[1] == epochs[0] + 1


async def change_again_and_again(api: Api, task: dict[str, Any]) -> None:
    """Change a task without a pause, until it is cancelled."""
    path = f"/tasks/{task['task_id']}"
    tag = (await api.client.get(path)).headers["ETag"]
    for number in itertools.count():
        headers = {"If-Match": tag}
        answer = await api.client.patch(path, json={"priority": number % 5}, headers=headers)
        tag = answer.raise_for_status().headers["ETag"]


class TestClients:
    async def test_one_that_leaves_leaves_nothing_behind(self, idle_api: Api) -> None:
        task = await idle_api.submit()
        async with stream(idle_api, task) as one, all_of(idle_api):
            await one.until(lambda: one.ids)
            assert watched(idle_api) == 2
        assert watched(idle_api) == 0

    async def test_nor_does_one_whose_request_is_cancelled(self, idle_api: Api) -> None:
        task = await idle_api.submit()
        client = stream(idle_api, task)
        async with client:
            await client.until(lambda: client.ids)
            assert client._task is not None
            client._task.cancel()
            await asyncio.wait([client._task])
            assert watched(idle_api) == 0
            client._task = None

    async def test_a_silent_stream_has_heartbeats(
        self, idle_api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(streams, "HEARTBEAT_SECONDS", 0.01)
        task = await idle_api.submit()
        async with stream(idle_api, task) as one, all_of(idle_api, task_type="noop") as other:
            for client in (one, other):
                await has(client, lambda client: client.body.count(b": \n\n") >= 3)
            await idle_api.submit()  # not for the other, but its place moves on
            before = other.body.count(b"id: ")
            await other.until(lambda: other.body.count(b"id: ") > before)
            last = other.body.decode().rpartition("id: ")[2].split()[0]
        assert one.ids == ["0.0"]
        async with all_of(idle_api, last) as client:
            await client.until(lambda: b"id: " in client.body)
            assert client.events == []

    async def test_one_that_hears_of_nothing_wanted_has_heartbeats(
        self, idle_api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """However much happens that is left out: silence is what the client hears."""
        monkeypatch.setattr(streams, "HEARTBEAT_SECONDS", 0.2)
        task = await idle_api.submit()
        async with (
            stream(idle_api, task, type="log") as one,
            all_of(idle_api, tag="none") as other,
        ):
            await other.until(lambda: b"id: " in other.body)
            places = other.body.count(b"id: ")
            busy = asyncio.ensure_future(change_again_and_again(idle_api, task))
            try:
                await one.until(lambda: one.body.count(b": \n\n") >= 3)
                await other.until(lambda: other.body.count(b"id: ") >= places + 3)
                assert not busy.done()
            finally:
                busy.cancel()
                await asyncio.gather(busy, return_exceptions=True)
            assert one.events == other.events == []

    async def test_one_that_does_not_read_is_dropped(
        self, idle_api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(event_stream, "SLOW_SECONDS", 0.05)
        task = await idle_api.submit()
        async with stream(idle_api, task) as client:
            await client.until(lambda: client.ids)
            client.reads.clear()
            await idle_api.service.tracker.execute(CancelTask(task["task_id"]))
            await client.until(lambda: client.over)
            assert watched(idle_api) == 0
            assert not client.complete

    async def test_the_database_is_asked_only_where_something_is_new(self, idle_api: Api) -> None:
        asked: list[list[str]] = []
        tracker, reads = idle_api.service.tracker, idle_api.service.reads
        read = reads.read

        async def noted(query: Any) -> Any:
            if isinstance(query, TaskEvents):
                asked.append([item.task_id for item in query.queries])
            return await read(query)

        reads.read = noted  # type: ignore[method-assign]
        one, other = [await idle_api.submit() for _ in range(2)]
        async with all_of(idle_api) as everything:  # the feed is followed from here on
            await everything.until(lambda: b"id: " in everything.body)
            async with (
                stream(idle_api, one) as first,
                stream(idle_api, one) as second,
                stream(idle_api, other) as third,
            ):
                for client in (first, second, third):
                    await has(client, lambda client: client.ids)
                asked.clear()
                await tracker.execute(CancelTask(one["task_id"]))
                await first.to_the_end()
                await second.to_the_end()
                assert asked == [[one["task_id"]]]
