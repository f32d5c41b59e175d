"""The short way through a replica, with the HTTP server that Serve starts there."""

import asyncio
import contextlib
import logging
import socket
import warnings
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.ports import quiet_port

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Serve's own import warns
    from ray.serve._private import http_util
    from ray.serve.config import HTTPOptions

    from raytasks.api.on_ray import short_way
    from raytasks.api.on_ray.short_way import open_short_way

HOST = "127.0.0.1"
TASK = "/tasks/0198c1de-0000-7000-8000-000000000000"
SERVE = PlainTextResponse("serve")
OURS = PlainTextResponse("ours")


@pytest.fixture(autouse=True)
def closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin, and end, without a short way in this process."""
    monkeypatch.setattr(http_util, short_way._SWITCH, None)
    monkeypatch.setattr(short_way, "_ours", None)


@contextlib.asynccontextmanager
async def replica(serve: ASGIApp = SERVE) -> AsyncIterator[httpx.AsyncClient]:
    """Start the server of a replica as Serve does, around `serve`, and give a client of it."""
    options = http_util.configure_http_middlewares(HTTPOptions(host=HOST, port=quiet_port()))
    loop = asyncio.get_running_loop()
    running, server = await http_util.start_asgi_http_server(serve, options, event_loop=loop)
    try:
        url = f"http://{HOST}:{options.port}"
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
            yield client
    finally:
        server.should_exit = True
        await running


class Waiting:
    """An app that tells when a request is there, and when it was cancelled. It never answers."""

    def __init__(self) -> None:
        self.there = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.there.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


class TestWhichRequests:
    @pytest.mark.parametrize(
        ("method", "path"),
        [("POST", "/tasks/"), ("GET", TASK), ("GET", f"{TASK}?wait=5"), ("GET", f"{TASK}?wait=0")],
    )
    async def test_plain_ones_skip_serve(self, method: str, path: str) -> None:
        assert open_short_way(OURS, 10)
        async with replica() as client:
            assert (await client.request(method, path)).text == "ours"

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/tasks/"),
            ("POST", "/tasks/?namespace=one"),
            ("POST", "/tasks"),
            ("POST", "/tasks/batch"),
            ("GET", "/health"),
            ("GET", f"{TASK}?wait=61"),
            ("GET", f"{TASK}/events"),
            ("POST", TASK),
            ("GET", "/-/healthz"),
        ],
    )
    async def test_all_others_go_through_serve(self, method: str, path: str) -> None:
        assert open_short_way(OURS, 10)
        async with replica() as client:
            assert (await client.request(method, path)).text == "serve"

    async def test_without_it_all_do(self) -> None:
        async with replica() as client:
            assert (await client.post("/tasks/")).text == "serve"

    async def test_those_of_another_event_loop_do(self) -> None:
        def elsewhere() -> None:
            with asyncio.Runner() as runner:
                runner.run(opened())

        async def opened() -> None:
            assert open_short_way(OURS, 10)

        await asyncio.to_thread(elsewhere)
        async with replica() as client:
            assert (await client.post("/tasks/")).text == "serve"


class TestAnswers:
    async def test_those_beyond_the_most_wait_for_their_turn(self) -> None:
        there, go_on = asyncio.Semaphore(0), asyncio.Event()

        async def slow(scope: Scope, receive: Receive, send: Send) -> None:
            there.release()
            await go_on.wait()
            await OURS(scope, receive, send)

        open_short_way(slow, 2)
        async with replica() as client:
            asking = [asyncio.ensure_future(client.post("/tasks/")) for _ in range(5)]
            await there.acquire()
            await there.acquire()
            await asyncio.wait(asking, timeout=0.2)
            assert there.locked(), "a third one has begun"
            go_on.set()
            assert {(await one).text for one in asking} == {"ours"}

    async def test_a_mistake_of_ours_is_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        async def mistaken(scope: Scope, receive: Receive, send: Send) -> None:
            raise RuntimeError("a mistake")

        open_short_way(mistaken, 10)
        with caplog.at_level(logging.ERROR, short_way.__name__):
            async with replica() as client:
                assert (await client.post("/tasks/")).status_code == 500
        [record] = [item for item in caplog.records if item.name == short_way.__name__]
        assert record.getMessage() == "a request failed: POST /tasks/"


class TestLeavingClients:
    async def test_a_wait_ends_when_its_client_leaves(self) -> None:
        waiting = Waiting()
        open_short_way(waiting, 10)
        async with replica() as client:
            asking = asyncio.ensure_future(client.get(f"{TASK}?wait=60"))
            await waiting.there.wait()
            asking.cancel()
            async with asyncio.timeout(10):
                await waiting.cancelled.wait()

    async def test_a_submission_does_not(self) -> None:
        done = asyncio.Event()
        there, go_on = asyncio.Event(), asyncio.Event()

        async def submitting(scope: Scope, receive: Receive, send: Send) -> None:
            there.set()
            await go_on.wait()
            await OURS(scope, receive, send)
            done.set()

        open_short_way(submitting, 10)
        async with replica() as client:
            asking = asyncio.ensure_future(client.post("/tasks/"))
            await there.wait()
            asking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asking
            go_on.set()
            async with asyncio.timeout(10):
                await done.wait()

    async def test_the_server_s_end_waits_for_the_answer(self) -> None:
        there, go_on = asyncio.Event(), asyncio.Event()

        async def slow(scope: Scope, receive: Receive, send: Send) -> None:
            there.set()
            await go_on.wait()
            await OURS(scope, receive, send)

        open_short_way(slow, 10)
        options = http_util.configure_http_middlewares(HTTPOptions(host=HOST, port=quiet_port()))
        running, server = await http_util.start_asgi_http_server(
            SERVE, options, event_loop=asyncio.get_running_loop()
        )
        url = f"http://{HOST}:{options.port}"
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
            asking = asyncio.ensure_future(client.post("/tasks/"))
            await there.wait()
            server.should_exit = True
            while _listens(options.port):
                await asyncio.wait([running], timeout=0.05)
            assert not running.done()
            go_on.set()
            assert (await asking).text == "ours"
        await running


class TestTheUsersOwn:
    async def test_an_app_that_is_made_again_takes_over(self) -> None:
        assert open_short_way(SERVE, 10)
        assert open_short_way(OURS, 10)
        async with replica() as client:
            assert (await client.post("/tasks/")).text == "ours"

    async def test_their_callback_stays(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(http_util, short_way._SWITCH, f"{__name__}:_theirs")
        assert not open_short_way(OURS, 10)
        async with replica() as client:
            answer = await client.post("/tasks/")
        assert answer.text == "serve"
        assert answer.headers["theirs"] == "yes"

    async def test_a_serve_without_callbacks_goes_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(http_util, short_way._SWITCH)
        assert not open_short_way(OURS, 10)


class _Theirs:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("serve", headers={"theirs": "yes"})(scope, receive, send)


def _theirs() -> list[Middleware]:
    return [Middleware(_Theirs)]


def _listens(port: int) -> bool:
    with socket.socket() as trying:
        return trying.connect_ex((HOST, port)) == 0
