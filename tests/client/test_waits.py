"""The deadline of waits: it bounds all that a wait does, in both clients."""

import math
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from raytasks.client import ApiError, BadArgument, Client, ServiceUnavailable, WaitTimeout, waits
from tests.client_wire import REFUSED, Answer, AsyncWire, Clock, Wire, ok, problem

ID = "0198c1de-0000-7000-8000-000000000001"
AWAY = problem(503, detail="the database is away")
SLOW = httpx.ReadTimeout("slow")
RUNNING = ok(task_id=ID, state="RUNNING", bulk_id="b", error=None)
BEGAN = 1000.0

WAITS: dict[str, Callable[[Any, float], Any]] = {
    "wait": lambda client, seconds: client.wait(ID, timeout_seconds=seconds),
    "bulk_wait": lambda client, seconds: client.bulk_wait("b", timeout_seconds=seconds),
}


class SlowWire(Wire):
    """An answer that never comes takes the time that the client allows it."""

    clock: Clock

    def _answer(self, request: httpx.Request) -> httpx.Response:
        try:
            return super()._answer(request)
        except httpx.TimeoutException:
            self.clock.now += request.extensions["timeout"]["read"]
            raise


class SlowAsyncWire(SlowWire, AsyncWire):
    """The same with the other client."""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture(params=[SlowWire, SlowAsyncWire], ids=["sync", "async"])
def wired(request: pytest.FixtureRequest, clock: Clock) -> Callable[..., Wire]:
    def make(*answers: Answer) -> Wire:
        wire: SlowWire = request.param(*answers)
        wire.clock = clock
        return wire

    return make


@pytest.mark.parametrize("what", WAITS)
@pytest.mark.parametrize("trouble", [AWAY, REFUSED, SLOW], ids=["away", "refused", "slow"])
def test_an_outage_is_waited_for_no_longer_than_the_wait(
    wired: Callable[..., Wire], clock: Clock, what: str, trouble: Answer
) -> None:
    wire = wired(RUNNING, trouble)
    with pytest.raises(WaitTimeout, match="is still RUNNING after 7 seconds") as caught:
        wire.do(lambda client: WAITS[what](client, 7))
    assert 7 <= clock.now - BEGAN <= 7 + waits.GRACE_SECONDS
    assert caught.value.document["state"] == "RUNNING"
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("what", WAITS)
def test_a_service_that_never_answers_ends_the_wait(
    wired: Callable[..., Wire], clock: Clock, what: str
) -> None:
    with pytest.raises(WaitTimeout, match="did not say within 2 seconds how ") as caught:
        wired(SLOW).do(lambda client: WAITS[what](client, 2))
    assert clock.now - BEGAN == pytest.approx(2 + waits.GRACE_SECONDS)
    assert set(caught.value.document) < {"task_id", "bulk_id"}


@pytest.mark.parametrize("what", WAITS)
def test_a_service_that_is_not_there_is_told(wired: Callable[..., Wire], what: str) -> None:
    for seconds in (0, 0.2, 100):
        with pytest.raises(ServiceUnavailable, match="no raytasks service answers"):
            wired(REFUSED).do(lambda client: WAITS[what](client, seconds))  # noqa: B023


@pytest.mark.parametrize("what", WAITS)
def test_one_that_is_away_from_the_beginning(
    wired: Callable[..., Wire], clock: Clock, what: str
) -> None:
    """It is not waited for beyond the usual tries, and not beyond the wait."""
    with pytest.raises(ApiError, match="the database is away"):
        wired(AWAY).do(lambda client: WAITS[what](client, 100))
    before = clock.now
    with pytest.raises(WaitTimeout):
        wired(AWAY).do(lambda client: WAITS[what](client, 0.2))
    assert clock.now - before == pytest.approx(0.2)


@pytest.mark.parametrize("what", WAITS)
def test_one_look_is_always_taken(wired: Callable[..., Wire], what: str) -> None:
    for seconds in (0, -1):
        wire = wired(RUNNING)
        with pytest.raises(WaitTimeout, match="is still RUNNING"):
            wire.do(lambda client: WAITS[what](client, seconds))  # noqa: B023
        assert len(wire.requests) == 1


def test_an_answer_has_the_time_of_the_client_if_that_is_less(clock: Clock) -> None:
    """A wait without an end leaves each request its own time limit."""
    wire = Wire(ok(state="COMPLETED"), timeout_seconds=5)
    for seconds, timeout in ((None, 65.0), (100, 65.0), (10, 10 + waits.GRACE_SECONDS)):
        wire.client.wait(ID, timeout_seconds=seconds)
        assert wire.requests[-1].extensions["timeout"]["read"] == pytest.approx(timeout)


@pytest.mark.parametrize("seconds", [math.nan, "5", True])
def test_what_is_no_time_is_refused(wired: Callable[..., Wire], seconds: Any) -> None:
    wire = wired(RUNNING)
    for call in (
        lambda client: client.wait(ID, timeout_seconds=seconds),
        lambda client: client.bulk_wait("b", timeout_seconds=seconds),
        lambda client: client.run("type", {}, wait_timeout_seconds=seconds),
    ):
        with pytest.raises(BadArgument, match="is no time to wait: give a number of seconds"):
            wire.do(call)
    assert wire.requests == []
    with pytest.raises(BadArgument, match="the wait_seconds are nan"):
        wire.do(lambda client: client.get(ID, wait_seconds=math.nan))


@pytest.mark.parametrize("seconds", [-1, 0, math.nan, math.inf, 1e10, None, "5", True])
def test_a_timeout_that_cannot_be_is_refused(seconds: Any) -> None:
    with pytest.raises(BadArgument, match=r"timeout_seconds is .*: give a number of seconds above"):
        Client("http://host", timeout_seconds=seconds)
