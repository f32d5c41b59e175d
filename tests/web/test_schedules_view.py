"""The views of schedules: what they show, and what one does there."""

from collections.abc import Callable
from typing import Any

import httpx

from tests.web.browsing import Opened, until_count
from tests.web.filled_service import FilledService
from tests.web.test_operator_views import rows

Visit = Callable[..., Opened]

BIG = "12345678901234567890123"


def shown(http: httpx.Client, name: str) -> Any:
    """The schedule of this name, or None."""
    found = http.get("/schedules", params={"name": name}).json()["schedules"]
    return found[0] if found else None


def agree(opened: Opened, name: str) -> None:
    """Click on a button of the question that is asked."""
    dialog = opened.page.get_by_role("dialog")
    dialog.get_by_role("button", name=name, exact=True).click()
    dialog.wait_for(state="detached")


def test_the_list_and_one_of_them(visit: Visit, http: httpx.Client, filled: FilledService) -> None:
    opened = visit("/schedules")
    row = rows(opened, "Schedules").filter(has_text="monthly-invoice")
    row.locator(f"a[title='{filled.tasks['scheduled']}']").wait_for()
    assert "0 6 1 * * in Europe/Berlin" in row.inner_text()
    assert "every 7 d" in rows(opened, "Schedules").filter(has_text="weekly-talk").inner_text()
    assert "PAUSED" in rows(opened, "Schedules").filter(has_text="yearly-invoice").inner_text()
    row.get_by_role("link", name="monthly-invoice").click()
    opened.page.get_by_role("heading", name="monthly-invoice").wait_for()
    times = opened.page.locator("main ol li > time")
    times.first.wait_for()
    told = [time.get_attribute("datetime") for time in times.all()]
    assert told == shown(http, "monthly-invoice")["next_times"]
    assert '"customer": "c-berlin"' in opened.page.locator("main pre").inner_text()
    opened.page.get_by_role("link", name=filled.tasks["scheduled"][-12:]).click()
    opened.page.get_by_role("link", name="monthly-invoice").click()  # and back
    opened.page.get_by_role("heading", name="monthly-invoice").wait_for()


def test_it_is_paused_resumed_and_run_by_the_keyboard(visit: Visit, http: httpx.Client) -> None:
    opened = visit("/overview")
    page = opened.page
    opened.settle()
    page.keyboard.press("g")
    page.keyboard.press("s")
    rows(opened, "Schedules").first.wait_for()
    page.keyboard.press("j")
    page.keyboard.press("o")
    page.get_by_role("heading", name="monthly-invoice").wait_for()
    page.get_by_role("button", name="Pause…").press("Enter")
    page.get_by_role("dialog").get_by_role("button", name="Pause").press("Enter")
    page.get_by_text("Times that pass meanwhile get no task.").wait_for()
    assert shown(http, "monthly-invoice")["next_times"] == []
    page.get_by_role("button", name="Resume").press("Enter")
    page.locator("main ol li > time").first.wait_for()
    assert shown(http, "monthly-invoice")["paused"] is None
    before = shown(http, "monthly-invoice")["next_times"]
    page.keyboard.press("r")
    page.get_by_role("dialog").get_by_role("button", name="Run it now").press("Enter")
    page.locator(".state[data-state=PENDING]").wait_for()  # the only runner is busy
    [newest, *_] = http.get("/tasks/", params={"task_type": "send_invoice"}).json()["tasks"]
    assert newest["task_id"] in page.url
    assert (newest["schedule"], newest["payload"]["customer"]) == ("monthly-invoice", "c-berlin")
    assert shown(http, "monthly-invoice")["next_times"] == before


def test_it_is_set_and_returns_to_the_code(visit: Visit, http: httpx.Client) -> None:
    opened = visit("/schedules/monthly-invoice")
    opened.expected = ("422",)
    page = opened.page
    page.get_by_role("link", name="Set…").click()
    form = page.get_by_role("form", name="Schedule")
    form.get_by_label("cron").fill("0 6 1 * MON-TUES")
    form.get_by_role("button", name="Set it").click()
    form.locator("[name=cron][aria-invalid=true]").wait_for()
    form.get_by_label("cron").fill("0 7 1 * *")
    form.get_by_label("tags").fill("invoice monthly")
    form.get_by_label("payload").fill('{"customer": "c-north"')
    form.get_by_role("button", name="Set it").click()
    form.locator("[name=payload][aria-invalid=true]").wait_for()
    assert shown(http, "monthly-invoice")["override"] is None
    form.get_by_label("payload").fill('{"customer": "c-north"}')
    form.get_by_role("button", name="Set it").click()
    page.get_by_text("0 7 1 * * in Europe/Berlin").first.wait_for()
    override = shown(http, "monthly-invoice")["override"]
    assert (override["by"], override["tags"]) == ("a", ["invoice", "monthly"])
    assert override["payload"]["customer"] == "c-north"
    assert override["timezone"] == "Europe/Berlin"
    page.get_by_role("button", name="Return to the code…").click()
    agree(opened, "Return to it")
    page.get_by_role("button", name="Return to the code…").wait_for(state="detached")
    assert shown(http, "monthly-invoice")["override"] is None


def test_a_new_one_is_set_changed_exactly_and_ended(visit: Visit, http: httpx.Client) -> None:
    opened = visit("/schedules?namespace=default")
    page = opened.page
    page.get_by_role("link", name="New schedule").click()
    form = page.get_by_role("form", name="Schedule")
    form.get_by_label("task_type").select_option("transcribe")
    form.get_by_role("button", name="Set it").click()
    form.get_by_text("give it a name").wait_for()
    form.get_by_label("name", exact=False).first.fill("by-hand")
    form.get_by_label("every_seconds").fill("90061")
    form.get_by_label("payload").fill(f'{{"id": {BIG}}}')
    form.get_by_label("overlap").select_option("skip")
    form.get_by_role("button", name="Set it").click()
    page.get_by_text("every 1 d 1 h 1 min 1 s").first.wait_for()
    assert BIG in page.locator("main pre").inner_text()
    page.get_by_role("link", name="Set…").click()
    form.get_by_label("priority").fill("7")
    form.get_by_role("button", name="Set it").click()
    page.get_by_role("heading", name="by-hand", exact=True).wait_for()
    spec = shown(http, "by-hand")["in_force"]
    assert (spec["priority"], spec["overlap"]) == (7, "skip")
    assert BIG in http.get("/schedules", params={"name": "by-hand"}).text
    page.get_by_role("button", name="End…").click()
    agree(opened, "End the schedule")
    page.get_by_role("heading", name="Schedules").wait_for()
    assert shown(http, "by-hand") is None


def test_a_long_list_has_pages(visit: Visit, http: httpx.Client) -> None:
    body = {"task_type": "transcribe", "every_seconds": 10**7, "payload": {}}
    for number in range(51):
        http.put(f"/schedules/s{number:02}", params={"namespace": "many"}, json=body)
    opened = visit("/schedules?namespace=many")
    opened.page.get_by_role("link", name="More →").click()
    rows(opened, "Schedules").get_by_role("link", name="s50").wait_for()
    until_count(rows(opened, "Schedules"), 1)
    opened.page.get_by_role("link", name="← First").click()
    rows(opened, "Schedules").get_by_role("link", name="s49").wait_for()


def test_one_that_stands_still_says_why(visit: Visit) -> None:
    """The list has it in the place of the next time, and its own view as well."""
    why = "timezone: there is no time zone 'Europe/Berlin'"

    def alter(route: Any) -> None:
        found = route.fetch()
        document = found.json()
        for schedule in document["schedules"]:
            if schedule["name"] == "monthly-invoice":
                schedule |= {"error": why, "next_times": []}
        route.fulfill(response=found, json=document)

    opened = visit("/overview")
    page = opened.page
    opened.settle()
    page.route("**/schedules?*", alter)
    page.keyboard.press("g")
    page.keyboard.press("s")
    row = rows(opened, "Schedules").filter(has_text="monthly-invoice")
    row.get_by_text(why).wait_for()
    assert "STANDS STILL" in row.inner_text()
    row.get_by_role("link", name="monthly-invoice").click()
    page.get_by_text(f"None can be computed: {why}.").wait_for()
    page.get_by_text("STANDS STILL").wait_for()
    page.unroute_all(behavior="wait")
