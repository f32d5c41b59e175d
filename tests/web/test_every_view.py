"""All views of the page, in the places that `places.py` names: rights, outages, copied URLs."""

import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.api.test_endpoint_table import TABLE, scope_of
from tests.web.browsing import PATIENCE_MS, Opened
from tests.web.filled_service import PREFIX, FilledService, submit
from tests.web.places import PLACES, place_of
from tests.web.test_connections import AWAY

Visit = Callable[..., Opened]

LIVE = (
    "overview",
    "tasks",
    "task-waiting",
    "errors",
    "types",
    "type",
    "schedules",
    "schedule",
    "runners",
    "limits",
    "bulk",
    "bulk-one",
    "audit",
    "log",
)
"""A place of each view that goes on looking at the service."""

SHOWN = """() => {
  const main = document.querySelector("main").cloneNode(true);
  for (const moving of main.querySelectorAll("time, .num, .log, .warn, .waiting")) moving.remove();
  const fields = document.querySelectorAll("main input, main select, main textarea");
  const pressed = document.querySelectorAll("main [aria-pressed=true]");
  return [
    main.textContent,
    ...[...fields].map(({ name, type, checked, value }) =>
      `${name}=${type === "checkbox" ? checked : value}`),
    ...[...pressed].map((button) => button.dataset.state ?? button.textContent),
  ];
}"""
"""Returns what the view shows, without what changes from second to second."""


def shown_by(opened: Opened) -> list[str]:
    """Return what a view shows, with the URLs as without a proxy."""
    return [text.replace(PREFIX, "") for text in opened.page.evaluate(SHOWN)]


def fresh(opened: Opened, place: str) -> None:
    """Load the page again, at a place."""
    opened.go(place)
    opened.page.reload()
    opened.settle()


def test_a_copied_url_restores_it_also_below_the_path_of_a_proxy(
    visit: Visit, filled: FilledService
) -> None:
    first = visit()
    second = visit(below=PREFIX, color_scheme="dark")  # in a context of its own
    second.urls.clear()
    different = {}
    for name in PLACES:
        first.go(place_of(name, filled.tasks))
        first.settle()
        fresh(second, first.page.url.partition("#")[2])
        second.page.locator(".connection[data-state=live]").wait_for()
        deadline = time.monotonic() + PATIENCE_MS / 1000  # parts of a view come one after the other
        while (shown := shown_by(first)) != (again := shown_by(second)):
            if time.monotonic() > deadline:
                different[name] = (shown, again)
                break
            second.page.wait_for_timeout(50)
    assert different == {}
    assert [url for url in second.urls if PREFIX not in url] == []


CLICK_ALL = """() => {
  const kinds = "main button, main input[type=checkbox], main summary";
  const found = [...document.querySelectorAll(kinds)];
  for (const control of found) if (control.isConnected) control.click();
  for (const form of document.querySelectorAll("main form")) form.requestSubmit();
  return found.map((control) => control.ariaLabel ?? control.textContent);
}"""
"""Clicks on everything in a view that is not a link, and returns the names."""


def test_who_reads_can_do_nothing_but_read(visit: Visit, filled: FilledService) -> None:
    """Clicks on everything with such a key send only reads, and none is refused."""
    opened = visit(key="r")
    asked: list[str] = []
    answers: list[Any] = []
    opened.page.on("request", lambda request: asked.append(request.method))
    opened.page.on("response", lambda response: answers.append((response.status, response.url)))
    clicked = {}
    for name in PLACES:
        fresh(opened, place_of(name, filled.tasks))
        clicked[name] = opened.page.evaluate(CLICK_ALL)
        opened.settle()
        assert opened.page.locator("dialog[open]").count() == 0, name
    assert set(asked) == {"GET"}
    assert [answer for answer in answers if answer[0] >= 400] == []
    refused = ("schedule", "runners", "limits", "audit", "log", "bulk-new")
    assert all(not controls for name, controls in clicked.items() if name.startswith(refused))
    # The same look finds the controls of a key that may act.
    acts = visit(key="a")
    for name, control in (
        ("tasks", "Cancel all that match…"),
        ("task-failed", "Retry"),
        ("schedules", "Run monthly-invoice"),
        ("task-unique", "Change…"),
        ("runners", f"Stack of task {filled.tasks['runs']}"),
        ("bulk-new", "Cancel…"),
        ("empty", "Submit"),
    ):
        acts.go(place_of(name, filled.tasks))
        acts.page.locator("main").get_by_role("button", name=control, exact=True).wait_for()
        assert control not in clicked[name]


ACTING = [
    (method, path)
    for (method, path), who in TABLE.items()
    if method != "GET" or scope_of(who) in ("submit", "operate")
]
"""The endpoints that act, or show what only those see who act, of the table in docs/security.md."""

BODIES = {
    "/tasks/": {"task_type": "noop", "payload": {}},
    "/tasks/batch": {"tasks": [{"task_type": "noop", "payload": {}}]},
    "/bulk": {"action": "cancel", "state": None, "all": True},
}


def test_the_service_refuses_each_act_of_who_reads(filled: FilledService) -> None:
    assert {"POST /bulk", "POST /tasks/{task_id}/cancel", "GET /audit"} < {
        f"{method} {path}" for method, path in ACTING
    }
    with filled.client("r") as client:
        before = client.get("/stats").json()["counts"]
        for method, path in ACTING:
            for name in ("later", "failed", "runs"):
                filled_in = re.sub(r"\{\w+_id\}", filled.tasks[name], path)
                answer = client.request(method, filled_in, json=BODIES.get(path))
                assert answer.status_code == 403, (method, path)
                assert "does not have the scope" in answer.json()["detail"]
        assert client.get("/stats").json()["counts"] == before


@pytest.fixture
def outage(filled: FilledService) -> Iterator[Callable[[bool], None]]:
    """Take the service away from browsers, and bring it back."""

    def switch(down: bool) -> None:
        filled.proxy.down = down

    yield switch
    switch(False)


def test_it_says_that_it_loads_and_that_it_is_disconnected(
    visit: Visit, filled: FilledService, outage: Callable[[bool], None]
) -> None:
    opened = visit()
    opened.expected = AWAY
    page = opened.page
    opened.settle()

    def hold(route: Any) -> None:
        """Leave a request without an answer."""

    places = [place_of(name, filled.tasks) for name in LIVE]
    page.route(re.compile(r"^(?!.*/ui/).*$"), hold)
    for place in places:
        opened.go("/nowhere")
        opened.go(place)
        page.locator(".loading").first.wait_for()
    page.unroute_all()
    outage(True)
    for place in places:
        opened.go("/nowhere")
        page.get_by_role("heading", name="Not found").wait_for()
        opened.go(place)
        page.locator(".condition[data-kind=away], .stale").wait_for()
    outage(False)
    page.locator(".condition[data-kind=away], .stale").wait_for(state="detached")
    page.locator(".log > div").first.wait_for()


@pytest.mark.timeout(300)  # a dozen pages at the same time
def test_after_an_outage_each_view_goes_on_without_a_gap(
    visit: Visit, filled: FilledService, outage: Callable[[bool], None]
) -> None:
    log = filled.service.tracker.log
    # A browser keeps few connections to an origin, so each view is in a context of its own.
    views = {
        name: visit(place_of(name, filled.tasks), viewport={"width": 1400, "height": 900 + number})
        for number, name in enumerate(LIVE)
    }
    log.write("INFO", "before the outage")
    for opened in views.values():
        opened.expected = AWAY
        opened.page.locator(".connection[data-state=live]").wait_for()
    views["log"].page.get_by_text("before the outage").wait_for()
    outage(True)
    for name, opened in views.items():
        opened.page.locator(".connection", has_text="Disconnected").wait_for()
        if name not in ("tasks", "task-waiting", "bulk-one"):  # others ask again after a while
            opened.page.locator(".stale").wait_for()
    log.write("INFO", "during the outage")
    with filled.client("a") as client:
        made = [submit(client, delay_seconds=3600, tags=["outage"]) for _ in range(2)]
        client.post(f"/tasks/{filled.tasks['later']}/cancel", params={"message": "outage"})
        begun = client.post("/bulk", json={"action": "cancel", "tag": "outage"}).json()
    outage(False)
    log.write("INFO", "after the outage")
    for opened in views.values():
        opened.page.locator(".connection[data-state=live]").wait_for()
        opened.page.locator(".stale").wait_for(state="detached")
    for task_id in made:
        page = views["tasks"].page
        row = page.locator("tr", has=page.locator(f"a[title='{task_id}']"))
        row.get_by_text("CANCELLED").wait_for()
    views["task-waiting"].page.locator(".state[data-state=CANCELLED]").wait_for()
    views["bulk"].page.locator(f"a[title='{begun['bulk_id']}']").wait_for()
    views["audit"].page.get_by_text("message outage").wait_for()
    shown = views["log"].page.locator(".log > div")
    shown.get_by_text("after the outage").wait_for()
    said = [text for text in shown.all_inner_texts() if "the outage" in text]
    assert [text.split("\n")[-1] for text in said] == [
        f"{word} the outage" for word in ("before", "during", "after")
    ]
    assert views["log"].page.locator(".log .gap").count() == 0
    assert views["tasks"].page.evaluate("performance.getEntriesByType('navigation').length") == 1
