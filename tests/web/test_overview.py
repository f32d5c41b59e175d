"""The overview: figures as the API tells them, how they were, and what is wrong."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from raytasks.model.tasks import StoreUnavailable
from tests.web.browsing import Opened, until_count
from tests.web.filled_service import FilledService, submit
from tests.web.test_connections import AWAY

Visit = Callable[..., Opened]


@pytest.fixture
def waiting(http: httpx.Client) -> Iterator[Callable[..., str]]:
    """Submit a task, and cancel it in the end."""
    made: list[str] = []

    def submit_one(**request: Any) -> str:
        made.append(submit(http, **request))
        return made[-1]

    yield submit_one
    for task_id in made:
        http.post(f"/tasks/{task_id}/cancel")


def tile(opened: Opened, state: str) -> Any:
    """The number of tasks in a state."""
    return opened.page.locator(f".tile[data-state={state}] .num")


def column(opened: Opened, title: str, name: str) -> list[str]:
    """Open the table of a chart, and return a column of it, the oldest first."""
    chart = opened.page.locator("figure").filter(has=opened.page.get_by_role("heading", name=title))
    if chart.get_by_role("table").count() == 0:
        chart.get_by_text("As a table").click()
        chart.get_by_role("table").wait_for()
    heads = chart.get_by_role("columnheader").all_inner_texts()
    cells: list[str] = chart.locator(
        f"tbody td:nth-child({heads.index(name) + 1})"
    ).all_inner_texts()
    return cells[::-1]


def test_the_figures_are_those_of_the_api(
    visit: Visit, http: httpx.Client, filled: FilledService
) -> None:
    opened = visit("/overview")
    page = opened.page
    opened.settle()
    stats = http.get("/stats").json()
    for state, count in stats["counts"]["by_state"].items():
        assert tile(opened, state).inner_text() == f"{count:,}"
    row = page.get_by_role("region", name="Tasks by type").locator("tr", has_text="send_invoice")
    hour = stats["by_type"]["send_invoice"]["hour"]
    assert row.locator("td").nth(7).inner_text() == f"{hour['failure_rate'] * 100:.1f} %"
    assert row.locator("td").nth(5).inner_text() == "1"
    row.get_by_role("link", name="send_invoice").click()
    page.get_by_role("region", name="Tasks by type").wait_for(state="detached")
    assert (tile(opened, "FAILED").inner_text(), tile(opened, "COMPLETED").inner_text()) == (
        "1",
        "1",
    )
    assert page.locator("dt", has_text="Completed").locator("+ dd").inner_text() == "1"
    tile(opened, "FAILED").click()
    page.locator(f"a[title='{filled.tasks['failed']}']").wait_for()
    assert page.url.endswith("#/tasks?state=FAILED&task_type=send_invoice")


def test_how_it_was_over_the_last_hour_and_day(visit: Visit, http: httpx.Client) -> None:
    opened = visit("/overview")
    opened.settle()
    series_of = "/stats/series?seconds=86400&task_type=scripted"
    while http.get(series_of).json()["submitted"][-1] == 0:
        opened.page.wait_for_timeout(100)  # the statistics are written every five seconds
    with opened.page.expect_response(re.compile("seconds=86400")) as day:
        opened.page.get_by_role("button", name="Last day").click()
    series = day.value.json()
    page = opened.page
    page.get_by_role("heading", name="The last day").wait_for()
    assert "over=day" in page.url
    until_count(page.locator(".uplot canvas"), 4)
    shown = column(opened, "Backlog", "scripted")
    assert (len(shown), shown[-1]) == (144, str(series["backlog_by_type"]["scripted"][-1]))
    assert column(opened, "Throughput", "submitted")[-1] == "–"  # that step still goes on
    chart = page.locator("figure", has_text="Backlog")
    newest = chart.locator(".legend b").first.inner_text()
    chart.locator(".u-over").hover(position={"x": 5, "y": 5})
    chart.get_by_text(re.compile("^at ")).wait_for()
    assert chart.locator(".legend b").first.inner_text() == "0"
    page.mouse.move(0, 0)
    chart.get_by_text(re.compile("^at ")).wait_for(state="detached")
    assert chart.locator(".legend b").first.inner_text() == newest


def test_the_figures_move_by_themselves(visit: Visit, waiting: Callable[..., str]) -> None:
    opened = visit("/overview")
    opened.settle()
    opened.page.locator(".connection[data-state=live]").wait_for()
    before = int(tile(opened, "PENDING").inner_text())
    waiting(delay_seconds=3600)
    waiting(delay_seconds=3600)
    opened.page.locator(".tile[data-state=PENDING]", has_text=f"{before + 2}").wait_for()
    assert opened.page.evaluate("performance.getEntriesByType('navigation').length") == 1


def test_what_is_wrong_is_told_with_its_fix(
    visit: Visit, filled: FilledService, http: httpx.Client, waiting: Callable[..., str]
) -> None:
    opened = visit("/overview", bypass_csp=True)
    opened.page.get_by_role("heading", name="Nothing is wrong").wait_for()
    observer = filled.service.tracker.observer
    observer.wait_seconds, usual = 0.001, observer.wait_seconds
    waiting()  # the only runner is busy
    try:
        opened.page.get_by_role("heading", name="What is wrong now").wait_for()
        reason = opened.page.locator(".health li", has_text="tasks_wait").inner_text()
        [told] = http.get("/health").json()["reasons"]
        assert told["fix"] in reason
        assert "pool shared has waited for" in reason
        assert opened.violations() == []
    finally:
        observer.wait_seconds = usual
    opened.page.get_by_role("heading", name="Nothing is wrong").wait_for()


def test_it_says_why_no_task_is_accepted(visit: Visit, filled: FilledService) -> None:
    opened = visit("/overview")
    opened.settle()
    opened.expected = ("503",)
    filled.service.backend.failure = StoreUnavailable("away")
    try:
        opened.page.get_by_text("refuses tasks").wait_for()
        opened.page.get_by_text("the tracker does not answer").wait_for()
        opened.page.reload()
        opened.page.get_by_text("refuses tasks").wait_for()
        opened.page.get_by_role("heading", name="Disconnected").wait_for()
    finally:
        filled.service.backend.failure = None
    tile(opened, "PENDING").wait_for()


def test_in_an_outage_nothing_is_said_to_be_right(visit: Visit, filled: FilledService) -> None:
    opened = visit("/overview")
    opened.expected = AWAY
    health = opened.page.locator(".health")
    health.get_by_text("Nothing is wrong").wait_for()
    filled.proxy.down = True
    try:
        opened.page.locator(".health[data-tone=bad]").get_by_text("no answer").wait_for()
        assert health.get_by_text("Nothing is wrong").count() == 0
        assert health.get_by_text("ok", exact=True).count() == 0
    finally:
        filled.proxy.down = False
    opened.page.locator(".health[data-tone=good]").get_by_text("Nothing is wrong").wait_for()
