"""Secret fields of payloads, shown to nobody."""

import dataclasses
from typing import Annotated, Any, Optional, TypedDict

import pytest
from pydantic import AliasChoices, BaseModel, Field, Secret, SecretBytes, SecretStr
from pydantic_core import from_json, to_json

from raytasks.handling.declaration import handler, handler_of
from raytasks.model.hidden import MARK, mask_of


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
    assert from_json(mask_of(kind).text(to_json(payload).decode())) == shown


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
