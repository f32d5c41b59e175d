"""Limits on clients of a replica: waiting, headers, slow bodies, deeply nested bodies."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from raytasks.api.problems import Problem
from raytasks.api.request_bounds import WaitingRoom, body_in_time, check_depth
from tests.local_service import Api, LocalService, served, serving

JSON = {"Content-Type": "application/json"}


def check_problem(response: httpx.Response, status: int, *said: str) -> None:
    """Check that an answer is a problem document with this status that says this."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    for text in said:
        assert text in response.json()["detail"]


class TestWaiting:
    """MAX_WAITING_CLIENTS."""

    @pytest.fixture
    async def small(self, sqlite_url: str, tmp_path: Path) -> AsyncIterator[Api]:
        service = LocalService(sqlite_url, tmp_path, max_waiting_clients=2)
        async with serving(service, runner=False) as api:
            yield api

    async def test_so_many_wait_and_the_next_is_told_to_come_again(self, small: Api) -> None:
        path = f"/tasks/{(await small.submit())['task_id']}"

        async def wait() -> httpx.Response:
            while True:  # until it has one of the two places
                response = await small.client.get(path, params={"wait": 60})
                if response.status_code != 503:
                    return response
                await asyncio.sleep(0)  # a refusal is so quick that nobody else gets a turn

        waiting = [asyncio.ensure_future(wait()) for _ in range(2)]
        while True:
            response = await small.client.get(path, params={"wait": 0.001})
            if response.status_code != 200:
                break
            await asyncio.sleep(0)
        check_problem(response, 503, "MAX_WAITING_CLIENTS")
        assert int(response.headers["retry-after"]) > 0
        assert (await small.client.get(path)).status_code == 200
        await small.client.post(f"{path}/cancel")
        for answer in await asyncio.gather(*waiting):
            assert answer.json()["state"] == "CANCELLED"
        response = await small.client.get(path, params={"wait": 0.001})
        assert response.status_code == 200

    async def test_a_client_that_leaves_gives_its_place_back(self, small: Api) -> None:
        path = f"/tasks/{(await small.submit())['task_id']}"
        for _ in range(3):
            waiting = asyncio.ensure_future(small.client.get(path, params={"wait": 60}))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        response = await small.client.get(path, params={"wait": 0.001})
        assert response.status_code == 200

    async def test_places_are_given_back_also_after_an_error(self) -> None:
        room = WaitingRoom(1)

        async def wait() -> None:
            async with room.place():
                assert room.taken == 1
                async with room.place():
                    pass

        for _ in range(2):
            with pytest.raises(Problem):
                await wait()
            assert room.taken == 0


class TestHeaders:
    async def test_a_hundred_will_do(self, idle_api: Api) -> None:
        # The client adds five of its own: host, accept, accept-encoding, connection, user-agent.
        headers = {f"X-{number}": "1" for number in range(95)}
        assert (await idle_api.client.get("/task-types", headers=headers)).status_code == 200
        headers["X-one-more"] = "1"
        response = await idle_api.client.get("/task-types", headers=headers)
        check_problem(response, 431, "101 headers", "100 are allowed")
        assert response.headers["connection"] == "close"


class TestDepth:
    """MAX_DEPTH, 100."""

    @staticmethod
    def body(depth: int, kind: str) -> str:
        """Return a submission nested this deeply, of which the request and the payload are two."""
        opened, closed = {"list": ("[", "]"), "object": ('{"a":', "}")}[kind]
        value = opened * (depth - 2) + "1" + closed * (depth - 2)
        return '{"task_type": "scripted", "payload": {"value": ' + value + "}}"

    @pytest.mark.parametrize("kind", ["list", "object"])
    async def test_the_deepest_is_taken_and_one_level_more_is_not(
        self, idle_api: Api, kind: str
    ) -> None:
        for depth, status in ((100, 202), (101, 400), (201, 400), (320, 400)):
            body = self.body(depth, kind)
            response = await idle_api.client.post("/tasks/", content=body, headers=JSON)
            assert response.status_code == status, (depth, response.text)
            if status != 202:
                check_problem(response, 400, "100 levels", "MAX_DEPTH")
        assert await idle_api.total() == 1

    @pytest.mark.parametrize(
        "text", ["[" * 900_000, '{"a":' * 180_000, "[" * 450_000 + "]" * 450_000]
    )
    async def test_the_deepest_that_fits_does_no_harm(self, api: Api, text: str) -> None:
        response = await api.client.post("/tasks/", content=text, headers=JSON)
        check_problem(response, 400, "MAX_DEPTH")

    async def test_many_containers_beside_each_other_are_not_deep(self, api: Api) -> None:
        await api.submit(payload={"value": [[[]] for _ in range(1000)]})

    def test_no_depth_is_too_much_for_the_check(self) -> None:
        value: Any = {}
        for _ in range(100_000):
            value = [value]
        with pytest.raises(Problem):
            check_depth(value, 100)
        with pytest.raises(Problem):
            check_depth(value, 100_000)
        check_depth(value, 100_001)
        while value:  # else freeing it would call itself as often
            value = value.pop()


class TestSlowBodies:
    """BODY_SECONDS."""

    @pytest.fixture
    async def hasty(self, sqlite_url: str, tmp_path: Path) -> AsyncIterator[Api]:
        service = LocalService(sqlite_url, tmp_path, body_seconds=0.2)
        async with serving(service, runner=False) as api:
            yield api

    async def test_a_body_that_does_not_come_is_a_408(self, hasty: Api) -> None:
        async def body() -> AsyncIterator[bytes]:
            yield b"{"
            await asyncio.Event().wait()

        response = await hasty.client.post("/tasks/", content=body(), headers=JSON)
        check_problem(response, 408, "0.2 seconds", "BODY_SECONDS")
        assert response.headers["connection"] == "close"
        assert await hasty.total() == 0

    async def test_nor_does_a_little_now_and_then_help(self, hasty: Api) -> None:
        async def body() -> AsyncIterator[bytes]:
            while True:
                yield b" "
                await asyncio.sleep(0.02)

        response = await hasty.client.post("/tasks/", content=body(), headers=JSON)
        check_problem(response, 408)

    async def test_after_the_body_the_time_does_not_run(self, hasty: Api) -> None:
        path = f"/tasks/{(await hasty.submit())['task_id']}"
        response = await hasty.client.get(path, params={"wait": 0.5})
        assert response.status_code == 200

    async def test_what_comes_after_the_body_is_waited_for(self) -> None:
        messages = [
            {"type": "http.request", "body": b"a", "more_body": True},
            {"type": "http.request", "body": b"b", "more_body": False},
        ]

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop(0)
            await asyncio.sleep(0.1)
            return {"type": "http.disconnect"}

        timed = body_in_time(receive, 0.05)
        assert [(await timed())["type"] for _ in range(3)][-1] == "http.disconnect"

    async def test_who_gives_up_meanwhile_stops_the_waiting(self) -> None:
        waits, stopped = asyncio.Event(), []

        async def receive() -> dict[str, Any]:
            await asyncio.sleep(0)
            try:
                waits.set()
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                stopped.append(True)
                raise
            raise AssertionError

        reading = asyncio.ensure_future(body_in_time(receive, 20)())
        await waits.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert stopped == [True]

    async def test_an_error_after_a_while_comes_through(self) -> None:
        async def receive() -> dict[str, Any]:
            await asyncio.sleep(0.01)
            raise OSError("the connection is gone")

        with pytest.raises(OSError, match="is gone"):
            await body_in_time(receive, 20)()

    async def test_the_connection_is_closed(self, sqlite_url: str, tmp_path: Path) -> None:
        with served(LocalService(sqlite_url, tmp_path, body_seconds=0.2)) as url:
            port = httpx.URL(url).port
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            head = "POST /tasks/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            writer.write(f"{head}Content-Length: 100\r\n\r\n{{".encode())
            async with asyncio.timeout(20):
                answer = await reader.read()  # to its end: the server closes
            assert answer.startswith(b"HTTP/1.1 408 ")
            problem = json.loads(answer.partition(b"\r\n\r\n")[2])
            assert problem["status"] == 408
            writer.close()
            await writer.wait_closed()
