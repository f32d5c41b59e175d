"""JSON that is written can be read by every reader."""

import decimal
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, field_serializer

from raytasks.model.strict_json import (
    NameTwice,
    NestedTooDeeply,
    NotJson,
    encode_json,
    is_deeper,
    parse_json,
)


def nested(levels: int, *, objects: bool = False) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value} if objects else [value]
    return value


def looped() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


class Loss(BaseModel):
    loss: float


class Note(BaseModel):
    model_config = ConfigDict(extra="allow")
    value: Any


@dataclass
class Plain:
    loss: float


@pydantic.dataclasses.dataclass
class Checked:
    loss: float


@pytest.mark.parametrize(
    ("value", "reason", "pointer"),
    [
        (float("nan"), "NaN is no JSON number", ""),
        ({"a": [1, float("inf")]}, "Infinity is no JSON number", "/a/1"),
        ({"a/b": -float("inf")}, "Infinity is no JSON number", "/a~1b"),
        (Loss(loss=float("nan")), "NaN is no JSON number", "/loss"),
        (Plain(float("nan")), "NaN is no JSON number", "/loss"),
        ([Checked(float("inf"))], "Infinity is no JSON number", "/0/loss"),
        (Note(value={"a": (Loss(loss=float("nan")),)}), "NaN is no JSON", "/value/a/0/loss"),
        (Note(value=1, more=float("nan")), "NaN is no JSON number", "/more"),
        ({"text": "NaN", "x": float("nan")}, "NaN", "/x"),
        ([10**4300], "more than 4300 digits", "/0"),
        ([{"n": -(10**4300)}], "more than 4300 digits", "/0/n"),
        ({"a": "NaN", "b": 10**5000}, "digits", "/b"),
        ("\ud800", "lone surrogate", ""),
        ({"\udfff": 1}, "lone surrogate", ""),
        ({1: "a", "1": "b"}, "the name '1' twice", ""),
        ([{True: 1, "true": 2}], "the name 'true' twice", "/0"),
        ({"a": [1.50, {"b": {1: "a", "1": "b"}}]}, "the name '1' twice", "/a/1/b"),
        (b"\xff", "utf-8", ""),
        (looped(), "contains itself", ""),
        (object(), "unknown type", ""),
        ((number / 0 for number in [1]), "ZeroDivisionError", ""),
    ],
)
def test_what_no_reader_could_read(value: Any, reason: str, pointer: str) -> None:
    with pytest.raises(NotJson, match=reason) as caught:
        encode_json(value)
    assert caught.value.pointer == pointer


@pytest.mark.parametrize(
    ("text", "name", "place"),
    [
        ('{"a":1,"a":2}', "a", ""),
        ('{ "a" : 1, "b": 2, "b" : 3, "a" : 4 }', "b", ""),
        ('{"a": 1, "\\u0061": 1}', "a", ""),
        ('[{"x": {"a:b": 1.0, "a:b": 1.0}}]', "a:b", "/0/x"),
        ('{"x":{"a":1,"a":2},"x":{}}', "x", ""),
        ('{"big": %s, "a": {"": 1, "": 2}}' % ("9" * 4000), "", "/a"),
        ("[" * 150 + '{"a":1,"a":1}' + "]" * 150, "a", "/0" * 150),
    ],
)
def test_a_name_that_is_there_twice(text: str, name: str, place: str) -> None:
    with pytest.raises(NameTwice, match=f"the name {name!r} twice") as caught:
        parse_json(text.encode())
    assert caught.value.pointer == place


@pytest.mark.parametrize(
    "text",
    [
        '{"a": {"a": 1}, "b": [{"a": 1}, {"a": 1}]}',
        '{"a": "x:y", "b": "\\"a\\": 1, \\"a\\": 2", "c": 1.50}',
        '"a:1"',
        "[]",
    ],
)
def test_names_that_differ_are_fine(text: str) -> None:
    assert parse_json(text.encode()) == json.loads(text)


@pytest.mark.parametrize("objects", [False, True])
@pytest.mark.parametrize("levels", [191, 201, 240, 300, 3000])
def test_too_deep(levels: int, objects: bool) -> None:
    with pytest.raises(NestedTooDeeply, match="nested deeper than 190 levels"):
        encode_json(nested(levels, objects=objects))
    with pytest.raises(NestedTooDeeply, match="nested deeper than 20 levels"):
        encode_json(nested(21, objects=objects), max_depth=20)
    assert parse_json(encode_json(nested(190))) == nested(190)


@pytest.mark.parametrize(
    "value",
    [
        {"text": "NaN, Infinity and -Infinity", "digits": "9" * 5000},
        [10**4299, -(10**4299), "1e999"],
        [0.1, 5e-324, 1.7976931348623157e308, -0.0, 1e16, 1e-7],
        [[[]] for _ in range(1000)],
        {"": None, " ": [True, False]},
    ],
)
def test_what_is_fine_is_as_it_was(value: Any) -> None:
    text = encode_json(value)
    assert parse_json(text) == value
    assert json.loads(text) == value


def test_what_pydantic_can_write() -> None:
    value = {
        "at": datetime(2030, 1, 2, tzinfo=UTC),
        "price": decimal.Decimal("1.10"),
        "loss": Loss(loss=0.5),
        1: (2, {3}),
    }
    written = '{"at":"2030-01-02T00:00:00Z","price":"1.10","loss":{"loss":0.5},"1":[2,[3]]}'
    assert encode_json(value).decode() == written


def test_who_says_how_to_write_nan_is_believed() -> None:
    class Silent(BaseModel):
        model_config = ConfigDict(ser_json_inf_nan="null")
        loss: float

    class Own(BaseModel):
        loss: float

        @field_serializer("loss")
        def _write(self, loss: float) -> None:
            """Write nothing."""

    assert encode_json([Silent(loss=float("nan")), Own(loss=float("nan"))]).count(b"null") == 2


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), inner)
    ),
    max_leaves=20,
)


@given(JSON)
def test_whatever_is_json_comes_back(value: Any) -> None:
    assert parse_json(encode_json(value)) == value


@given(st.recursive(st.floats() | st.text() | st.integers(), st.lists, max_leaves=8))
def test_what_is_written_can_be_read(value: Any) -> None:
    try:
        text = encode_json(value)
    except NotJson:
        return
    assert json.loads(text, parse_constant=pytest.fail) == parse_json(text)


def test_no_depth_is_too_much_for_the_check() -> None:
    value: Any = []
    for _ in range(10_000):
        value = [value]
    assert is_deeper(value, 10_000)
    assert not is_deeper(value, 10_001)
    while value:  # else freeing it would call itself as often
        value = value.pop()
