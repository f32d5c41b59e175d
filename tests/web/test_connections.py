"""The page while its service is away, and while nobody looks at it."""

import re
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
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


IN_TWO = {"Retry-After": "2"}
BUSY: tuple[tuple[int, dict[str, str], float], ...] = (
    (429, IN_TWO, 2.0), (503, IN_TWO, 2.0), (408, {}, 0.0), (425, {}, 0.0),
)  # fmt: skip
"""Statuses that mend themselves, and how many seconds a client must wait."""


@pytest.mark.parametrize(("status", "headers", "seconds"), BUSY)
@pytest.mark.parametrize(
    ("place", "stream", "shows"),
    [
        ("/tasks", "/tasks/events", ".connection[data-state=live]"),
        ("/log", "/logs", ".log.service"),
        ("/tasks/{failed}", "/tasks/{failed}/events", ".log"),
    ],
)
def test_a_stream_that_is_put_off_is_tried_again(
    visit: Visit, filled: FilledService, place: str, stream: str, shows: str,
    status: int, headers: dict[str, str], seconds: float,
) -> None:  # fmt: skip
    """A proxy that limits requests, or waits for them, is no reason to give up the live view."""
    opened = visit("/types")
    opened.expected = (str(status),)
    connection(opened, "live").wait_for()
    times: list[float] = []

    def answer(route: Any) -> None:
        times.append(time.monotonic())
        if len(times) == 1:
            route.fulfill(status=status, headers=headers, content_type="text/html", body="later")
        else:
            route.continue_()

    opened.page.route(re.compile(stream.format(**filled.tasks) + r"(\?|$)"), answer)
    opened.page.reload()  # so that the route is in force
    opened.page.get_by_role("heading", name="Types").wait_for()
    if place != "/tasks":
        opened.go(place.format(**filled.tasks))
    opened.page.locator(shows).wait_for()
    assert len(times) == 2
    assert times[1] - times[0] > seconds


def test_a_date_says_when_a_stream_is_tried_again(visit: Visit) -> None:
    opened = visit("/types")
    opened.expected = ("429",)
    connection(opened, "live").wait_for()
    times: list[float] = []

    def answer(route: Any) -> None:
        times.append(time.time())
        later = formatdate(times[0] + 3, usegmt=True)
        if len(times) == 1:
            route.fulfill(status=429, headers={"Retry-After": later, "Content-Type": "text/html"})
        else:
            route.continue_()

    opened.page.route("**/tasks/events*", answer)
    opened.page.reload()  # so that the route is in force
    connection(opened, "live").wait_for()
    assert times[1] - times[0] > 1.9  # a date has whole seconds


def test_many_windows_do_not_stall_one_another(visit: Visit, filled: FilledService) -> None:
    """A browser opens six connections to an address, and each window holds one of them."""
    for _ in range(2):
        for place, part in ((f"/tasks/{filled.tasks['later']}", "PENDING"), ("/log", "line")):
            opened = visit(place)
            opened.page.locator("main").get_by_text(part).first.wait_for()
            connection(opened, "live").wait_for()
    last = visit("/tasks")
    connection(last, "live").wait_for()
    last.page.locator("table.tasks tbody tr").first.wait_for()


def test_the_feed_goes_on_after_a_stream_of_a_view(visit: Visit, http: httpx.Client) -> None:
    """The feed tells then what it has missed. A retry is followed from the end of a task on."""
    task_id = submit(http, task_type="noop", delay_seconds=3600)
    opened = visit("/tasks?task_type=noop")
    page = opened.page
    connection(opened, "live").wait_for()
    with page.expect_request(f"**/{task_id}/events*"):
        link(opened, task_id).click()
    page.locator(".state[data-state=PENDING]").wait_for()
    places: list[str | None] = []
    streams: list[str] = []

    def note(request: Any) -> None:
        if "/tasks/events" in request.url:
            places.append(request.headers.get("last-event-id"))
        if f"/{task_id}/events" in request.url:
            streams.append(request.url)

    page.on("request", note)
    with page.expect_request("**/tasks/events*"):
        http.post(f"/tasks/{task_id}/cancel")
    page.locator(".state[data-state=CANCELLED]").wait_for()
    connection(opened, "live").wait_for()
    assert all(places)  # it goes on after the last event that it had seen
    assert streams == []  # what the feed tells late does not begin the task's stream again
    with page.expect_request(f"**/{task_id}/events*"):
        http.post(f"/tasks/{task_id}/retry", json={"delay_seconds": 3600})
    page.locator(".state[data-state=PENDING]").wait_for()
    http.post(f"/tasks/{task_id}/cancel")
