"""Bodies that clients send: by function or by name, with payloads of any kind that JSON holds."""

import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from typing import Any

import msgspec
import pydantic.dataclasses
import pytest
from pydantic import BaseModel, ConfigDict, Field

from raytasks import HandlerError, handler
from raytasks.client import BadArgument
from tests.client_wire import AsyncWire, Wire, ok

ID = "0198c1de-0000-7000-8000-000000000000"
NOON = datetime(2030, 1, 2, 12, tzinfo=UTC)


def submitted(payload: Any, client: Any) -> Any:
    return client.submit("type", payload)


class Kind(StrEnum):
    NEWS = "news"


class Mail(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    sender: str = Field(alias="from")
    at: datetime = NOON


@dataclass
class Parcel:
    weight: float
    kind: Kind
    mail: Mail | None = None


@pydantic.dataclasses.dataclass
class Box:
    weight: float = Field(alias="kilograms")


class Order(msgspec.Struct):
    number: int
    key: uuid.UUID


@dataclass
class Labels:
    of: dict[Any, str]


class Named(BaseModel):
    of: dict[int | str, str]


class Loss(BaseModel):
    loss: float


@handler("send_mail")
async def send_mail(payload: Mail) -> None: ...


@handler("Warm")
class Warm:
    def __call__(self, payload: Mail) -> None: ...


def undecorated(payload: Mail) -> None: ...


@pytest.fixture(params=[Wire, AsyncWire], ids=["sync", "async"])
def wire(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Wire:
    monkeypatch.delenv("RAYTASKS_API_KEY", raising=False)
    kind: type[Wire] = request.param
    return kind(ok(task_id=ID, state="COMPLETED", tasks=[]))


def sent(wire: Wire) -> Any:
    request = wire.requests[0]
    assert request.headers["content-type"] == "application/json"
    return json.loads(request.content)


@pytest.mark.parametrize(
    ("target", "name"), [(send_mail, "send_mail"), (Warm, "Warm"), ("anything", "anything")]
)
@pytest.mark.parametrize("verb", ["submit", "run"])
def test_a_task_is_named_by_its_handler(wire: Wire, verb: str, target: Any, name: str) -> None:
    mail = Mail(sender="ada")
    wire.do(lambda client: getattr(client, verb)(target, mail, priority=3))
    payload = {"from": "ada", "at": "2030-01-02T12:00:00Z"}
    assert sent(wire) == {"task_type": name, "payload": payload, "priority": 3}


def test_so_are_those_of_a_batch(wire: Wire) -> None:
    items = [{"task_type": kind, "payload": Mail(sender="b")} for kind in (send_mail, "other")]
    wire.do(lambda client: client.submit_many(items))
    assert [item["task_type"] for item in sent(wire)["tasks"]] == ["send_mail", "other"]


def test_a_function_that_is_no_handler_is_named(wire: Wire) -> None:
    with pytest.raises(HandlerError, match=r"undecorated is not decorated with @handler"):
        wire.do(lambda client: client.submit(undecorated, {}))
    assert wire.requests == []


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({"text": "größer", "n": [1, 2.5, None, True]}, None),
        (Parcel(1.5, Kind.NEWS), {"weight": 1.5, "kind": "news", "mail": None}),
        (
            {"parcels": [Parcel(1.5, Kind.NEWS, Mail(sender="a"))]},
            {
                "parcels": [
                    {
                        "weight": 1.5,
                        "kind": "news",
                        "mail": {"from": "a", "at": "2030-01-02T12:00:00Z"},
                    }
                ]
            },
        ),
        (Order(7, uuid.UUID(ID)), {"number": 7, "key": ID}),
        ({"at": NOON, "kinds": [Kind.NEWS]}, {"at": "2030-01-02T12:00:00Z", "kinds": ["news"]}),
        ({"boxes": [Box(kilograms=2.0)]}, {"boxes": [{"kilograms": 2.0}]}),
        ((1, 2), [1, 2]),
        (None, None),
    ],
)
def test_payloads(wire: Wire, payload: Any, expected: Any) -> None:
    wire.do(lambda client: client.submit("type", payload))
    assert sent(wire)["payload"] == (payload if expected is None else expected)


def test_none_is_a_payload_and_no_option(wire: Wire) -> None:
    wire.do(lambda client: client.submit("type", None, tags=None, unique=None))
    wire.do(lambda client: client.submit_many([{"task_type": "type", "payload": None}]))
    wire.do(lambda client: client.set_schedule("s", task_type="type", payload=None, tags=None))
    task = {"task_type": "type", "payload": None}
    assert [json.loads(request.content) for request in wire.requests] == [
        task,
        {"tasks": [task]},
        task,
    ]


@pytest.mark.parametrize(
    ("payload", "place", "reason"),
    [
        ({"x": object()}, "/x", "a value of type object has no form in JSON"),
        ({"x": b"bytes"}, "/x", "bytes have no form in JSON"),
        ([{"x": Parcel(1, Kind.NEWS, b"x")}], "/0/x/mail", "bytes have no form in JSON"),  # type: ignore[arg-type]
        ({"x": float("nan")}, "/x", "NaN is no JSON number"),
        ({"a/b": (1, [-float("inf")])}, "/a~1b/1/0", "Infinity is no JSON number"),
        ([Loss(loss=float("nan"))], "/0/loss", "NaN is no JSON number"),
        (Parcel(float("nan"), Kind.NEWS), "/weight", "NaN is no JSON number"),
        ({"x": {float("nan"): 1}}, "/x", "Out of range"),
        ({"x": "\ud800"}, "/x", "a text has a lone surrogate"),
        ({"x": {(1, 2): 3}}, "/x", "keys must be str"),
        (Mail, "", "a value of type ModelMetaclass has no form in JSON"),
        ({1: 2, "1": 3}, "", "an object with the name '1' twice"),
        ([0.5, {"x": {None: 2, "null": 3, "u": "http://x"}}], "/1/x", "the name 'null' twice"),
        ({"x": Labels({1: "a", "1": "b"})}, "/x/of", "an object with the name '1' twice"),
        ([Named(of={1: "a", "1": "b"})], "/0", "an object with the name '1' twice, at /of"),
    ],
)
def test_what_cannot_be_json_is_refused_before_it_is_sent(
    wire: Wire, payload: Any, place: str, reason: str
) -> None:
    for at, call in (
        ("/payload", lambda client: client.submit("type", payload)),
        (
            "/tasks/1/payload",
            lambda client: client.submit_many(
                [{"task_type": "t", "payload": 1}, {"task_type": "t", "payload": payload}]
            ),
        ),
    ):
        with pytest.raises(BadArgument, match=f"^{at}{place}: cannot be JSON: .*{reason}"):
            wire.do(call)
    assert wire.requests == []


def test_an_option_that_cannot_be_sent_is_named(wire: Wire) -> None:
    with pytest.raises(BadArgument, match=r"^/delay_seconds: cannot be JSON: NaN is no"):
        wire.do(lambda client: client.submit("type", {}, delay_seconds=float("nan")))
    with pytest.raises(BadArgument, match=r"^/seconds: cannot be JSON: Infinity is no"):
        wire.do(lambda client: client.pause("type", seconds=float("inf")))


def test_the_same_names_in_other_objects_are_fine(wire: Wire) -> None:
    payload = [{"a": {"a": 1e22}}, {"a": "a:\\"}, {"b": 2**70, "a": 1.0}, "\u00e9\u2028"]
    wire.do(lambda client: client.submit("type", payload))
    assert sent(wire)["payload"] == payload


def test_a_payload_that_contains_itself_or_is_too_deep(wire: Wire) -> None:
    endless: list[Any] = []
    endless.append(endless)
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    for payload in (endless, deep):
        with pytest.raises(BadArgument, match=r"^/payload: cannot be JSON: it "):
            wire.do(partial(submitted, payload))
