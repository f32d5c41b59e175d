"""The errors by which a handler closes a limit."""

from raytasks.handling.declaration import handler
from raytasks.model.controls import Limit
from raytasks.model.retry import RateLimited
from raytasks.model.states import OutcomeKind
from tests.working import Working


@handler("closes", limits=[Limit("api", rate=5)])
def closes(payload: dict) -> None:
    raise RateLimited("api", 7)


@handler("unknown", limits=[Limit("api", rate=5)])
def unknown(payload: dict) -> None:
    raise RateLimited("apii", 7)


class Odd(RateLimited):
    def __init__(self) -> None:
        """Leave out what the base sets."""


@handler("odd")
def odd(payload: dict) -> None:
    raise Odd


def test_a_limit_of_the_handler_is_closed() -> None:
    [outcome] = Working(closes).run("closes")
    assert (outcome.kind, outcome.closes) == (OutcomeKind.SNOOZED, "api")
    assert outcome.delay_seconds == 7


def test_a_limit_that_the_handler_does_not_have_is_named_in_the_log() -> None:
    working = Working(unknown)
    [outcome] = working.run("unknown")
    assert (outcome.kind, outcome.closes) == (OutcomeKind.SNOOZED, None)
    [line] = working.channel.lines
    assert "names the limit 'apii', which task type 'unknown' does not have" in line.message


def test_one_without_a_limit_is_a_snooze() -> None:
    [outcome] = Working(odd).run("odd")
    assert (outcome.kind, outcome.closes) == (OutcomeKind.SNOOZED, None)
