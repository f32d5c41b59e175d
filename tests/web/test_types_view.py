"""The views of task types, and the form that is made from a schema."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.web.browsing import Opened, until_count, until_focused
from tests.web.filled_service import FilledService

Visit = Callable[..., Opened]

BIG = "12345678901234567890123"


def form(opened: Opened, name: str) -> Any:
    """The form of a type."""
    return opened.page.get_by_role("form", name=f"Submit {name}")


def submitted(http: httpx.Client, tag: str) -> list[dict[str, Any]]:
    """The tasks with a tag."""
    found: list[dict[str, Any]] = http.get("/tasks/", params={"tag": tag}).json()["tasks"]
    return found


def send(opened: Opened, name: str, *, clicks: int = 1) -> None:
    """Click on the button of a type's form."""
    form(opened, name).get_by_role("button", name="Submit").click(click_count=clicks)


def tagged(opened: Opened, name: str, tag: str) -> None:
    """Enter a tag."""
    form(opened, name).get_by_text("Tags, priority, delay").click()
    form(opened, name).get_by_label("tags").fill(tag)


def told(opened: Opened) -> dict[str, str]:
    """The errors at fields, by the names of these."""
    text = "field => document.getElementById(field.id + '-problem').textContent"
    fields = opened.page.locator("[aria-invalid=true]").all()
    return {str(field.get_attribute("name")): field.evaluate(text) for field in fields}


def test_a_type_is_described_with_its_numbers(visit: Visit, http: httpx.Client) -> None:
    opened = visit("/types")
    page = opened.page
    rows = page.get_by_role("region", name="Task types").locator("tbody tr")
    rows.first.wait_for()
    until_count(rows, len(http.get("/task-types").json()["task_types"]))
    row = rows.filter(has_text="embed_documents")
    assert row.locator("td.num").all_inner_texts()[:4] == ["3", "none", "0", "1"]
    rows.get_by_role("link", name="ai_summarization").click()
    page.get_by_role("heading", name="ai_summarization").first.wait_for()
    page.get_by_text("loaded instance, 1 to 2 actors").wait_for()
    page.get_by_text("1 s at first, 2 times as long each time, at most 5 min (± 10 %)").wait_for()
    page.get_by_role("region", name="schema").get_by_text('"maxLength": 5000000').wait_for()
    page.get_by_role("link", name="Over time").click()
    page.get_by_role("heading", name="Overview").wait_for()
    assert page.url.endswith("#/overview?task_type=ai_summarization")
    opened.go("/types/no_such_type")
    page.get_by_text("This version has no handler for").wait_for()


def test_errors_of_the_service_stand_at_their_fields(visit: Visit, http: httpx.Client) -> None:
    opened = visit("/types/scripted")
    opened.expected = ("422",)
    shown = form(opened, "scripted")
    shown.get_by_label("seconds", exact=True).fill("-1")
    shown.get_by_label("fail_first").fill("many")
    shown.get_by_label("value").fill('{"n": ' + BIG)
    send(opened, "scripted")
    shown.get_by_text("this is not JSON").wait_for()
    until_focused(opened.page, "name", "value")
    shown.get_by_label("value").fill('{"n": ' + BIG + "}")
    tagged(opened, "scripted", "from-form and.more")
    shown.get_by_label("priority").fill("5000")
    shown.get_by_text("Tags, priority, delay").click()
    send(opened, "scripted")
    shown.get_by_label("priority").wait_for()  # it is opened for its error
    assert told(opened) == {"priority": "Input should be less than or equal to 1000"}
    shown.get_by_label("priority").fill("7")
    send(opened, "scripted")
    shown.get_by_text("unable to parse string as an integer").wait_for()
    assert told(opened).keys() == {"seconds", "fail_first"}
    until_focused(opened.page, "name", "seconds")
    for name, text in (("seconds", "0.5"), ("fail_first", "")):
        shown.get_by_label(name, exact=True).fill(text)
    shown.get_by_label("step").select_option(label="sleep")
    send(opened, "scripted")
    shown.get_by_role("list", name="Submitted here").get_by_text("PENDING").wait_for()
    [task] = submitted(http, "from-form")
    assert (task["priority"], task["tags"]) == (7, ["from-form", "and.more"])
    detail = http.get(f"/tasks/{task['task_id']}").text
    assert BIG in detail
    assert json.loads(detail)["payload"] == {
        "step": "sleep",
        "seconds": 0.5,
        "value": {"n": int(BIG)},
    }
    http.post(f"/tasks/{task['task_id']}/cancel")
    shown.locator(".state", has_text="CANCELLED").wait_for()


def test_a_double_click_submits_one(visit: Visit, http: httpx.Client) -> None:
    opened = visit("/types/noop")
    tagged(opened, "noop", "twice")
    send(opened, "noop", clicks=2)
    form(opened, "noop").get_by_role("listitem").wait_for()
    with opened.page.expect_response("**/tasks/?*") as again:
        send(opened, "noop")
    assert again.value.status == 200
    assert len(submitted(http, "twice")) == 1
    until_count(form(opened, "noop").get_by_role("listitem"), 1)
    opened.page.wait_for_timeout(2100)  # from then on it is meant
    send(opened, "noop")
    form(opened, "noop").get_by_role("listitem").nth(1).wait_for()
    assert len(submitted(http, "twice")) == 2


def test_a_lost_answer_makes_no_second_task(visit: Visit, http: httpx.Client) -> None:
    opened = visit("/types/noop")
    opened.expected = ("ERR_", "net::")
    tagged(opened, "noop", "lost")

    def lose(route: Any) -> None:
        route.fetch()
        route.abort()

    opened.page.route("**/tasks/?*", lose)
    send(opened, "noop")
    opened.page.get_by_role("alert").get_by_text("the service does not answer").wait_for()
    [task] = submitted(http, "lost")
    opened.page.unroute_all()
    send(opened, "noop")
    opened.page.locator(f"a[title='{task['task_id']}']").wait_for()
    assert len(submitted(http, "lost")) == 1


@pytest.mark.parametrize("text", ['{"step": "sleep", "other": [1, 2]}', '{"seconds": 1.50}'])
def test_the_form_can_be_left_for_json_and_come_back(visit: Visit, text: str) -> None:
    opened = visit("/types/scripted")
    shown = form(opened, "scripted")
    shown.get_by_role("button", name="As JSON").click()
    shown.get_by_label("payload").fill(text)
    shown.get_by_role("button", name="As a form").click()
    shown.get_by_label("step").wait_for()
    shown.get_by_role("button", name="As JSON").click()
    again = shown.get_by_label("payload").input_value()
    assert "".join(again.split()) == "".join(text.split())
    shown.get_by_label("payload").fill("[]")
    shown.get_by_role("button", name="As a form").click()
    shown.get_by_text("a form needs a JSON object").wait_for()


def test_who_may_not_submit_sees_no_form(visit: Visit, filled: FilledService) -> None:
    opened = visit("/types/scripted", key="r")
    opened.page.get_by_role("heading", name="How it is run").wait_for()
    assert opened.page.locator("main form").count() == 0
