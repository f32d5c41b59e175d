"""The calls that set things at run time, sync and async: requests and answers."""

import inspect
import json
import typing
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from raytasks.api import limit_routes, namespace_routes, pause_routes
from raytasks.client import BadArgument, ServiceUnavailable, control_documents, inspection_documents
from raytasks.client.control_calls import Control
from raytasks.client.control_calls_async import AsyncControl
from tests.client_wire import REFUSED, AsyncWire, Clock, Wire, ok

CALLS: list[tuple[Callable[[Any], Any], str, str, Any]] = [
    (lambda c: c.limits(), "GET", "/limits", None),
    (lambda c: c.set_limit("smtp", running=5), "PUT", "/limits/smtp", {"running": 5}),
    (lambda c: c.set_limit("a/b", rate=5, per_seconds=60, burst=2), "PUT", "/limits/a%2Fb",
     {"rate": 5, "per_seconds": 60, "burst": 2}),
    (lambda c: c.clear_limit("smtp"), "DELETE", "/limits/smtp", None),
    (lambda c: c.set_namespace("shop", weight=2.5), "PUT", "/namespaces/shop", {"weight": 2.5}),
    (lambda c: c.set_namespace("shop", max_backlog=0), "PUT", "/namespaces/shop",
     {"max_backlog": 0}),
    (lambda c: c.clear_namespace("shop"), "DELETE", "/namespaces/shop", None),
    (lambda c: c.pauses(), "GET", "/pauses", None),
    (lambda c: c.pause(), "POST", "/pause", {}),
    (lambda c: c.pause("mail", namespace="shop", seconds=60), "POST", "/pause",
     {"task_type": "mail", "namespace": "shop", "seconds": 60}),
    (lambda c: c.resume(), "POST", "/resume", {}),
    (lambda c: c.resume("mail"), "POST", "/resume", {"task_type": "mail"}),
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
    wire = wired(ok(limits=[], pauses=[]))
    wire.do(call)
    (request,) = wire.requests
    assert request.method == method
    assert str(request.url) == f"http://host:1{url}"
    assert (json.loads(request.content) if request.content else None) == body


def test_both_clients_offer_the_same() -> None:
    def offered(kind: type) -> dict[str, inspect.Signature]:
        return {
            name: inspect.signature(member).replace(return_annotation=None)
            for name, member in vars(kind).items()
            if callable(member) and not name.startswith("_")
        }

    assert offered(Control) == offered(AsyncControl)
    assert len(offered(Control)) == 8
    assert all(inspect.iscoroutinefunction(vars(AsyncControl)[name]) for name in offered(Control))


def test_answers_are_unpacked(wired: type[Wire]) -> None:
    assert wired(ok(limits=[{"name": "a"}])).do(lambda c: c.limits()) == [{"name": "a"}]
    assert wired(ok(pauses=[{"by": "a"}])).do(lambda c: c.pause()) == [{"by": "a"}]
    assert wired(ok(name="a")).do(lambda c: c.set_limit("a", running=1)) == {"name": "a"}
    answer = {"ended": True, "pauses": []}
    assert wired(ok(**answer)).do(lambda c: c.resume()) == answer


def test_what_can_be_repeated_is_sent_again(wired: type[Wire]) -> None:
    wire = wired(REFUSED, ok(name="smtp"))
    wire.do(lambda c: c.set_limit("smtp", running=5))
    assert len(wire.requests) == 2
    wire = wired(httpx.ReadTimeout("slow"), ok())
    with pytest.raises(ServiceUnavailable):
        wire.do(lambda c: c.pause(seconds=60))
    assert len(wire.requests) == 1


@pytest.mark.parametrize("name", ["", "..", "."])
def test_a_name_that_cannot_be_sent_is_refused(wired: type[Wire], name: str) -> None:
    wire = wired(ok())
    with pytest.raises(BadArgument, match="is not the name of a limit"):
        wire.do(lambda c: c.set_limit(name, running=5))
    with pytest.raises(BadArgument, match="is not the name of a namespace"):
        wire.do(lambda c: c.clear_namespace(name))
    assert wire.requests == []


@pytest.mark.parametrize(
    ("document", "model"),
    [
        (control_documents.LimitDocument, limit_routes.LimitView),
        (control_documents.BoundsDocument, limit_routes.BoundsView),
        (control_documents.OverrideDocument, limit_routes.OverrideView),
        (control_documents.KeyDocument, limit_routes.KeyView),
        (control_documents.PauseDocument, pause_routes.PauseView),
        (control_documents.ResumedDocument, pause_routes.ResumedView),
        (inspection_documents.NamespaceDocument, namespace_routes.NamespaceView),
    ],
)
def test_fields_are_those_of_the_api(document: type, model: type[BaseModel]) -> None:
    assert set(typing.get_type_hints(document)) == set(model.model_fields)
