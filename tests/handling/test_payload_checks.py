"""Payload models: which run code of their author's, and that nothing they raise gets further."""

import asyncio
import dataclasses
import datetime
import enum
import re
import sys
import threading
import uuid
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import (
    AfterValidator,
    AnyUrl,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    SecretStr,
    StringConstraints,
    Tag,
    TypeAdapter,
    field_validator,
    model_validator,
)

from raytasks.api.check_threads import ChecksBusy, CheckThreads
from raytasks.handling.declaration import handler, handler_of
from raytasks.handling.payload_checks import PayloadRefused, check_payload, runs_user_code
from raytasks.handling.registry import Registry
from raytasks.handling.submission import check_batch, check_submission
from raytasks.model.errors import InvalidSubmission


class Plain(BaseModel):
    """All that pydantic checks by itself."""

    number: Annotated[int, Field(gt=0)] = 1
    word: Annotated[str, StringConstraints(pattern="^a", strip_whitespace=True)] = "a"
    at: datetime.datetime | None = None
    id: uuid.UUID | None = None
    path: Path | None = None
    url: AnyUrl | None = None
    secret: SecretStr | None = None
    kind: Literal["x"] = "x"
    more: dict[str, list["Plain"]] = Field(default_factory=dict)


class Validates(BaseModel):
    word: str

    @field_validator("word")
    @classmethod
    def _check(cls, word: str) -> str:
        return word


class Holds(BaseModel):
    inner: list[Validates]


class Makes(BaseModel):
    id: uuid.UUID = Field(default_factory=uuid.uuid4)


class AfterInit(BaseModel):
    def model_post_init(self, context: object) -> None: ...


class OwnInit(BaseModel):
    def __init__(self, **values: Any) -> None:
        super().__init__(**values)


@dataclasses.dataclass
class Data:
    number: int


@dataclasses.dataclass
class AfterData:
    number: int

    def __post_init__(self) -> None: ...


class Color(enum.Enum):
    RED = 1


class AnyColor(enum.Enum):
    RED = 1

    @classmethod
    def _missing_(cls, value: object) -> "AnyColor":
        return cls.RED


class GoesBack(BaseModel):
    model_config = ConfigDict(regex_engine="python-re")
    word: Annotated[str, Field(pattern="(a+)+b")]


def choose(value: object) -> str:
    return "a"


CHOICE = Annotated[Annotated[Plain, Tag("a")] | Annotated[Data, Tag("b")], Discriminator(choose)]


@pytest.mark.parametrize("kind", [Plain, Data, Color, dict, Any, int, list[Plain], Plain | None])
def test_what_pydantic_does_alone_runs_no_code(kind: Any) -> None:
    assert not runs_user_code(TypeAdapter(kind))


@pytest.mark.parametrize(
    "kind",
    [Validates, Holds, AfterInit, OwnInit, AfterData, AnyColor, GoesBack, CHOICE,
     Annotated[int, AfterValidator(lambda value: value)],
     Annotated[str, Field(pattern=re.compile("a"))], dict[str, Validates | None]],
)  # fmt: skip
def test_code_of_the_model_is_found(kind: Any) -> None:
    assert runs_user_code(TypeAdapter(kind))


class Broken(Exception):
    """An error that has no text."""

    def __str__(self) -> str:
        raise KeyError("no text")


class BrokenValue(ValueError):
    """An error of a validator that has no text."""

    def __str__(self) -> str:
        raise KeyError("no text")


ERRORS: dict[str, BaseException] = {
    "KeyError": KeyError("x"),
    "ZeroDivisionError": ZeroDivisionError("division by zero"),
    "SystemExit": SystemExit(0),
    "GeneratorExit": GeneratorExit(),
    "CancelledError": asyncio.CancelledError(),
    "RecursionError": RecursionError(),
    "MemoryError": MemoryError(),
    "StopIteration": StopIteration(),
    "Broken": Broken(),
    "BrokenValue": BrokenValue(),
    "surrogate": ValueError("a half \ud800"),
    "surrogate_elsewhere": KeyError("\udfff"),
    "long": RuntimeError("x" * 100_000),
}


class Raises(BaseModel):
    """A model whose validator raises what it is told to."""

    name: str
    when: Literal["field", "model"] = "field"

    @field_validator("name")
    @classmethod
    def _field(cls, name: str) -> str:
        if name in ERRORS:
            raise ERRORS[name]
        return name

    @model_validator(mode="before")
    @classmethod
    def _model(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("when") == "model":
            raise ERRORS[value["name"]]
        return value


@handler("checked")
def checked(payload: Raises) -> None: ...


@pytest.mark.parametrize("when", ["field", "model"])
@pytest.mark.parametrize("name", ERRORS)
def test_whatever_a_validator_raises_is_an_error_of_the_payload(name: str, when: str) -> None:
    registry = Registry([handler_of(checked)])
    request = {"task_type": "checked", "payload": {"name": name, "when": when}}
    for check in (
        lambda: check_submission(request, registry),
        lambda: check_batch({"tasks": [request]}, registry),
    ):
        with pytest.raises(InvalidSubmission) as caught:
            check()
        [error] = caught.value.errors
        assert "/payload" in error.pointer
        assert len(error.message) < 1000
        (str(caught.value) + error.message).encode()  # no lone surrogate


def test_a_persons_interrupt_passes() -> None:
    def interrupt(value: str) -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check_payload(TypeAdapter(Annotated[str, AfterValidator(interrupt)]), b'"a"')


def test_what_does_not_fit_names_its_place() -> None:
    with pytest.raises(PayloadRefused) as caught:
        check_payload(TypeAdapter(Plain), b'{"number": 0, "word": "b"}')
    assert [place for place, _ in caught.value.details] == [("number",), ("word",)]
    assert not caught.value.failed


class TestThreads:
    async def test_the_result_and_the_error_come_through(self) -> None:
        threads = CheckThreads()
        assert await threads.run(["a"], threading.get_ident) != threading.get_ident()
        with pytest.raises(ZeroDivisionError):
            await threads.run(["a"], lambda: 1 // 0)
        with pytest.raises(InvalidSubmission, match="a validator raised SystemExit"):
            await threads.run(["a"], sys.exit)

    async def test_a_check_that_hangs_is_given_up_and_others_go_on(self) -> None:
        threads = CheckThreads(seconds=0.05, most=2)
        over = threading.Event()

        def hang() -> None:
            over.wait()

        for _ in range(2):
            with pytest.raises(InvalidSubmission, match=r"validators of a took longer than 0\.05"):
                await threads.run(["a"], hang)
        with pytest.raises(ChecksBusy, match="validators of a, b"):
            await threads.run(["a", "b"], hang)
        assert await threads.run(["b"], lambda: 1) == 1
        waiting: asyncio.Future[int] = asyncio.ensure_future(CheckThreads.run(threads, ["c"], int))
        assert await waiting == 0
        over.set()
        while True:  # the threads end on their own
            try:
                assert await threads.run(["a"], lambda: 2) == 2
                break
            except ChecksBusy:
                continue

    async def test_who_waits_for_a_thread_gets_the_next_one(self) -> None:
        threads = CheckThreads(most=1)
        over = threading.Event()
        first = asyncio.ensure_future(threads.run(["a"], over.wait))
        second = asyncio.ensure_future(threads.run(["a"], lambda: 2))
        await asyncio.sleep(0)
        over.set()
        assert list(await asyncio.gather(first, second)) == [True, 2]
