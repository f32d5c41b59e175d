"""Values that a handler may return, and code of theirs that runs while they are written."""

import collections
import dataclasses
import json
import math
import types
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import msgspec
import numpy as np
import pytest
from pydantic import BaseModel, computed_field, field_serializer
from pydantic_core import from_json, to_json

from raytasks.handling.context import Cancelled, Context
from raytasks.handling.declaration import handler
from raytasks.handling.handler_json import handler_json
from raytasks.model.retry import PermanentError, RetryAfter, RetryPolicy, Snooze
from raytasks.model.states import OutcomeKind
from raytasks.model.strict_json import MAX_DIGITS, MAX_LEVELS, NotJson, parse_json
from tests.working import Working


class Point(BaseModel):
    x: float = 1.5


@dataclasses.dataclass
class Pair:
    a: Any
    b: Any = None


class Rows:
    """A type of the handler's own, with the hook."""

    def for_json(self) -> Any:
        return {"rows": np.arange(3)}


class Struct(msgspec.Struct):
    a: Any


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        ({"a": [1, (2.5, True), "ä", None]}, '{"a":[1,[2.5,true],"ä",null]}'),
        (Point(), '{"x":1.5}'),
        ([Pair(1)], '[{"a":1,"b":null}]'),
        (np.int64(3), "3"),
        (np.float32(1.5), "1.5"),
        (np.float64(2.5), "2.5"),
        ({"a": np.zeros((2, 2), dtype=int)}, '{"a":[[0,0],[0,0]]}'),
        (np.bool_(True), "true"),
        (np.datetime64("2026-01-31"), '"2026-01-31"'),
        ({np.int64(1): 2}, '{"1":2}'),
        ({"a": 1}.keys(), '["a"]'),
        ({"a": 1}.values(), "[1]"),
        ({"a": np.int8(1)}.items(), '[["a",1]]'),
        (collections.ChainMap({"a": 1}), '{"a":1}'),
        (types.MappingProxyType({"a": 1}), '{"a":1}'),
        (collections.UserList([1]), "[1]"),
        ([Rows()], '[{"rows":[0,1,2]}]'),
        (Struct(Struct(1)), '{"a":{"a":1}}'),
        (map(str, [1, 2]), '["1","2"]'),
        (range(3), "[0,1,2]"),
        ({1: "a", 2: "b"}, '{"1":"a","2":"b"}'),
        ([10 ** (MAX_DIGITS - 1)], "[1" + "0" * (MAX_DIGITS - 1) + "]"),
        (nested(MAX_LEVELS), "[" * MAX_LEVELS + "1" + "]" * MAX_LEVELS),
        (["NaN", "Infinity"], '["NaN","Infinity"]'),
    ],
)
def test_what_can_be_kept(value: Any, text: str) -> None:
    written = handler_json(value).decode()
    assert written == text
    parse_json(written.encode())
    json.loads(written)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (math.nan, "NaN is no JSON number"),
        ({"loss": [math.inf]}, "Infinity is no JSON number, at /loss/0"),
        (Point(x=math.nan), "NaN is no JSON number, at /x"),
        ([Pair(Point(x=-math.inf))], "Infinity is no JSON number, at /0/a/x"),
        (np.array([1.0, np.nan]), "NaN is no JSON number, at /1"),
        ([10**MAX_DIGITS], "an integer with more than 4300 digits, at /0"),
        ({"a": [-(10**5000)]}, "an integer with more than 4300 digits, at /a/0"),
        (nested(MAX_LEVELS + 1), "nested deeper than 190 levels"),
        ("\ud800", "a lone surrogate"),
        ({"\ud800": 1}, "a lone surrogate"),
        ({"a": Pair("\udfff")}, "a lone surrogate"),
        (b"\xff", "bytes that are no UTF-8"),
        ({1: "a", "1": "b"}, "the keys 1 and '1' are one name in JSON"),
        ([{"a": Pair({None: 1, "None": 2})}], "one name in JSON"),
        ({True: 1, "true": 2}, "one name in JSON"),
        (object(), "a value of type object; give the class a method for_json"),
        ([lambda: 1], "a value of type function"),
    ],
)
def test_what_cannot_be_kept(value: Any, reason: str) -> None:
    with pytest.raises(NotJson) as found:
        handler_json(value)
    assert reason in str(found.value)


def test_what_is_nested_without_end_cannot_be_kept() -> None:
    with pytest.raises(NotJson, match="nested too deeply"):
        handler_json(nested(100_000))


def test_what_contains_itself_cannot_be_kept() -> None:
    value: list[Any] = []
    value.append({"a": value})
    with pytest.raises(NotJson, match="contains itself"):
        handler_json(value)


def test_it_fails_the_attempt_for_good() -> None:
    @handler("returns")
    def returns(payload: dict) -> Any:
        return {"loss": math.nan}

    error = Working(returns).error("returns")
    assert error["type"] == "PermanentError"
    assert error["retryable"] is False
    assert error["message"] == (
        "the handler's result cannot be JSON: NaN is no JSON number, at /loss"
    )


ERRORS: list[Callable[[], BaseException]] = [
    lambda: ConnectionError("the net is down"),
    lambda: ValueError("odd"),
    lambda: AttributeError("none"),
    lambda: Snooze(7),
    lambda: RetryAfter(7),
    lambda: PermanentError("no"),
    lambda: SystemExit(3),
    Cancelled,
]


def lazy(error: Callable[[], BaseException]) -> dict[str, Callable[[], Any]]:
    def fails(*_: Any) -> Any:
        raise error()

    def generator() -> Iterator[int]:
        yield 1
        fails()

    class Computed(BaseModel):
        @computed_field  # type: ignore[prop-decorator]
        @property
        def x(self) -> Any:
            return fails()

    class Serialized(BaseModel):
        x: int = 1

        @field_serializer("x")
        def write(self, _: int) -> Any:
            return fails()

    class Hooked:
        def for_json(self) -> Any:
            return fails()

    return {
        "generator": generator,
        "generator inside": lambda: {"a": [generator()]},
        "map": lambda: map(fails, [1]),
        "computed field": Computed,
        "serializer": lambda: [Serialized()],
        "hook": Hooked,
    }


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("place", [*lazy(ValueError)])
def test_an_error_while_a_result_is_written_keeps_its_meaning(
    place: str, error: Callable[[], BaseException]
) -> None:
    @handler("lazy", retry=RetryPolicy(initial_delay_seconds=3, jitter=0))
    def returns(payload: dict) -> Any:
        return lazy(error)[place]()

    @handler("eager", retry=RetryPolicy(initial_delay_seconds=3, jitter=0))
    def raises(payload: dict) -> Any:
        raise error()

    found, meant = Working(returns, raises).run("lazy", "eager")
    assert (found.kind, found.retryable, found.delay_seconds) == (
        meant.kind,
        meant.retryable,
        meant.delay_seconds,
    )
    if meant.error is not None:
        assert found.error is not None
        for name in ("type", "message"):
            assert from_json(found.error)[name] == from_json(meant.error)[name]


def test_an_error_of_pydantic_in_a_handler_is_its_own() -> None:
    @handler("writes")
    def writes(payload: dict) -> Any:
        return to_json(object())

    error = Working(writes).error("writes")
    assert error["type"] == "PydanticSerializationError"
    assert error["retryable"] is True


def test_a_handler_that_yields_returns_the_list() -> None:
    @handler("yields")
    def yields(payload: dict, context: Context) -> Iterator[int]:
        yield 1
        yield context.attempt + 1

    @handler("yields_async")
    async def yields_async(payload: dict) -> AsyncIterator[int]:
        yield 1
        yield 2

    @handler("for_ever")
    def for_ever(payload: dict) -> Iterator[None]:
        while True:
            yield None

    @handler("for_ever_async")
    async def for_ever_async(payload: dict) -> AsyncIterator[None]:
        while True:
            yield None

    working = Working(yields, yields_async, for_ever, for_ever_async, max_result_bytes=2000)
    assert working.result("yields") == working.result("yields_async") == [1, 2]
    for name in ("for_ever", "for_ever_async"):
        assert "more than 1000 items" in working.error(name)["message"]


def test_a_lazy_result_that_is_stopped_is_stopped() -> None:
    """A stop that is thrown into the result is not taken for an error of its own."""
    from raytasks.runner.interrupt import AttemptStopped

    @handler("lazy")
    def returns(payload: dict) -> Any:
        def stopped() -> Any:
            raise AttemptStopped
            yield  # type: ignore[unreachable]

        return [stopped()]

    [outcome] = Working(returns).run("lazy")
    assert outcome.kind is not OutcomeKind.SUCCEEDED
    assert outcome.error is None or "PermanentError" not in outcome.error
