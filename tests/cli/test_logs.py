"""`raytasks logs`: of a task, and of the service, on a service that the test plays."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from raytasks.cli import options
from raytasks.cli.shown_log import ShownLog
from raytasks.client import Client
from raytasks.model.tasks import RaytasksError
from raytasks.protocol.queries import LogLines
from raytasks.protocol.service_log import LogPage, ServiceLine
from tests.client_wire import sse, stream

Run = Callable[..., Any]
LINE = {
    "id": "5:1", "at": "2030-01-02T03:04:05.678901Z", "level": "WARNING",
    "message": "attempt 1 of mail failed",
    "fields": {"task_id": "t-1", "seconds": 0.5, "error": "ValueError: no"},
}  # fmt: skip
STATE = {"task_id": "t-1", "task_type": "mail", "state": "RUNNING", "attempt": 1, "at": None}
SAID = {"attempt": 1, "level": "INFO", "message": "said", "at": "2030-01-02T03:04:05.678901Z"}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[httpx.Request]:
    """The requests to a service with one line in its log, and one task."""
    requests: list[httpx.Request] = []

    def play(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        if request.url.path.endswith("/events"):
            return stream(
                sse("state", STATE, "1.0"),
                sse("log", SAID, "1.1"),
                sse("log", {**SAID, "level": "ERROR", "message": "cried"}, "1.2"),
                sse("progress", {"attempt": 1, "fraction": 0.5, "message": None}),
                sse("end", {"task_id": "t-1", "state": "FAILED"}),
            )
        page = {"lines": [LINE], "next": "5:1", "gap": True, "more": False}
        return httpx.Response(200, json=page)

    def client(url: str, **arguments: Any) -> Client:
        return Client(url, transport=httpx.MockTransport(play), **arguments)

    monkeypatch.setattr(options, "Client", client)
    return requests


class TestService:
    def test_lines_for_people(self, run: Run, asked: list[httpx.Request]) -> None:
        done = run("logs", "--type", "mail", "--level", "warning", "-n", "7")
        assert done.code == 0, done.err
        assert done.out.splitlines()[1] == (
            "2030-01-02T03:04:05.678Z WARNING attempt 1 of mail failed task_id=t-1 seconds=0.5 "
            'error="ValueError: no"'
        )
        assert "lines are gone" in done.out.splitlines()[0]
        assert dict(asked[0].url.params) == {
            "task_type": "mail", "level": "WARNING", "lines": "7"
        }  # fmt: skip

    def test_lines_for_machines(self, run: Run, asked: list[httpx.Request]) -> None:
        done = run("logs", "--json")
        assert json.loads(done.out) == LINE
        assert asked

    def test_a_level_that_is_none(self, run: Run, asked: list[httpx.Request]) -> None:
        done = run("logs", "--level", "loud")
        assert (done.code, asked) == (2, [])
        assert "use one of DEBUG, INFO, WARNING, ERROR" in done.err


class TestTask:
    def test_its_lines_and_changes_of_state(self, run: Run, asked: list[httpx.Request]) -> None:
        done = run("logs", "t-1")
        rows = [row.split() for row in done.out.splitlines()]
        assert [row[0] if row[0].isalpha() else row[1] for row in rows] == [
            "RUNNING", "info", "error"
        ]  # fmt: skip
        assert asked[0].url.params["follow"] == "false"

    def test_it_can_be_followed_and_filtered(self, run: Run, asked: list[httpx.Request]) -> None:
        done = run("logs", "t-1", "--follow", "--level", "warning")
        assert "follow" not in asked[0].url.params
        assert "cried" in done.out
        assert "said" not in done.out

    def test_a_type_beside_it_makes_no_sense(self, run: Run, asked: list[httpx.Request]) -> None:
        assert run("logs", "t-1", "--type", "mail").code == 2
        assert not asked


class TestShownByUp:
    def test_each_line_of_each_tracker_is_shown_once(self) -> None:
        pages: list[LogPage | Exception] = [
            LogPage(5, 2, (ServiceLine(1, 0.0, "INFO", "a"), ServiceLine(2, 0.0, "ERROR", "b"))),
            RaytasksError("it is being started again"),
            LogPage(6, 1, (ServiceLine(1, 0.0, "INFO", "c"),), gap=True),
        ]
        asked: list[tuple[int, int]] = []
        shown: list[tuple[str, str]] = []

        def read(query: LogLines) -> LogPage:
            asked.append((query.stream, query.after))
            if not pages:
                log._stopping.set()
                return LogPage(6, 1)
            page = pages.pop(0)
            if isinstance(page, Exception):
                raise page
            return page

        log = ShownLog(read, lambda text, color: shown.append((text[-1], color)), "text")
        log.start()
        log._thread.join(20)
        log.stop()
        assert shown == [("a", ""), ("b", "red"), ("c", "")]
        assert asked == [(1, 0), (5, 2), (5, 2), (6, 1)]

    def test_what_it_cannot_go_on_after_is_told(self) -> None:
        shown: list[str] = []

        def read(_query: LogLines) -> LogPage:
            raise OSError("gone")

        log = ShownLog(read, lambda text, _color: shown.append(text), "json")
        log.start()
        log._thread.join(20)
        assert "the log is not shown any more: OSError" in shown[0]

    def test_one_that_never_began_can_be_stopped(self) -> None:
        ShownLog(lambda _: LogPage(1, 0), lambda _text, _color: None, "text").stop()
