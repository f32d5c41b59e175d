"""The view of limits, namespaces and pauses: what it shows, and what one sets there."""

from collections.abc import Callable

import httpx

from tests.web.browsing import Opened, until_count
from tests.web.filled_service import FilledService
from tests.web.test_operator_views import rows

Visit = Callable[..., Opened]


def test_a_limit_is_set_and_cleared(visit: Visit, http: httpx.Client) -> None:
    opened = visit("/limits")
    opened.expected = ("422",)  # the browser tells of what is refused, too
    page = opened.page
    row = rows(opened, "Limits").filter(has_text="smtp")
    declared = "20 running; 500 in 60 s, 8 at once"
    assert row.inner_text().count(declared) == 2
    page.get_by_role("button", name="Set smtp").click()
    page.get_by_label("Run at a time").fill("0")
    page.get_by_label("Begin at most").fill("")
    page.get_by_label("in how many seconds").fill("")
    page.get_by_label("of them at once").fill("")
    until_count(page.get_by_role("dialog").locator("input:invalid"), 1)
    page.get_by_label("Run at a time").fill("3")
    page.get_by_role("dialog").get_by_role("button", name="Set").click()
    row.get_by_text("3 running", exact=True).wait_for()
    [limit] = http.get("/limits").json()["limits"]
    assert (limit["in_force"]["running"], limit["in_force"]["rate"]) == (3, None)
    assert "a" in row.locator("td").nth(3).inner_text()
    page.get_by_role("button", name="Set smtp").click()
    page.get_by_label("Run at a time").fill("")
    page.get_by_role("dialog").get_by_role("button", name="Set").click()
    page.get_by_text("give running, rate, or both").wait_for()  # the dialog stays
    page.get_by_role("dialog").get_by_role("button", name="Leave it").click()
    page.get_by_role("button", name="Clear smtp").click()
    page.get_by_role("button", name="Clear smtp").wait_for(state="detached")
    assert http.get("/limits").json()["limits"][0]["override"] is None


def test_what_one_types_stays_while_the_view_looks_again(visit: Visit) -> None:
    opened = visit("/limits")
    page = opened.page
    page.get_by_role("button", name="Set smtp").click()
    field = page.get_by_label("Run at a time")
    field.fill("7")
    for _ in range(2):  # what the first brings has been drawn when the second comes
        with page.expect_response(lambda answer: answer.url.endswith("/limits")):
            pass
    assert field.input_value() == "7"
    page.get_by_role("dialog").get_by_role("button", name="Leave it").click()


def test_what_is_paused_is_resumed(visit: Visit, http: httpx.Client) -> None:
    opened = visit("/limits")
    page = opened.page
    page.get_by_text("Nothing is paused.").wait_for()
    page.get_by_role("button", name="Pause the whole service…").click()
    page.get_by_label("For how many minutes").fill("30")
    page.get_by_role("button", name="Pause", exact=True).click()
    rows(opened, "Pauses").filter(has_text="the whole service").wait_for()
    [pause] = http.get("/pauses").json()["pauses"]
    assert pause["until"] is not None
    assert page.get_by_role("button", name="Pause the whole service…").count() == 0
    page.get_by_role("button", name="Resume the whole service").click()
    page.get_by_text("Nothing is paused.").wait_for()
    assert http.get("/pauses").json()["pauses"] == []


def test_a_namespace_gets_a_share_and_a_pause(visit: Visit, http: httpx.Client) -> None:
    opened = visit("/limits")
    page = opened.page
    row = rows(opened, "Namespaces").filter(has_text="team-b")
    page.get_by_role("button", name="Set team-b").click()
    page.get_by_label("Weight").fill("2.5")
    page.get_by_label("How many tasks may wait").fill("1000")
    page.get_by_role("dialog").get_by_role("button", name="Set").click()
    row.get_by_text("2.5").wait_for()
    row.get_by_text("1,000").wait_for()
    found = {item["name"]: item for item in http.get("/namespaces").json()["namespaces"]}
    assert (found["team-b"]["weight"], found["team-b"]["max_backlog"]) == (2.5, 1000)
    page.get_by_role("button", name="Clear team-b").click()
    page.get_by_role("button", name="Clear team-b").wait_for(state="detached")
    page.get_by_role("button", name="Pause team-b").click()
    page.get_by_role("button", name="Pause", exact=True).click()
    page.get_by_role("button", name="Resume the namespace team-b").click()
    page.get_by_text("Nothing is paused.").wait_for()


def test_a_type_is_paused_in_the_list_of_types(
    visit: Visit, http: httpx.Client, filled: FilledService
) -> None:
    opened = visit("/types")
    page = opened.page
    page.get_by_role("button", name="Pause send_invoice").click()
    page.get_by_role("button", name="Pause", exact=True).click()
    page.get_by_role("button", name="Resume send_invoice").wait_for()
    [pause] = http.get("/pauses").json()["pauses"]
    assert (pause["task_type"], pause["namespace"]) == ("send_invoice", None)
    page.get_by_role("button", name="Resume send_invoice").click()
    page.get_by_role("button", name="Pause send_invoice").wait_for()
    assert not filled.service.tracker.ticker.steering.pauses
    opened = visit("/types", key="r")
    opened.page.get_by_role("link", name="send_invoice").wait_for()
    assert opened.page.get_by_role("button", name="Pause send_invoice").count() == 0
