"""The clients' `logs()`: pages, a stream over connections that break, and past events."""

from collections.abc import AsyncGenerator
from itertools import islice
from typing import Any

import httpx
import pytest

from raytasks.client import Forbidden, GapEvent, ServiceLogEvent, StateEvent
from tests.client_wire import AsyncWire, Clock, Wire, ok, problem, sse, stream


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that only pauses move."""
    return Clock(monkeypatch)


@pytest.fixture(params=[Wire, AsyncWire], ids=["sync", "async"])
def wired(request: pytest.FixtureRequest) -> type[Wire]:
    """The kind of the client."""
    kind: type[Wire] = request.param
    return kind


def islice_of(events: Any, number: int) -> Any:
    """Return the first events of a generator of either kind, as a generator of that kind."""

    async def first() -> AsyncGenerator[Any, None]:
        left = number
        async for event in events:
            yield event
            left -= 1
            if not left:
                return

    return first() if isinstance(events, AsyncGenerator) else islice(events, number)


def line(number: int, message: str = "m") -> dict[str, Any]:
    return {"id": f"5:{number}", "at": "t", "level": "INFO", "message": message, "fields": {}}


def page(*numbers: int, gap: bool = False, more: bool = False) -> httpx.Response:
    document = {
        "lines": [line(number) for number in numbers],
        "next": f"5:{numbers[-1]}",
        "gap": gap,
        "more": more,
    }
    return ok(**document)


def test_pages_are_read_until_there_are_no_more(wired: type[Wire]) -> None:
    wire = wired(page(1, 2, gap=True, more=True), page(3))
    found = wire.do(lambda client: client.logs(level="warning", lines=3, task_type="mail"))
    assert found == [GapEvent(), *(ServiceLogEvent(f"5:{n}", line(n)) for n in (1, 2, 3))]  # type: ignore[arg-type]
    first, second = (dict(request.url.params) for request in wire.requests)
    assert first == {"level": "WARNING", "lines": "3", "task_type": "mail"}
    assert second == {**first, "after": "5:2"}


def test_a_stream_goes_on_after_the_last_line(wired: type[Wire]) -> None:
    broken = httpx.ReadError("reset")
    first = sse("line", line(1), "5:1")
    others = [sse("line", line(2), "5:2"), sse("gap", {}), sse("line", line(1), "6:1")]
    wire = wired(stream(first, error=broken), stream(first, *others, error=broken), problem(403))
    with pytest.raises(Forbidden):
        wire.do(lambda client: client.logs(follow=True, after="5:0"))
    headers = [request.headers.get("Last-Event-ID") for request in wire.requests]
    assert headers == ["5:0", "5:1", "6:1"]
    assert all("after" not in request.url.params for request in wire.requests)


def test_each_line_of_a_stream_is_seen_once(wired: type[Wire]) -> None:
    first, second = sse("line", line(1), "5:1"), sse("line", line(2), "5:2")
    restarted = [sse("gap", {}), sse("line", line(1, "new"), "6:1")]
    wire = wired(stream(first, error=httpx.ReadError("reset")), stream(first, second, *restarted))
    found = wire.do(lambda client: islice_of(client.logs(follow=True), 4))
    assert [getattr(event, "id", "gap") for event in found] == ["5:1", "5:2", "gap", "6:1"]


def test_past_events_end_with_the_present(wired: type[Wire]) -> None:
    wire = wired(stream(sse("state", {"state": "RUNNING"}, "1.0"), sse("present", {})))
    found = wire.do(lambda client: client.events("id", follow=False))
    assert found == [StateEvent("1.0", {"state": "RUNNING"})]  # type: ignore[typeddict-item]
    assert wire.requests[0].url.params["follow"] == "false"
