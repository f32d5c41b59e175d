"""The view of failures: groups, their tasks, and the retry of all of a group."""

from collections.abc import Callable
from typing import Any

import httpx

from tests.web import handlers
from tests.web.browsing import Opened, until_count
from tests.web.filled_service import FilledService

Visit = Callable[..., Opened]


def groups(opened: Opened) -> Any:
    """The rows of the groups."""
    return opened.page.get_by_role("region", name="Groups of failures").locator("tbody tr")


def test_failures_are_grouped_and_lead_to_their_tasks(
    visit: Visit, http: httpx.Client, filled: FilledService
) -> None:
    opened = visit("/errors")
    page = opened.page
    [group] = http.get("/errors").json()["groups"]
    row = groups(opened).filter(has_text="ConnectionError")
    row.wait_for()
    until_count(groups(opened), 1)
    assert row.locator("td").nth(2).inner_text() == f"{group['count']}"
    assert group["message"] in row.inner_text()
    row.get_by_role("img", name="1 of send_invoice with ConnectionError in the last 24").wait_for()
    page.get_by_text("1 FAILED task in 1 group").wait_for()
    page.get_by_label("Task type").select_option("transcribe")
    page.get_by_role("heading", name="None of this type is FAILED").wait_for()
    assert page.url.endswith("#/errors?task_type=transcribe")
    page.get_by_role("link", name="Failures of all types").click()
    row.get_by_role("link", name="ConnectionError").click()
    page.locator(f"table.tasks a[title='{filled.tasks['failed']}']").wait_for()
    assert page.url.endswith("?state=FAILED&task_type=send_invoice&error_type=ConnectionError")


def test_by_keyboard(visit: Visit, filled: FilledService) -> None:
    opened = visit("/")
    page = opened.page
    page.get_by_role("heading", name="Overview").wait_for()
    press = page.keyboard.press
    press("g")
    press("e")
    groups(opened).wait_for()
    press("j")
    press("r")
    page.get_by_role("heading", name="Retry 1 task?").wait_for()
    press("Escape")
    page.locator("dialog").wait_for(state="detached")
    press("n")
    page.get_by_text(filled.tasks["failed"]).first.wait_for()
    page.go_back()
    groups(opened).wait_for()
    press("j")
    press("o")
    page.get_by_role("heading", name="Tasks").wait_for()


def test_all_of_a_group_are_retried_and_what_fails_again_comes_back(
    visit: Visit, http: httpx.Client, filled: FilledService
) -> None:
    opened = visit("/errors")
    page = opened.page
    groups(opened).get_by_role("button", name="Retry all of send_invoice").click()
    page.get_by_role("heading", name="Retry 1 task?").wait_for()
    dialog = page.get_by_role("dialog")
    assert "state FAILED, type send_invoice, error ConnectionError" in dialog.inner_text()
    dialog.get_by_role("button", name="Retry 1 task").click()
    page.get_by_text("1 task retried").wait_for()
    page.get_by_role("heading", name="No task is FAILED").wait_for()
    newest = http.get("/bulk").json()["operations"][0]
    assert (newest["changed"], newest["filter"]["error_type"]) == (1, "ConnectionError")
    handlers.GO.set()  # so that the only runner is free
    groups(opened).filter(has_text="ConnectionError").wait_for()
    assert page.evaluate("performance.getEntriesByType('navigation').length") == 1
