"""The calls about schedules, sync and async: requests and answers."""

import inspect
import json
import typing
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from raytasks.api import schedule_routes
from raytasks.client import BadArgument, schedule_documents
from raytasks.client.schedule_calls import Schedules
from raytasks.client.schedule_calls_async import AsyncSchedules
from raytasks.handling.schedule_request import ScheduleRequest
from tests.client_wire import AsyncWire, Clock, Wire, ok
from tests.schedule_handlers import report

CALLS: list[tuple[Callable[[Any], Any], str, str, Any]] = [
    (lambda c: c.schedules(), "GET", "/schedules?limit=500", None),
    (lambda c: c.schedules(name="a/b"), "GET", "/schedules?name=a%2Fb&limit=1", None),
    (lambda c: c.set_schedule("a", task_type="report", cron="0 9 * * *", tags=None), "PUT",
     "/schedules/a", {"task_type": "report", "cron": "0 9 * * *"}),
    (lambda c: c.set_schedule("a/b", task_type=report, every_seconds=60, payload=1), "PUT",
     "/schedules/a%2Fb", {"task_type": "report", "every_seconds": 60, "payload": 1}),
    (lambda c: c.clear_schedule("a"), "DELETE", "/schedules/a", None),
    (lambda c: c.run_schedule("a"), "POST", "/schedules/a/run", None),
    (lambda c: c.pause_schedule("a"), "POST", "/schedules/a/pause", None),
    (lambda c: c.resume_schedule("a"), "POST", "/schedules/a/resume", None),
]  # fmt: skip


@pytest.fixture(params=[Wire, AsyncWire], ids=["sync", "async"])
def wired(request: pytest.FixtureRequest) -> type[Wire]:
    """The kind of the client."""
    kind: type[Wire] = request.param
    return kind


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that only pauses move."""
    monkeypatch.delenv("RAYTASKS_API_KEY", raising=False)
    return Clock(monkeypatch)


@pytest.mark.parametrize(("call", "method", "url", "body"), CALLS)
def test_what_is_asked(
    wired: type[Wire], call: Callable[[Any], Any], method: str, url: str, body: Any
) -> None:
    wire = wired(ok(schedules=[], next_cursor=None))
    wire.do(call)
    (request,) = wire.requests
    assert request.method == method
    assert str(request.url) == f"http://host:1{url}"
    assert (json.loads(request.content) if request.content else None) == body


def test_all_pages_are_read(wired: type[Wire]) -> None:
    wire = wired(
        ok(schedules=[{"name": "a"}], next_cursor="a"),
        ok(schedules=[{"name": "b"}], next_cursor=None),
    )
    assert wire.do(lambda c: c.schedules()) == [{"name": "a"}, {"name": "b"}]
    assert dict(wire.requests[1].url.params) == {"limit": "500", "cursor": "a"}


def test_both_clients_offer_the_same() -> None:
    def offered(kind: type) -> dict[str, inspect.Signature]:
        return {
            name: inspect.signature(member).replace(return_annotation=None)
            for name, member in vars(kind).items()
            if callable(member) and not name.startswith("_")
        }

    assert offered(Schedules) == offered(AsyncSchedules)
    assert len(offered(Schedules)) == 6
    assert all(
        inspect.iscoroutinefunction(vars(AsyncSchedules)[name]) for name in offered(Schedules)
    )


@pytest.mark.parametrize("name", ["", "..", "."])
def test_a_name_that_cannot_be_sent_is_refused(wired: type[Wire], name: str) -> None:
    wire = wired(ok())
    with pytest.raises(BadArgument, match="is not the name of a schedule"):
        wire.do(lambda c: c.run_schedule(name))
    assert wire.requests == []


@pytest.mark.parametrize(
    ("document", "model"),
    [
        (schedule_documents.ScheduleDocument, schedule_routes.ScheduleView),
        (schedule_documents.TimesDocument, schedule_routes.TimesView),
        (schedule_documents.SetTimesDocument, schedule_routes.SetTimesView),
        (schedule_documents.SchedulePauseDocument, schedule_routes.SchedulePauseView),
        (schedule_documents.SchedulePageDocument, schedule_routes.SchedulesView),
        (schedule_documents.ScheduleSettings, ScheduleRequest),
    ],
)
def test_fields_are_those_of_the_api(document: type, model: type[BaseModel]) -> None:
    assert set(typing.get_type_hints(document)) == set(model.model_fields)
