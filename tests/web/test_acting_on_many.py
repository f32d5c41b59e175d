"""Acts on many tasks: what is selected stays so, one question at a time, and its own namespace."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.web.browsing import Opened, until_count
from tests.web.filled_service import FilledService, submit
from tests.web.test_connections import connection
from tests.web.test_tasks_view import rows

Visit = Callable[..., Opened]


@pytest.fixture
def waiting(http: httpx.Client) -> Iterator[Callable[..., list[str]]]:
    """Submit tasks that wait for an hour, and cancel them in the end."""
    made: list[tuple[str, str]] = []

    def submit_some(number: int, tag: str, namespace: str = "default") -> list[str]:
        task = {"task_type": "noop", "payload": {}, "delay_seconds": 3600, "tags": [tag]}
        asked = {"tasks": [task] * number}
        answer = http.post("/tasks/batch", params={"namespace": namespace}, json=asked)
        ids = [one["task_id"] for one in answer.json()["tasks"]]
        made.extend((task_id, namespace) for task_id in ids)
        return ids

    yield submit_some
    for task_id, namespace in made:
        http.post(f"/tasks/{task_id}/cancel", params={"namespace": namespace})


def states(http: httpx.Client, ids: list[str], namespace: str = "default") -> set[str]:
    """The states of tasks."""
    asked = {"namespace": namespace}
    return {http.get(f"/tasks/{one}", params=asked).json()["state"] for one in ids}


def button(opened: Opened, name: str) -> Any:
    """A button."""
    return opened.page.get_by_role("button", name=name)


AT_ONCE = 4
"""How many requests the page sends at once for tasks that are selected."""


def hold(opened: Opened, pattern: str, most: int = 1000) -> list[Any]:
    """Hold the first requests back, and return them as they come."""
    held: list[Any] = []

    def keep(route: Any) -> None:
        if len(held) < most:
            held.append(route)
        else:
            route.continue_()

    opened.page.route(pattern, keep)
    return held


def until_new_ones_are_shown(opened: Opened, http: httpx.Client, number: int) -> None:
    """Submit tasks, and wait until they stand at the top of a full page."""
    for _ in range(number):
        newest = submit(http, task_type="noop", delay_seconds=3600, tags=["pick"])
    rows(opened).nth(49).wait_for()
    opened.page.locator(f"a[title='{newest}']").wait_for()


def test_a_selection_stands_when_its_tasks_leave_the_page(
    visit: Visit, http: httpx.Client, waiting: Callable[..., list[str]]
) -> None:
    old = waiting(2, "pick")
    waiting(48, "pick")
    opened = visit("/tasks?task_type=noop")
    page = opened.page
    connection(opened, "live").wait_for()
    for task_id in old:
        page.get_by_label(f"Select task {task_id}").check()
    until_new_ones_are_shown(opened, http, 1)
    until_count(page.locator(f"a[title='{old[0]}']"), 0)
    button(opened, "Cancel 2 selected…").wait_for()
    until_new_ones_are_shown(opened, http, 3)
    until_count(page.locator(f"a[title='{old[1]}']"), 0)
    page.get_by_text("2 of them not on this page").wait_for()
    # Those on the page come to it, and leave it.
    page.get_by_label("Select all on this page").check()
    button(opened, "Retry 52 selected…").wait_for()
    page.get_by_label("Select all on this page").uncheck()
    button(opened, "Cancel 2 selected…").click()
    button(opened, "Cancel 2 tasks").click()
    page.get_by_text("2 tasks cancelled").wait_for()
    assert states(http, old) == {"CANCELLED"}
    button(opened, "Cancel 2 selected…").wait_for()
    button(opened, "Clear selection").click()
    button(opened, "Cancel all that match…").wait_for()
    http.post("/bulk", json={"action": "cancel", "state": ["PENDING"], "tag": "pick"})


def test_a_button_rests_while_it_counts(visit: Visit, waiting: Callable[..., list[str]]) -> None:
    waiting(3, "count")
    opened = visit("/tasks?tag=count")
    page = opened.page
    rows(opened).nth(2).wait_for()
    held = hold(opened, "**/bulk?*")
    with page.expect_request("**/bulk?*"):
        button(opened, "Cancel all that match…").click()
    for name in ("Retry all that match…", "Cancel all that match…"):
        page.locator("button[aria-disabled=true]", has_text=name).wait_for()
        button(opened, name).evaluate("one => one.click()")
    assert len(held) == 1
    held[0].continue_()
    page.get_by_role("heading", name="Cancel 3 tasks?").wait_for()
    button(opened, "Leave it").click()
    until_count(page.locator("button[aria-disabled=true]"), 0)
    assert len(held) == 1


def test_a_late_question_replaces_none(visit: Visit, waiting: Callable[..., list[str]]) -> None:
    waiting(3, "late")
    opened = visit("/tasks?tag=late")
    page = opened.page
    rows(opened).nth(2).wait_for()
    held = hold(opened, "**/bulk?*")
    with page.expect_request("**/bulk?*"):
        button(opened, "Cancel all that match…").click()
    page.get_by_role("link", name="Schedules").click()
    page.get_by_role("button", name=re.compile("^Pause")).first.click()
    question = page.get_by_role("heading", name=re.compile("^Pause .*\\?"))
    question.wait_for()
    held[0].continue_()
    page.locator(".notice").get_by_text("Cancel 3 tasks?").wait_for()
    assert question.is_visible()
    button(opened, "Leave it").click()
    until_count(page.locator("dialog[open]"), 0)


def test_an_act_stays_in_the_namespace_that_was_confirmed(
    visit: Visit,
    filled: FilledService,
    http: httpx.Client,
    waiting: Callable[..., list[str]],
) -> None:
    ids = waiting(12, "elsewhere", "other")
    opened = visit("/tasks?namespace=other&tag=elsewhere")
    page = opened.page
    rows(opened).nth(11).wait_for()
    page.get_by_label("Select all on this page").check()
    held = hold(opened, "**/cancel*", most=AT_ONCE)
    asked: list[str] = []

    def is_last(request: Any) -> bool:
        asked.extend([request.url] if "/cancel" in request.url else [])
        return len(asked) == AT_ONCE

    button(opened, "Cancel 12 selected…").click()
    with page.expect_request(is_last):
        button(opened, "Cancel 12 tasks").click()
    page.evaluate("location.hash = '#/tasks?task_type=transcribe'")
    page.locator(f"a[title='{filled.tasks['done']}']").wait_for()
    for route in held:
        route.continue_()
    page.get_by_text("12 tasks cancelled").wait_for()
    assert states(http, ids, "other") == {"CANCELLED"}


def test_a_bulk_operation_is_followed_in_its_namespace(
    visit: Visit,
    filled: FilledService,
    http: httpx.Client,
    waiting: Callable[..., list[str]],
) -> None:
    ids = waiting(3, "followed", "other")
    opened = visit("/tasks?namespace=other&tag=followed")
    page = opened.page
    rows(opened).nth(2).wait_for()
    button(opened, "Cancel all that match…").click()
    button(opened, "Cancel 3 tasks").wait_for()
    held = hold(opened, "**/bulk?*")
    with page.expect_request("**/bulk?*"):
        button(opened, "Cancel 3 tasks").click()
    page.evaluate("location.hash = '#/tasks?task_type=transcribe'")
    page.locator(f"a[title='{filled.tasks['done']}']").wait_for()
    held[0].continue_()
    page.get_by_text("3 tasks cancelled").wait_for()
    assert states(http, ids, "other") == {"CANCELLED"}
