"""Events over connections that break: each is seen once."""

from collections.abc import Callable
from itertools import islice
from typing import Any

import httpx
import pytest

from raytasks.client import (
    BadArgument,
    EndEvent,
    GapEvent,
    LogEvent,
    NotFound,
    ProgressEvent,
    ServiceUnavailable,
    StateEvent,
    TooManyRequests,
    api,
)
from raytasks.client import (
    event_stream as events,
)
from tests.client_wire import (
    HTML,
    REFUSED,
    AsyncWire,
    Clock,
    Stream,
    Wire,
    ok,
    problem,
    sse,
    stream,
)

BEGIN = b"retry: 1000\n\n"
BEAT = b": \n\n"
BROKEN = httpx.ReadError("reset")
CUT = httpx.RemoteProtocolError("peer closed connection without sending complete message body")


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that only pauses move, and pauses of their full length."""
    monkeypatch.setattr(events, "random", type("random", (), {"uniform": lambda a, b: b}))
    return Clock(monkeypatch)


@pytest.fixture(params=[Wire, AsyncWire], ids=["sync", "async"])
def wired(request: pytest.FixtureRequest) -> type[Wire]:
    """The kind of the client."""
    kind: type[Wire] = request.param
    return kind


def state(name: str, revision: int) -> bytes:
    return sse("state", {"state": name, "revision": revision}, f"{revision}.0")


def logged(message: str, event_id: str) -> bytes:
    return sse("log", {"message": message}, event_id)


def progress(fraction: float) -> bytes:
    return sse("progress", {"attempt": 1, "fraction": fraction})


END = sse("end", {"task_id": "id", "state": "COMPLETED"})


def told(found: list[Any]) -> list[str]:
    """Return events in short."""
    names: list[str] = []
    for event in found:
        match event:
            case StateEvent(data=data):
                names.append(data["state"])
            case LogEvent(data=data):
                names.append(data["message"])
            case ProgressEvent(data=data):
                names.append(str(data["fraction"]))
            case EndEvent(data=data):
                names.append(f"end {data['state']}")
            case GapEvent():
                names.append("gap")
    return names


def follow(client: Any) -> Any:
    return client.events("id")


def asked_after(wire: Wire) -> list[str | None]:
    return [request.headers.get("last-event-id") for request in wire.requests]


WHOLE = [BEGIN, state("PENDING", 1), BEAT, state("RUNNING", 2), logged("one", "2.1"), progress(0.5),
         logged("two \u2028 ä", "2.2"), BEAT, state("COMPLETED", 3), END]  # fmt: skip
STORY = ["PENDING", "RUNNING", "one", "0.5", "two \u2028 ä", "COMPLETED", "end COMPLETED"]


def test_one_connection(wired: type[Wire]) -> None:
    wire = wired(stream(*WHOLE))
    found = wire.do(follow)
    assert told(found) == STORY
    assert found[1] == StateEvent("2.0", {"state": "RUNNING", "revision": 2})  # type: ignore[typeddict-item]
    (request,) = wire.requests
    assert str(request.url) == "http://host:1/tasks/id/events"
    assert request.headers["accept"] == "text/event-stream"
    assert "last-event-id" not in request.headers


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_events_come_in_pieces_of_any_size(wired: type[Wire], size: int) -> None:
    whole = b"".join(WHOLE)
    pieces = [whole[i : i + size] for i in range(0, len(whole), size)]
    assert told(wired(stream(*pieces)).do(follow)) == STORY


@pytest.mark.parametrize("error", [None, BROKEN, CUT], ids=str)
def test_a_connection_that_ends_anywhere_is_made_again(
    wired: type[Wire], error: Exception | None
) -> None:
    """Wherever it is cut, also within an event: the next one begins after the last whole event."""
    whole = b"".join(WHOLE)
    for cut in range(1, len(whole), 5):
        wire = wired(stream(whole[:cut], error=error), stream(*WHOLE[4:]))
        seen = told(wire.do(follow))
        after = asked_after(wire)[1] if len(wire.requests) > 1 else None
        # The service would answer from `after` on; here it sends from "one" on, again.
        expected = STORY if after else [name for name in STORY if name not in STORY[:2]]
        if after == "1.0":
            expected = [STORY[0], *STORY[2:]]
        assert seen == expected, cut


def test_reconnecting_goes_on_after_the_last_event(wired: type[Wire], clock: Clock) -> None:
    wire = wired(
        stream(BEGIN, state("PENDING", 1), state("RUNNING", 2), error=BROKEN),
        stream(BEGIN, logged("one", "2.1"), progress(0.5), BEAT),
        stream(BEGIN, progress(0.5), progress(0.6), state("COMPLETED", 3), END),
    )
    assert told(wire.do(follow)) == [
        "PENDING", "RUNNING", "one", "0.5", "0.6", "COMPLETED", "end COMPLETED"
    ]  # fmt: skip
    assert asked_after(wire) == [None, "2.0", "2.1"]
    assert clock.pauses == [1.0, 1.0]


def test_what_is_sent_again_is_seen_once(wired: type[Wire]) -> None:
    wire = wired(stream(*WHOLE[:7], error=BROKEN), stream(*WHOLE))
    assert told(wire.do(follow)) == STORY


def test_it_begins_after_a_given_event(wired: type[Wire]) -> None:
    wire = wired(stream(state("RUNNING", 2), logged("ten", "2.10"), logged("2", "2.2"), END))
    assert told(wire.do(lambda c: c.events("id", "2.2"))) == ["ten", "end COMPLETED"]
    assert asked_after(wire) == ["2.2"]
    with pytest.raises(BadArgument, match="is not the id of an event"):
        wired(ok()).do(lambda c: c.events("id", "2\n"))


def test_a_restart_is_ridden_out(wired: type[Wire], clock: Clock) -> None:
    """Refused, the ingress's own 404 and 503, the API's 503: for a minute and more."""
    wire = wired(
        stream(BEGIN, state("RUNNING", 2), error=CUT),
        REFUSED, HTML, httpx.Response(503, text="no server"), problem(503), problem(429),
        httpx.ConnectTimeout("slow"), REFUSED,
        stream(BEGIN, state("COMPLETED", 3), END),
    )  # fmt: skip
    assert told(wire.do(follow)) == ["RUNNING", "COMPLETED", "end COMPLETED"]
    assert asked_after(wire)[1:] == ["2.0"] * 8
    assert clock.pauses == [1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0, 15.0]


def test_patience_has_an_end(wired: type[Wire], clock: Clock) -> None:
    wire = wired(stream(BEGIN, state("RUNNING", 2)), REFUSED)
    with pytest.raises(ServiceUnavailable, match="no raytasks service answers"):
        wire.do(follow)
    assert sum(clock.pauses) > api.PATIENCE_SECONDS
    wire = wired(stream(BEGIN, state("RUNNING", 2)), problem(429, {"Retry-After": "3600"}))
    with pytest.raises(TooManyRequests):
        wire.do(follow)


def test_streams_that_end_at_once_are_given_up(wired: type[Wire]) -> None:
    with pytest.raises(ServiceUnavailable, match="closes the streams of events at once"):
        wired(stream()).do(follow)


def test_a_long_silence_is_no_lack_of_patience(clock: Clock) -> None:
    """An hour of heartbeats alone, and then the connection breaks; and the same again."""

    class Silent(Stream):
        def __iter__(self) -> Any:
            yield BEAT
            clock.now += 3600
            raise BROKEN

    silent = httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=Silent())
    wire = Wire(silent, silent, REFUSED, stream(state("COMPLETED", 3), END))
    assert told(wire.do(follow)) == ["COMPLETED", "end COMPLETED"]


def test_retry_after_is_honoured(wired: type[Wire], clock: Clock) -> None:
    wire = wired(
        stream(b"retry: 100\n\n", state("RUNNING", 2)), problem(503, {"Retry-After": "9"}),
        stream(END),
    )  # fmt: skip
    wire.do(follow)
    assert clock.pauses == [0.1, 9.0]


def test_a_service_that_is_not_there_is_told_soon(wired: type[Wire], clock: Clock) -> None:
    with pytest.raises(ServiceUnavailable, match="start one with 'raytasks up'"):
        wired(REFUSED).do(follow)
    assert clock.pauses == list(api.RETRY_DELAYS)
    with pytest.raises(ServiceUnavailable, match="is not a raytasks service"):
        wired(HTML).do(follow)
    with pytest.raises(ServiceUnavailable, match="is not a raytasks service"):
        wired(ok()).do(follow)


def test_a_false_404_at_the_beginning_is_ridden_out(wired: type[Wire]) -> None:
    assert told(wired(HTML, HTML, stream(*WHOLE)).do(follow)) == STORY


def test_an_error_of_the_api_itself_stands(wired: type[Wire]) -> None:
    wire = wired(problem(404, detail="there is no task id"))
    with pytest.raises(NotFound, match="there is no task id"):
        wire.do(follow)
    assert len(wire.requests) == 1
    wire = wired(stream(BEGIN, state("RUNNING", 2)), problem(404, detail="pruned"))
    with pytest.raises(NotFound, match="pruned"):
        wire.do(follow)
    assert len(wire.requests) == 2


def test_an_error_is_read_whole(wired: type[Wire]) -> None:
    """It comes as a stream, too, as everything does over a real connection."""
    pieces = (b'{"title": "Not Found", ', b'"detail": "there is no task id"}')
    headers = {"content-type": "application/problem+json"}
    wire = wired(httpx.Response(404, headers=headers, stream=Stream(*pieces)))
    with pytest.raises(NotFound, match="there is no task id"):
        wire.do(follow)


def test_unknown_kinds_are_passed_over(wired: type[Wire]) -> None:
    assert told(wired(stream(sse("weather", {}, "2.0"), b"data: x\n\n", END)).do(follow)) == [
        "end COMPLETED"
    ]


@pytest.mark.parametrize(
    "bad",
    [b"event: state\nid: 1.0\ndata: {\n\n", sse("state", 1, "1.0"), sse("state", {})],
    ids=["no JSON", "no object", "no id"],
)
def test_events_that_make_no_sense(wired: type[Wire], bad: bytes) -> None:
    with pytest.raises(ServiceUnavailable, match="make no sense"):
        wired(stream(bad)).do(follow)


def test_leaving_closes_the_connection() -> None:
    answer = stream(*WHOLE)
    found = Wire(answer).client.events("id")
    next(found)
    found.close()
    assert isinstance(answer.stream, Stream)
    assert answer.stream.closed


class TestAllEvents:
    """`all_events`: the feed of all tasks."""

    @staticmethod
    def change(name: str, event_id: str) -> bytes:
        return sse("state", {"state": name}, event_id)

    @staticmethod
    def first(count: int, **options: Any) -> Callable[[Any], Any]:
        """Return the call that takes so many events."""

        def call(client: Any) -> Any:
            feed = client.all_events(**options)
            if hasattr(feed, "__next__"):
                return islice(feed, count)

            async def take() -> Any:
                taken = 0
                async for event in feed:
                    yield event
                    taken += 1
                    if taken == count:
                        await feed.aclose()
                        return

            return take()

        return call

    def test_filters_reach_the_api(self, wired: type[Wire]) -> None:
        wire = wired(stream(self.change("RUNNING", "5:1")))
        wire.do(self.first(1, task_type="noop", tag="a b"))
        assert str(wire.requests[0].url) == "http://host:1/tasks/events?task_type=noop&tag=a+b"

    def test_it_goes_on_over_connections_and_epochs(self, wired: type[Wire]) -> None:
        wire = wired(
            stream(BEGIN, self.change("a", "5:9"), self.change("b", "5:10"), error=BROKEN),
            stream(BEGIN, self.change("b", "5:10"), self.change("c", "5:11")),
            stream(BEGIN, sse("gap", {}), self.change("d", "6:1")),
            stream(BEGIN, self.change("d", "6:1"), self.change("e", "6:2")),
        )
        assert told(wire.do(self.first(6))) == ["a", "b", "c", "gap", "d", "e"]
        assert asked_after(wire) == [None, "5:10", "5:11", "6:1"]

    def test_a_gap_that_the_service_cannot_know_of_is_told(self, wired: type[Wire]) -> None:
        """The connection broke before an event told its place."""
        opened: list[int] = []
        wire = wired(stream(BEGIN, error=BROKEN), HTML, stream(BEGIN, self.change("a", "5:9")))
        found = wire.do(self.first(2, on_open=lambda: opened.append(1)))
        assert told(found) == ["gap", "a"]
        assert len(opened) == 2

    def test_the_place_after_a_gap_is_kept(self, wired: type[Wire]) -> None:
        wire = wired(
            stream(BEGIN, self.change("a", "5:9"), sse("gap", {}, "6:4"), error=BROKEN),
            stream(self.change("b", "6:5")),
        )
        assert told(wire.do(self.first(3))) == ["a", "gap", "b"]
        assert asked_after(wire) == [None, "6:4"]
