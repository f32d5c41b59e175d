"""The view of all tasks: live, filtered, page by page, and acts on many."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest

from raytasks.store import task_selection
from tests.web import handlers
from tests.web.browsing import Opened, until_count, until_focused
from tests.web.filled_service import FilledService, submit

Visit = Callable[..., Opened]

ROWS = "table.tasks tbody tr"


def rows(opened: Opened) -> Any:
    """The rows of the table."""
    return opened.page.locator(ROWS)


@pytest.fixture
def waiting(http: httpx.Client) -> Iterator[Callable[..., list[str]]]:
    """Submit tasks that wait for an hour, and cancel them in the end."""
    made: list[str] = []

    def submit_some(number: int, **request: Any) -> list[str]:
        ids = [submit(http, task_type="noop", delay_seconds=3600, **request) for _ in range(number)]
        made.extend(ids)
        return ids

    yield submit_some
    for task_id in made:
        http.post(f"/tasks/{task_id}/cancel")


def test_new_tasks_appear_within_a_second(visit: Visit, waiting: Callable[..., list[str]]) -> None:
    opened = visit()
    rows(opened).first.wait_for()
    opened.page.locator(".connection[data-state=live]").wait_for()
    opened.page.evaluate(
        """() => {
          window.seen = {};
          new MutationObserver(() => {
            for (const link of document.querySelectorAll("table.tasks a.mono")) {
              window.seen[link.title] ??= Date.now();
            }
          }).observe(document.querySelector("main"), { childList: true, subtree: true });
        }"""
    )
    sent = {}
    for _ in range(20):
        [task_id] = waiting(1)
        sent[task_id] = time.time()
    opened.page.locator(f"a[title='{task_id}']").wait_for()
    seen = opened.page.evaluate("window.seen")
    late = {one: seen[one] / 1000 - at for one, at in sent.items() if seen[one] / 1000 - at > 1}
    assert late == {}
    # What the feed does not tell comes soon after.
    first = rows(opened).filter(has=opened.page.locator(f"a[title='{task_id}']"))
    first.get_by_text(re.compile("in (59 min|1 h)")).wait_for()
    assert "0 / 3" in first.inner_text()


def test_a_change_is_seen_and_counted(
    visit: Visit, http: httpx.Client, waiting: Callable[..., list[str]]
) -> None:
    [task_id] = waiting(1, tags=["change"])
    opened = visit("/tasks?tag=change")
    row = rows(opened).filter(has=opened.page.locator(f"a[title='{task_id}']"))
    row.get_by_text("PENDING").wait_for()
    chip = opened.page.locator(".chip[data-state=CANCELLED] .num")
    chip.filter(has_text=re.compile(r"\d")).wait_for()
    before = int(chip.inner_text())
    http.post(f"/tasks/{task_id}/cancel")
    row.get_by_text("CANCELLED").wait_for()
    opened.page.locator(".chip[data-state=CANCELLED]", has_text=str(before + 1)).wait_for()
    stats = http.get("/stats").json()["counts"]["by_state"]
    shown = opened.page.locator(".chip").all_inner_texts()
    assert {name: int(number) for name, number in map(str.split, shown)} == stats


def test_the_filter_is_in_the_url(visit: Visit, filled: FilledService) -> None:
    opened = visit()
    page = opened.page
    page.locator(".chip[data-state=FAILED]").click()
    page.locator(f"a[title='{filled.tasks['failed']}']").wait_for()
    page.get_by_label("Task type").select_option("send_invoice")
    page.get_by_label("Tag", exact=True).fill("nightly")
    page.keyboard.press("Enter")
    page.get_by_label("Error class").fill("ConnectionError")
    page.keyboard.press("Enter")
    page.get_by_label("Created from").fill("2020-01-31T12:00")
    page.get_by_label("Created before").fill("2999-01-31T12:00")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("created_before"))
    query = parse_qs(page.url.partition("?")[2])
    assert {name: query[name] for name in ("state", "task_type", "tag", "error_type")} == {
        "state": ["FAILED"], "task_type": ["send_invoice"], "tag": ["nightly"],
        "error_type": ["ConnectionError"],
    }  # fmt: skip
    assert query["created_after"][0].endswith("Z")
    until_count(rows(opened), 1)
    page.go_back()
    page.wait_for_url(lambda url: "created_before" not in url)
    page.get_by_role("button", name="Clear filter").click()
    page.locator(f"a[title='{filled.tasks['done']}']").wait_for()
    assert "?" not in page.url


def test_what_one_types_stays_while_the_list_moves(
    visit: Visit, waiting: Callable[..., list[str]]
) -> None:
    opened = visit()
    rows(opened).first.wait_for()
    opened.page.get_by_label("Tag", exact=True).fill("half a w")
    [task_id] = waiting(1)
    row = rows(opened).filter(has=opened.page.locator(f"a[title='{task_id}']"))
    row.get_by_text("0 / 3").wait_for()
    assert opened.page.get_by_label("Tag", exact=True).input_value() == "half a w"


def test_pages_go_on_by_cursor(visit: Visit, waiting: Callable[..., list[str]]) -> None:
    ids = waiting(60, tags=["paged"])
    opened = visit("/tasks?tag=paged")
    opened.page.get_by_text("more than 50 tasks").wait_for()
    until_count(rows(opened), 50)
    opened.page.get_by_role("link", name="Older").click()
    opened.page.get_by_text("60 tasks", exact=True).wait_for()
    shown = opened.page.locator(f"{ROWS} a.mono").evaluate_all("all => all.map(one => one.title)")
    assert shown == ids[9::-1]
    opened.page.reload()
    opened.page.get_by_text("60 tasks", exact=True).wait_for()
    opened.page.get_by_role("link", name="Newest").click()
    opened.page.locator(f"a[title='{ids[-1]}']").wait_for()
    opened.go("/tasks?task_type=noop")
    opened.page.locator("main .muted .num").filter(has_text=re.compile(r"^\d+ tasks")).wait_for()


def test_none_among_the_newest_is_not_none(
    visit: Visit,
    filled: FilledService,
    waiting: Callable[..., list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    newest = f"{10 * task_selection.STEP:,}"
    monkeypatch.setattr(task_selection, "STEP", 2)
    waiting(60, tags=["nightly"])
    found = filled.tasks["failed"]
    opened = visit("/tasks?tag=nightly&error_type=ConnectionError")
    page = opened.page
    page.get_by_text(f"None of the newest {newest} tasks matches.").wait_for()
    page.get_by_text("none found yet", exact=True).wait_for()
    assert page.get_by_text("No task matches").count() == 0
    page.get_by_role("link", name="Look further").click()
    page.locator(f"a[title='{found}']").wait_for()
    page.get_by_text("1 task", exact=True).wait_for()
    # The link of a group of errors comes to the same list.
    opened.go("/errors")
    page.locator("a.group", has_text="ConnectionError").click()
    page.locator(f"a[title='{found}']").wait_for()
    opened.go(f"/tasks?tag=nightly&error_type=ConnectionError&cursor={found}")
    page.get_by_text("No older task matches").wait_for()


def test_all_that_match_are_counted_then_cancelled(
    visit: Visit, http: httpx.Client, waiting: Callable[..., list[str]]
) -> None:
    waiting(7, tags=["bulk"])
    opened = visit("/tasks?tag=bulk")
    page = opened.page
    page.get_by_role("button", name="Cancel all that match").click()
    page.get_by_role("heading", name="Cancel 7 tasks?").wait_for()
    assert "tag bulk" in page.locator("dialog").inner_text()
    page.get_by_role("button", name="Leave it").click()
    assert http.get("/tasks/", params={"tag": "bulk", "state": "CANCELLED"}).json()["tasks"] == []
    page.get_by_role("button", name="Cancel all that match").click()
    page.get_by_role("button", name="Cancel 7 tasks").click()
    page.get_by_text("7 tasks cancelled").wait_for()
    newest = http.get("/bulk").json()["operations"][0]
    assert (newest["changed"], newest["filter"]["tag"]) == (7, "bulk")
    page.locator(f"{ROWS} .state[data-state=CANCELLED]").nth(6).wait_for()


def test_those_that_are_selected_are_cancelled(
    visit: Visit, http: httpx.Client, waiting: Callable[..., list[str]]
) -> None:
    ids = waiting(4, tags=["some"])
    opened = visit("/tasks?tag=some")
    page = opened.page
    for task_id in ids[:2]:
        page.get_by_label(f"Select task {task_id}").check()
    page.get_by_role("button", name="Retry 2 selected").click()
    page.get_by_text("none of them can be retried").wait_for()
    page.get_by_role("button", name="Cancel 2 selected").click()
    page.get_by_role("button", name="Cancel 2 tasks").click()
    page.get_by_text("2 tasks cancelled").wait_for()
    found = http.get("/tasks/", params={"tag": "some"}).json()["tasks"]
    states = {task["task_id"]: task["state"] for task in found}
    assert [states[task_id] for task_id in ids] == ["CANCELLED"] * 2 + ["PENDING"] * 2


def test_the_list_can_be_held_still(visit: Visit, waiting: Callable[..., list[str]]) -> None:
    opened = visit()
    rows(opened).first.wait_for()
    opened.page.get_by_role("button", name="Hold still").click()
    with opened.page.expect_response(re.compile("/tasks/events")):
        opened.page.reload()
    rows(opened).first.wait_for()
    opened.page.get_by_role("button", name="Hold still").click()
    [task_id] = waiting(1)
    other = visit()
    other.page.locator(f"a[title='{task_id}']").wait_for()
    assert opened.page.locator(f"a[title='{task_id}']").count() == 0
    opened.page.get_by_role("button", name="Go on").click()
    opened.page.locator(f"a[title='{task_id}']").wait_for()


def test_what_comes_late_does_not_move_a_list_that_is_held_still(
    visit: Visit, waiting: Callable[..., list[str]]
) -> None:
    opened = visit()
    page = opened.page
    rows(opened).first.wait_for()
    page.locator(".connection[data-state=live]").wait_for()
    asked: list[Any] = []

    def hold(route: Any) -> None:
        asked.append(route)

    page.route("**/tasks/?*", hold)
    with page.expect_request("**/tasks/?*"):
        [known] = waiting(1)
    page.get_by_role("button", name="Hold still").click()
    [unknown] = waiting(1)
    with page.expect_response("**/tasks/?*") as late:
        asked.pop().continue_()
    assert unknown in {task["task_id"] for task in late.value.json()["tasks"]}
    page.evaluate("new Promise((then) => requestAnimationFrame(() => requestAnimationFrame(then)))")
    until_count(page.locator(f"a[title='{known}']"), 1)
    assert page.locator(f"a[title='{unknown}']").count() == 0
    page.unroute("**/tasks/?*")
    page.get_by_role("button", name="Go on").click()
    page.locator(f"a[title='{unknown}']").wait_for()


def test_an_empty_service_says_how_to_submit(
    visit: Visit, filled: FilledService, http: httpx.Client
) -> None:
    opened = visit("/tasks?namespace=fresh")
    page = opened.page
    page.get_by_role("heading", name="No tasks yet").wait_for()
    curl = page.get_by_role("region", name="With curl").inner_text()
    assert "namespace=fresh" in curl
    assert "Authorization: Bearer $RAYTASKS_API_KEY" in curl
    python = page.get_by_role("region", name="In Python").inner_text()
    page.get_by_label("Task type").select_option("scripted")
    page.get_by_label("Payload").fill('{"step": "no such step"}')
    page.get_by_role("button", name="Submit").click()
    page.get_by_role("alert").get_by_text("/payload/step").wait_for()
    opened.expected = ("422",)
    page.get_by_label("Payload").fill('{"value": 12345678901234567890123}')
    page.get_by_role("button", name="Submit").click()
    rows(opened).first.wait_for()
    answer = http.get("/tasks/", params={"namespace": "fresh"})
    assert "12345678901234567890123" in answer.text
    handlers.GO.set()  # now the runner is free
    key = {"RAYTASKS_API_KEY": http.headers["Authorization"].split()[1]}
    for command in (
        ["sh", "-c", curl.replace("curl", "curl --fail", 1)],
        [sys.executable, "-c", python],
    ):
        done = subprocess.run(
            command, env=os.environ | key, capture_output=True, text=True, check=True, timeout=60
        )
        assert "PENDING" in done.stdout or "COMPLETED" in done.stdout
    assert http.get("/tasks/", params={"namespace": "fresh"}).json()["total"] == 3


def test_by_keyboard_alone(
    visit: Visit, http: httpx.Client, waiting: Callable[..., list[str]]
) -> None:
    ids = waiting(2, tags=["keys"])
    opened = visit("/tasks?tag=keys")
    page = opened.page
    rows(opened).first.wait_for()
    press = page.keyboard.press
    press("Tab")
    until_focused(page, "textContent", "Skip to the content")
    press("Enter")
    until_focused(page, "id", "main")
    press("j")
    press("j")
    press("x")
    page.get_by_label(f"Select task {ids[0]}").and_(page.locator(":checked")).wait_for()
    press("o")
    page.get_by_role("heading", name="noop").wait_for()
    until_focused(page, "tagName", "H1")
    press("c")
    page.locator("dialog[open]").wait_for()
    page.keyboard.type("not needed")
    press("Enter")
    page.get_by_text("by a: not needed").wait_for()
    assert http.get(f"/tasks/{ids[0]}").json()["cancel_reason"]["message"] == "not needed"
    press("r")
    page.locator("dialog[open]").wait_for()
    press("Escape")
    page.locator("dialog[open]").wait_for(state="detached")
    press("?")
    page.get_by_text("Go to Tasks").wait_for()
    press("Escape")
    press("g")
    press("t")
    page.get_by_role("heading", name="Tasks").wait_for()
