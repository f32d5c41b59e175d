"""All doors for submissions: each refuses the same, in words about the submission."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from raytasks.handling.declaration import handler, handler_of
from raytasks.handling.registry import Registry
from raytasks.handling.submission import PayloadBounds, check_batch, check_submission
from raytasks.model.errors import InvalidSubmission
from raytasks.settings import Settings
from raytasks.testing import Queue, run_handler


class Anything(BaseModel):
    value: Any = None


class Loss(BaseModel):
    loss: float


@handler("anything")
def anything(payload: Anything) -> None:
    """Take anything."""


REGISTRY = Registry([handler_of(anything)])


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


BAD = {
    "NaN": (float("nan"), "/payload/value: cannot be JSON: NaN"),
    "Infinity": (float("inf"), "/payload/value: cannot be JSON: Infinity"),
    "-Infinity": ([1, -float("inf")], "/payload/value/1: cannot be JSON: Infinity"),
    "model": (Loss(loss=float("nan")), "/payload/value/loss: cannot be JSON: NaN"),
    "digits": (10**4300, "/payload/value: cannot be JSON: an integer with more than 4300 digits"),
    "surrogate": ("\ud83d", "/payload: cannot be JSON: a text has a lone surrogate"),
    "twice": ({1: 1, "1": 2}, "/payload/value: cannot be JSON: an object with the name '1' twice"),
    "object": (object(), "/payload: cannot be JSON: Unable to serialize unknown type"),
    "depth": (nested(99), r"/payload: .*nested deeper than 100 levels \(RAYTASKS_MAX_DEPTH\)"),
    "very deep": (
        nested(5000),
        r"/payload: .*nested deeper than 100 levels \(RAYTASKS_MAX_DEPTH\)",
    ),
    "bytes": (
        "x" * 1024 * 1024,
        r"/payload: must be at most 1048576 bytes \(RAYTASKS_MAX_PAYLOAD_BYTES\)",
    ),
}

GOOD = [nested(98), 10**4299, "NaN", "x" * (1024 * 1024 - 12), None]


def by_check(payload: Any, **options: Any) -> None:
    check_submission({"task_type": "anything", "payload": payload, **options}, REGISTRY)


def by_batch(payload: Any, **options: Any) -> None:
    request = {"task_type": "anything", "payload": payload, **options}
    check_batch({"tasks": [request]}, REGISTRY)


def by_queue(payload: Any, **options: Any) -> None:
    with Queue([anything]) as queue:
        queue.submit("anything", payload, **options)


def by_run_handler(payload: Any, **options: Any) -> None:
    assert run_handler(anything, payload, **options).outcome == "succeeded"


DOORS = [by_check, by_batch, by_queue, by_run_handler]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", BAD)
def test_every_door_refuses_it(door: Callable[..., None], name: str) -> None:
    value, said = BAD[name]
    with pytest.raises(InvalidSubmission, match=said) as caught:
        door({"value": value})
    assert "handler" not in str(caught.value)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("value", GOOD, ids=["depth", "digits", "text", "bytes", "null"])
def test_every_door_takes_it(door: Callable[..., None], value: Any) -> None:
    door({"value": value})


@pytest.mark.parametrize("door", [by_check, by_batch, by_queue])
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("priority", float("nan")),
        ("timeout_seconds", float("inf")),
        ("delay_seconds", float("nan")),
        ("tags", ["\ud800"]),
        ("max_attempts", 10**400),
        ("namespace", "other"),
    ],
)
def test_a_bad_option_is_named_in_the_text(
    door: Callable[..., None], option: str, value: Any
) -> None:
    with pytest.raises(InvalidSubmission, match=f"/{option}"):
        door({}, **{option: value})


@pytest.mark.parametrize("key", ["", " ", " a", "a ", "ü", "a\nb", "x" * 256, "\ud800", 5, b"x"])
def test_a_bad_key(key: Any) -> None:
    request = {"task_type": "anything", "payload": {}}
    with pytest.raises(InvalidSubmission, match="Idempotency-Key: must be 1 to 255 printable"):
        check_submission(request, REGISTRY, idempotency_key=key)


def test_a_text_with_many_errors_is_short() -> None:
    with pytest.raises(InvalidSubmission) as caught:
        check_batch({"tasks": [{}] * 50}, REGISTRY)
    assert str(caught.value).startswith("nothing of the batch was accepted: /tasks/0/task_type: ")
    assert str(caught.value).endswith("; and 90 more")
    assert len(caught.value.errors) == 100


def test_the_same_request_has_the_same_digest_whatever_it_is_made_of() -> None:
    def digest(payload: Any) -> str | None:
        request = {"task_type": "anything", "payload": payload}
        return check_submission(request, REGISTRY, idempotency_key="k").request_digest

    plain = digest({"value": [1, 2]})
    assert digest({"value": (1, 2)}) == plain
    assert digest({"value": (number for number in (1, 2))}) == plain
    assert digest(Anything(value=[1, 2])) == plain
    assert digest(json.loads('{"value": [1, 3]}')) != plain


def test_the_limits_are_those_of_the_settings() -> None:
    fields = Settings.model_fields
    default = PayloadBounds()
    assert default.max_bytes == fields["max_payload_bytes"].default
    assert default.max_depth == fields["max_depth"].default
