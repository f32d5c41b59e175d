"""Errors of handlers: whatever they are, they are described and judged, and the runner lives on."""

import asyncio
import random
import threading
from collections.abc import Callable
from typing import Any

import pytest
from pydantic_core import from_json

from raytasks.handling.declaration import handler
from raytasks.model.retry import DEFAULT_SECONDS, MAX_SECONDS, RetryAfter, RetryPolicy, Snooze
from raytasks.model.states import OutcomeKind
from raytasks.runner import host
from raytasks.runner.error_report import MAX_MESSAGE, MAX_NAME, MAX_TRACEBACK, describe_error, judge
from tests.working import Working


class Meta(type):
    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise KeyError("no name")


class Nameless(Exception, metaclass=Meta):
    pass


class Exits(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)

    __repr__ = __str__


class NoText(Exception):
    def __str__(self) -> Any:
        return 17  # noqa: PLE0307 - that is what is wrong with it


class Traceless(Exception):
    @property
    def __traceback__(self) -> Any:  # type: ignore[override]
        raise RuntimeError("no traceback")


class BadNotes(Exception):
    @property
    def __notes__(self) -> Any:  # type: ignore[override]
        raise GeneratorExit


class BadClass(Exception):
    @property
    def __class__(self) -> Any:
        raise asyncio.CancelledError

    @__class__.setter
    def __class__(self, value: Any) -> None:
        pass


class Endless(str):
    def __getitem__(self, _: Any) -> Any:
        raise MemoryError

    def encode(self, *_: Any) -> Any:
        raise MemoryError


class OddText(Exception):
    def __str__(self) -> str:
        return Endless("odd")


def of_itself() -> Exception:
    error = ValueError("round")
    error.__cause__ = RuntimeError("and round")
    error.__cause__.__cause__ = error
    return error


def long_chain() -> Exception:
    error = ValueError("x" * 1000)
    for _ in range(2000):
        further = ValueError("x" * 1000)
        further.__cause__ = error
        error = further
    return error


def deep_group() -> BaseException:
    error: Exception = ValueError("inside")
    for _ in range(5000):
        error = ExceptionGroup("around", [error])
    return error


def syntax_error(*details: Any) -> SyntaxError:
    return SyntaxError("bad", details)


ODD: dict[str, Callable[[], BaseException]] = {
    "traceback that cannot be printed": lambda: syntax_error("page.html", 1, "x", "text"),
    "another one": lambda: syntax_error(None, "no", 3, ()),
    "no name": Nameless,
    "its text exits": Exits,
    "its text is a number": NoText,
    "its text is no common one": OddText,
    "no traceback": Traceless,
    "bad notes": BadNotes,
    "bad class": BadClass,
    "its cause is itself": of_itself,
    "a long chain": long_chain,
    "deep groups": deep_group,
    "a long text": lambda: ValueError("x" * 3_000_000),
    "a long name": lambda: type("N" * 100_000, (Exception,), {})("named"),
    "a surrogate": lambda: ValueError("\ud800\x00"),
    "exit": lambda: SystemExit(3),
    "ctrl-c": KeyboardInterrupt,
    "end of a generator": GeneratorExit,
    "cancelled": lambda: asyncio.CancelledError("by whom?"),
    "stop": lambda: StopIteration(3),
    "recursion": RecursionError,
    "memory": MemoryError,
}


@pytest.mark.parametrize("kind", ODD)
def test_any_error_is_a_failed_attempt_and_the_runner_goes_on(kind: str) -> None:
    @handler("odd")
    def odd(payload: dict) -> None:
        raise ODD[kind]()

    @handler("odd_async")
    async def odd_async(payload: dict) -> None:
        raise ODD[kind]()

    @handler("good")
    def good(payload: dict) -> str:
        return "good"

    working = Working(odd, odd_async, good)
    for outcome in working.run("odd", "odd_async"):
        assert outcome.kind is OutcomeKind.FAILED
        assert outcome.error is not None
        assert len(outcome.error) < 6 * (MAX_NAME + MAX_MESSAGE + MAX_TRACEBACK)
        found = from_json(outcome.error)
        assert len(found["type"]) <= MAX_NAME
        assert len(found["message"]) <= MAX_MESSAGE
        assert len(found["traceback"]) <= MAX_TRACEBACK
    assert working.result("good") == "good"


def test_the_end_of_a_traceback_is_kept() -> None:
    found = from_json(describe_error(long_chain(), retryable=True))
    assert found["traceback"].endswith("x" * 1000 + "\n")


def test_what_stops_an_attempt_gets_through() -> None:
    from raytasks.runner.interrupt import AttemptStopped

    class Slow(Exception):
        def __str__(self) -> str:
            raise AttemptStopped

    with pytest.raises(AttemptStopped):
        describe_error(Slow(), retryable=True)


@pytest.mark.parametrize(
    ("seconds", "wait"),
    [
        ("30", 30),
        (None, DEFAULT_SECONDS),
        ("soon", DEFAULT_SECONDS),
        (float("nan"), DEFAULT_SECONDS),
        (float("inf"), MAX_SECONDS),
        (10**400, MAX_SECONDS),
        (-5, 0),
        (2.5, 2.5),
    ],
)
@pytest.mark.parametrize("base", [RetryAfter, Snooze])
def test_seconds_that_a_subclass_sets_are_made_a_number(
    base: type[Exception], seconds: Any, wait: float
) -> None:
    class Mine(base):  # type: ignore[valid-type, misc]
        def __init__(self) -> None:
            self.seconds = seconds

    @handler("waits")
    def waits(payload: dict) -> None:
        raise Mine

    [outcome] = Working(waits).run("waits")
    assert outcome.delay_seconds == wait
    assert outcome.kind is (OutcomeKind.SNOOZED if base is Snooze else OutcomeKind.FAILED)


@pytest.mark.parametrize("base", [RetryAfter, Snooze])
def test_a_subclass_that_does_not_call_our_init(base: type[Exception]) -> None:
    class Mine(base):  # type: ignore[valid-type, misc]
        def __init__(self, why: str) -> None:
            self.why = why

    error = Mine("slow down")
    assert str(error) == "slow down"

    @handler("waits")
    def waits(payload: dict) -> None:
        raise error

    [outcome] = Working(waits).run("waits")
    assert outcome.delay_seconds == DEFAULT_SECONDS


def test_seconds_that_cannot_be_had_at_all() -> None:
    class Mine(Snooze):
        @property
        def seconds(self) -> float:  # type: ignore[override]
            raise SystemExit

        def __init__(self) -> None:
            pass

    @handler("waits")
    def waits(payload: dict) -> None:
        raise Mine

    [outcome] = Working(waits).run("waits")
    assert (outcome.kind, outcome.delay_seconds) == (OutcomeKind.SNOOZED, DEFAULT_SECONDS)


def test_an_error_that_cannot_be_judged_is_tried_again() -> None:
    class Judge(type):
        def __instancecheck__(cls, _: object) -> bool:
            raise KeyboardInterrupt

    class Listed(Exception, metaclass=Judge):
        pass

    policy = RetryPolicy(initial_delay_seconds=4, jitter=0, retry_on=(Listed,))
    assert judge(ValueError(), policy, 2, random.Random(1)) == judge(
        ValueError(), RetryPolicy(initial_delay_seconds=4, jitter=0), 2, random.Random(1)
    )


class Ended(Exception):
    pass


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The exit codes that `os._exit` was called with."""
    codes: list[int] = []

    def leave(code: int) -> None:
        codes.append(code)
        raise Ended

    monkeypatch.setattr("raytasks.runner.host.os._exit", leave)
    monkeypatch.setattr(host, "LOG_SECONDS", 0.2)
    return codes


@pytest.mark.parametrize("trouble", [ValueError, MemoryError, SystemExit, RecursionError])
def test_a_process_ends_whatever_fails_on_the_way(
    ended: list[int], monkeypatch: pytest.MonkeyPatch, trouble: type[BaseException]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise trouble

    for name in ("log.error", "logging.shutdown", "describe_error"):
        monkeypatch.setattr(f"raytasks.runner.host.{name}", fail)
    with pytest.raises(Ended):
        host.end_process(1, "why", ValueError())
    monkeypatch.setattr(threading.Thread, "start", fail)
    with pytest.raises((Ended, trouble)):
        host.end_process(1, "why", ValueError())
    assert ended == [1, 1]


def test_a_process_ends_although_logging_waits_for_ever(
    ended: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    monkeypatch.setattr("raytasks.runner.host.logging.shutdown", gate.wait)
    with pytest.raises(Ended):
        host.end_process(1)
    gate.set()
    assert ended == [1]
