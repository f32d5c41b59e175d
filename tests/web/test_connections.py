"""The page while its service is away, and while nobody looks at it."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from raytasks.web.bundle import bundle
from tests.web.browsing import Opened
from tests.web.filled_service import FilledService, submit

Visit = Callable[..., Opened]

AWAY = ("503", "ERR_", "net::")


@pytest.fixture
def outage(filled: FilledService) -> Iterator[Callable[[bool], None]]:
    """Take the service away from browsers, and bring it back."""

    def switch(down: bool) -> None:
        filled.proxy.down = down

    yield switch
    filled.proxy.down = False


def connection(opened: Opened, state: str) -> Any:
    """The sign in the header that says how the page is connected."""
    return opened.page.locator(f".connection[data-state={state}]")


def link(opened: Opened, task_id: str) -> Any:
    """The link to a task."""
    return opened.page.locator(f"a[title='{task_id}']")


def test_it_reconnects_without_a_gap(
    visit: Visit, http: httpx.Client, outage: Callable[[bool], None]
) -> None:
    opened, shown = visit(), visit()
    opened.expected = shown.expected = AWAY
    tasks = [submit(http, task_type="noop", delay_seconds=3600)]
    shown.go(f"/tasks/{tasks[0]}")
    shown.page.locator(".state[data-state=PENDING]").wait_for()
    link(opened, tasks[0]).wait_for()
    # What the page sees of the outage alone: no list is loaded again but by the feed.
    places: list[str | None] = []
    opened.page.on(
        "request",
        lambda request: (
            "/tasks/events" in request.url and places.append(request.headers.get("last-event-id"))
        ),
    )
    outage(True)
    connection(opened, "away").get_by_text("Disconnected").wait_for()
    tasks += [submit(http, task_type="noop", delay_seconds=3600) for _ in range(3)]
    http.post(f"/tasks/{tasks[0]}/cancel")
    outage(False)
    connection(opened, "live").wait_for()
    for task_id in tasks:
        link(opened, task_id).wait_for()
    shown.page.locator(".state[data-state=CANCELLED]").wait_for()
    assert places
    assert all(places)  # it went on after the last event that it had seen


def test_it_says_that_it_is_disconnected_and_comes_back(
    visit: Visit, filled: FilledService, outage: Callable[[bool], None]
) -> None:
    opened = visit()
    opened.expected = AWAY
    link(opened, filled.tasks["done"]).wait_for()
    outage(True)
    opened.go(f"/tasks/{filled.tasks['done']}")
    opened.page.get_by_role("heading", name="Disconnected").wait_for()
    outage(False)
    opened.page.locator(".state[data-state=COMPLETED]").wait_for()
    outage(True)
    opened.page.get_by_role("button", name="Copy as curl").wait_for()
    opened.go("/tasks")
    opened.page.get_by_role("heading", name="Disconnected").wait_for()
    outage(False)
    link(opened, filled.tasks["done"]).wait_for()


def test_it_rests_while_nobody_looks(visit: Visit, http: httpx.Client) -> None:
    opened = visit()
    connection(opened, "live").wait_for()
    see = """(state) => {
      Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }"""
    opened.page.evaluate(see, "hidden")
    connection(opened, "paused").wait_for()
    opened.urls.clear()
    task_id = submit(http, task_type="noop", delay_seconds=3600)
    other = visit()
    link(other, task_id).wait_for()
    assert opened.urls == []
    opened.page.evaluate(see, "visible")
    link(opened, task_id).wait_for()


TEXTS = {
    "{}": "{}",
    "0": "0",
    '"a, [b]"': '"a, [b]"',
    '{"a":{},"b":[[]]}': '{\n  "a": {},\n  "b": [\n    []\n  ]\n}',
    '{"n":[12345678901234567890123,1.0,1E400,-0.0]}': (
        '{\n  "n": [\n    12345678901234567890123,\n    1.0,\n    1E400,\n    -0.0\n  ]\n}'
    ),
    r'{"s":"\" } ] , \\"}': '{\n  "s": "\\" } ] , \\\\"\n}',
    r'{"\\\"":"\u00e4\ud83d\ude00"}': '{\n  "\\\\\\"": "\\u00e4\\ud83d\\ude00"\n}',
    '{ "spaced" : [ 1 , { "x" : true } ] }': (
        '{\n  "spaced": [\n    1,\n    {\n      "x": true\n    }\n  ]\n}'
    ),
}
"""JSON texts, and how they are shown."""


def test_json_is_indented_token_by_token(visit: Visit) -> None:
    opened = visit()
    module = f"./files/{bundle().version}/ui/core/json_text.js"
    indent = "async ([module, text]) => (await import(new URL(module, location))).indented(text)"
    shown = {text: opened.page.evaluate(indent, [module, text]) for text in TEXTS}
    assert shown == TEXTS


def test_parts_of_a_document_are_kept_as_texts(visit: Visit) -> None:
    opened = visit()
    module = f"./files/{bundle().version}/ui/core/json_text.js"
    members = "async ([module, text]) => (await import(new URL(module, location))).members(text)"
    for text in TEXTS:
        document = f'{{"before": [1, "}}"], "payload":{text} , "after":null}}'
        found = opened.page.evaluate(members, [module, document])
        assert found == {"before": '[1, "}"]', "payload": text, "after": "null"}, text
