"""The page while its service is away, and while nobody looks at it."""

import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.web import handlers
from tests.web.browsing import Opened
from tests.web.filled_service import FilledService, submit, until_final

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

    def note(request: Any) -> None:
        if "/tasks/events" in request.url:
            places.append(request.headers.get("last-event-id"))

    opened.page.on("request", note)
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


def test_a_page_costs_little_while_tasks_run(
    visit: Visit, filled: FilledService, http: httpx.Client
) -> None:
    opened = visit()
    connection(opened, "live").wait_for()
    link(opened, filled.tasks["done"]).wait_for()
    handlers.GO.set()  # now the runner is free
    opened.urls.clear()
    calls = filled.service.backend.calls
    calls.clear()
    began = time.monotonic()
    tasks = [{"task_type": "noop", "payload": {}} for _ in range(100)]
    for _ in range(10):
        ids = [
            one["task_id"]
            for one in http.post("/tasks/batch", json={"tasks": tasks}).json()["tasks"]
        ]
    until_final(http, ids[-1])
    completed = opened.page.locator(".chip[data-state=COMPLETED]")
    completed.filter(has_text=re.compile(r"1,0\d\d")).wait_for()
    seconds = time.monotonic() - began
    # Some 3,000 changes went by. The list was loaded a few times; the tracker was asked less.
    assert len(opened.urls) <= 4 + 2 * seconds / 0.5, opened.urls
    assert calls["Statistics"] <= 2 + seconds
    assert set(calls) <= {"submit", "changes", "Statistics"}
