"""Events as they are sent: each a block of lines, and progress in its place among them."""

import json

import pytest

from raytasks.api.events.event_views import change_text, end_text, page_text, sse
from raytasks.model.states import OutcomeKind, State
from raytasks.model.task_events import Event, EventPage, LogEntry, StateEntry, TaskProgress
from raytasks.protocol.messages import StateChange

PENDING = StateEntry(0, State.PENDING, 0, 0.0)
RUNNING = StateEntry(1, State.RUNNING, 1, 1.0)
LINE = LogEntry(1, 1, 1, "INFO", "two\nlines ä", 1.5)
RETRYING = StateEntry(2, State.RETRYING, 1, 2.0, OutcomeKind.FAILED, ("ValueError", "no"))
AGAIN = StateEntry(3, State.RUNNING, 2, 3.0)
COMPLETED = StateEntry(4, State.COMPLETED, 2, 4.0, OutcomeKind.SUCCEEDED)
LIFE: list[Event] = [PENDING, RUNNING, LINE, RETRYING, AGAIN, COMPLETED]


def page(*events: Event, state: State, attempt: int = 1, more: bool = False) -> EventPage:
    return EventPage(
        "id", "short", "default", state, events, more, TaskProgress(attempt, 0.5, None)
    )


def kinds(text: bytes) -> list[str]:
    blocks = text.decode().split("\n\n")[:-1]
    return [block.partition("\n")[0].removeprefix("event: ") for block in blocks]


def test_a_block() -> None:
    assert sse("end", b"{}") == b"event: end\ndata: {}\n\n"
    assert sse("state", b"{}", "1.0") == b"event: state\nid: 1.0\ndata: {}\n\n"


def test_data_is_one_line_whatever_is_in_it() -> None:
    text = page_text(page(LINE, state=State.RUNNING), TaskProgress(1, 0.5, None)).decode()
    head, place, data, *rest = text.split("\n")
    assert (head, place, rest) == ("event: log", "id: 1.1", ["", ""])
    assert json.loads(data.removeprefix("data: ")) == {
        "attempt": 1, "level": "INFO", "message": "two\nlines ä",
        "at": "1970-01-01T00:00:01.500000Z",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("length", "attempt", "place"), [(2, 1, 2), (3, 1, 3), (4, 1, 3), (5, 2, 5), (6, 2, 5)]
)
def test_progress_comes_before_the_end_of_its_attempt(
    length: int, attempt: int, place: int
) -> None:
    events = LIFE[:length]
    states = [event.state for event in events if isinstance(event, StateEntry)]
    found = kinds(page_text(page(*events, state=states[-1], attempt=attempt), None))
    assert found.index("progress") == place
    assert len(found) == length + 1


def test_progress_is_left_out_where_it_was_told_or_has_no_place() -> None:
    running = page(AGAIN, state=State.RUNNING)
    assert kinds(page_text(running, running.progress)) == ["state"]
    assert kinds(page_text(page(AGAIN, state=State.RUNNING, more=True), None)) == ["state"]
    cancelled = StateEntry(3, State.CANCELLED, 1, None)
    assert kinds(page_text(page(cancelled, state=State.CANCELLED), None)) == ["state"]
    assert kinds(page_text(page(state=State.COMPLETED), None)) == []


def test_the_end() -> None:
    assert end_text(page(state=State.FAILED)) == (
        b'event: end\ndata: {"task_id":"id","state":"FAILED"}\n\n'
    )


def test_a_change_of_the_feed() -> None:
    change = StateChange("id", "short", State.PENDING, 0, at=1.0, number=5, tags='["a"]')
    head, place, data, *_ = change_text(7, change).decode().split("\n")
    assert (head, place) == ("event: state", "id: 7:5")
    assert json.loads(data.removeprefix("data: ")) == {
        "task_id": "id", "task_type": "short", "namespace": "default", "state": "PENDING",
        "attempt": 0, "revision": 0, "at": "1970-01-01T00:00:01Z", "by": None, "action": None,
    }  # fmt: skip
