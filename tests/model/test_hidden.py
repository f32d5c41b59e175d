"""Secret fields of payloads, shown to nobody."""

import dataclasses
from typing import Annotated, Any, Optional, TypedDict

import pytest
from pydantic import AliasChoices, BaseModel, Field, Secret, SecretBytes, SecretStr
from pydantic_core import from_json, to_json

from raytasks.handling.declaration import handler, handler_of
from raytasks.model.errors import HandlerError
from raytasks.model.hidden import MARK, MAX_PLACES, mask_of, mask_of_pointers


class Inner(BaseModel):
    token: SecretStr
    name: str = ""


class Tree(BaseModel):
    children: list["Tree"] = []
    key: SecretBytes | None = None


@dataclasses.dataclass
class Point:
    x: int
    pin: SecretStr


class Row(TypedDict, total=False):
    pin: Secret[int]
    x: int


class Everything(BaseModel):
    plain: str = ""
    password: SecretStr = SecretStr("")
    inner: Inner | None = None
    others: list[Inner] = []
    by_name: dict[str, Optional[Inner]] = {}  # noqa: UP045 - both forms are in use
    pair: tuple[int, Inner] | None = None
    either: Inner | Point | str = ""
    note: Annotated[str, Field(exclude=True)] = ""
    renamed: SecretStr = Field(default=SecretStr(""), validation_alias=AliasChoices("r1", "r2"))
    short: SecretStr = Field(default=SecretStr(""), alias="s")
    left_out: Any = Field(default=None, exclude=True)


@pytest.mark.parametrize(
    ("kind", "payload", "shown"),
    [
        (Everything, {"plain": "a", "password": "b"}, {"plain": "a", "password": MARK}),
        (
            Everything,
            {"inner": {"token": "t", "name": "n"}},
            {"inner": {"token": MARK, "name": "n"}},
        ),
        (Everything, {"others": [{"token": "t"}]}, {"others": [{"token": MARK}]}),
        (Everything, {"by_name": {"a": {"token": "t"}}}, {"by_name": {"a": {"token": MARK}}}),
        (Everything, {"pair": [1, {"token": "t"}]}, {"pair": [1, {"token": MARK}]}),
        (Everything, {"either": {"x": 1, "pin": "p"}}, {"either": {"x": 1, "pin": MARK}}),
        (Everything, {"either": "text"}, {"either": "text"}),
        (Everything, {"r1": "a", "r2": "b", "s": "c"}, {"r1": MARK, "r2": MARK, "s": MARK}),
        (Everything, {"note": "a", "left_out": {"b": 1}}, {"note": MARK, "left_out": MARK}),
        (Everything, {"password": None, "unknown": 1}, {"password": None, "unknown": 1}),
        (
            Tree,
            {"children": [{"children": [{"key": "k"}]}], "key": "k"},
            {"children": [{"children": [{"key": MARK}]}], "key": MARK},
        ),
        (Row, {"pin": 1, "x": 2}, {"pin": MARK, "x": 2}),
        (SecretStr, "all of it", MARK),
        (list[SecretStr], ["a", "b"], [MARK, MARK]),
    ],
)
def test_what_is_shown(kind: Any, payload: Any, shown: Any) -> None:
    assert from_json(mask_of(kind).hide(to_json(payload).decode()).text) == shown


@pytest.mark.parametrize("kind", [Any, dict, dict[str, Any], list[int], str, int | None, BaseModel])
def test_most_payloads_have_nothing_to_hide(kind: Any) -> None:
    assert mask_of(kind).is_empty


def test_a_handler_has_a_mask_only_where_it_is_needed() -> None:
    @handler("secret")
    def secret(payload: Inner) -> None:
        pass

    @handler("open")
    def opened(payload: Point | dict) -> None:
        pass

    @handler("plain")
    def plain(payload: dict) -> None:
        pass

    assert handler_of(secret).mask is not None
    assert handler_of(opened).mask is not None
    assert handler_of(plain).mask is None


@pytest.mark.parametrize(
    ("pointers", "payload", "shown", "hidden"),
    [
        (["/card"], {"card": 1, "x": 2}, {"card": MARK, "x": 2}, ["/card"]),
        (["/card"], {"x": 2}, {"x": 2}, []),
        (["/card"], {"card": None}, {"card": None}, []),
        (["/a/b"], {"a": {"b": [1], "c": 2}}, {"a": {"b": MARK, "c": 2}}, ["/a/b"]),
        (["/i/*/k"], {"i": [{"k": 1}, {"k": 2}, 3]}, {"i": [{"k": MARK}] * 2 + [3]}, None),
        (["/*"], {"a": 1, "b": 2}, {"a": MARK, "b": MARK}, ["/a", "/b"]),
        (["/i/1"], {"i": [1, 2]}, {"i": [1, MARK]}, ["/i/1"]),
        (["/a~1b"], {"a/b": 1}, {"a/b": MARK}, ["/a~1b"]),
        ([""], {"a": 1}, MARK, [""]),
        (["/a", "/*/x"], {"a": 1, "b": {"x": 1}}, {"a": MARK, "b": {"x": MARK}}, ["/a", "/b/x"]),
        (["/a/b"], {"a": "text"}, {"a": "text"}, []),
    ],
)
def test_pointers_say_what_is_hidden(
    pointers: list[str], payload: Any, shown: Any, hidden: list[str] | None
) -> None:
    masked = mask_of_pointers(pointers).hide(to_json(payload).decode())
    assert from_json(masked.text) == shown
    assert hidden is None or list(masked.hidden) == hidden


def test_a_pointer_must_be_one() -> None:
    with pytest.raises(HandlerError, match="redact: 'card' is no JSON pointer"):

        @handler("cards", redact="card")
        def cards(payload: dict) -> None:
            pass


def test_what_a_mask_covers() -> None:
    mask = mask_of_pointers(["/card/number", "/items/*/code"])
    covered: list[tuple[str | int, ...]]
    covered = [(), ("card",), ("card", "number"), ("card", "number", "x"), ("items", 3, "code")]
    assert all(map(mask.covers, covered))
    others: list[tuple[str | int, ...]] = [("other",), ("card", "name"), ("items", 3, "name")]
    assert not any(map(mask.covers, others))
    assert mask_of(Everything).covers(("either", "Inner", "token"))
    assert not mask_of(Everything).covers(("plain",))


def test_of_very_many_marks_some_places_are_told() -> None:
    masked = mask_of_pointers(["/*"]).hide(to_json([1] * 1000).decode())
    assert from_json(masked.text) == [MARK] * 1000
    assert len(masked.hidden) == MAX_PLACES
