"""A task on the page: its unique key, expiry, callback, and other values for it.

The only runner of the service is busy, so no task of these tests begins.
"""

from collections.abc import Callable
from typing import Any

import httpx

from tests.web.browsing import Opened
from tests.web.filled_service import BIG, FilledService, submit
from tests.web.test_types_view import form, send, submitted, tagged, told

Visit = Callable[..., Opened]


def task_of(http: httpx.Client, task_id: str) -> dict[str, Any]:
    """A task as the API has it."""
    found: dict[str, Any] = http.get(f"/tasks/{task_id}").json()
    return found


def test_a_task_that_waits_gets_other_values(visit: Visit, http: httpx.Client) -> None:
    payload = {"file": "a.ogg", "id": BIG}
    task_id = submit(http, task_type="transcribe", payload=payload, delay_seconds=3600)
    opened = visit(f"/tasks/{task_id}")
    opened.expected = ("412", "422")
    page = opened.page
    page.get_by_role("button", name="Change…").wait_for()
    page.keyboard.press("e")
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Change it").click()
    dialog.get_by_text("nothing is different yet").wait_for()
    dialog.get_by_label("priority").fill("4000")
    dialog.get_by_label("tags").fill("urgent web")
    dialog.get_by_role("button", name="Change it").click()
    dialog.get_by_text("less than or equal to 1000").wait_for()
    assert set(told(opened)) == {"priority"}
    dialog.get_by_label("priority").fill("40")
    dialog.get_by_role("button", name="Change it").click()
    dialog.wait_for(state="detached")
    page.get_by_text("What people did").wait_for()
    after = task_of(http, task_id)
    assert (after["priority"], after["tags"], after["revision"]) == (40, ["urgent", "web"], 1)
    assert after["payload"] == payload
    # Another one changes it while the dialog is open.
    page.keyboard.press("e")
    dialog.get_by_label("max_attempts").fill("5")
    http.patch(f"/tasks/{task_id}", json={"priority": 1}, headers={"If-Match": '"1"'})
    page.locator(".facts dd").get_by_text("1", exact=True).wait_for()
    dialog.get_by_role("button", name="Change it").click()
    page.locator(".notice[data-bad=true]").wait_for()
    assert task_of(http, task_id)["priority"] == 1
    dialog.get_by_role("button", name="Leave it").click()
    # The payload, with an integer that JavaScript cannot hold.
    page.keyboard.press("e")
    text = dialog.get_by_label("payload").input_value()
    dialog.get_by_label("payload").fill(text.replace("a.ogg", "b.ogg"))
    dialog.get_by_label("delay_seconds").fill("0")
    dialog.get_by_role("button", name="Change it").click()
    dialog.wait_for(state="detached")
    after = task_of(http, task_id)
    assert after["payload"] == payload | {"file": "b.ogg"}
    assert after["run_at"] <= after["updated_at"]
    http.post(f"/tasks/{task_id}/cancel")
    page.get_by_role("button", name="Change…").wait_for(state="detached")


def test_a_task_is_retried_with_another_payload(
    visit: Visit, http: httpx.Client, filled: FilledService
) -> None:
    task_id = filled.tasks["failed"]
    opened = visit(f"/tasks/{task_id}")
    page = opened.page
    page.get_by_role("button", name="Retry with changes…").click()
    dialog = page.get_by_role("dialog")
    assert dialog.get_by_label("expires_at").count() == 0
    assert dialog.get_by_label("run_at").input_value() == ""
    dialog.get_by_label("payload").fill('{"customer": "c-41"')
    dialog.get_by_role("button", name="Retry it").click()
    dialog.get_by_text("this is not JSON").wait_for()
    dialog.get_by_label("payload").fill('{"customer": "c-41"}')
    dialog.get_by_role("button", name="Retry it").click()
    page.locator(".state[data-state=PENDING]").wait_for()
    after = task_of(http, task_id)
    assert after["payload"] == {"customer": "c-41"}
    assert after["tags"] == ["nightly"]
    http.post(f"/tasks/{task_id}/cancel")


def test_a_hidden_payload_is_not_offered(visit: Visit, http: httpx.Client) -> None:
    payload = {"user": "u", "token": "t-1", "card": "4000"}
    task_id = submit(http, task_type="charge_card", payload=payload, delay_seconds=3600)
    opened = visit(f"/tasks/{task_id}")
    opened.page.get_by_role("button", name="Change…").click()
    dialog = opened.page.get_by_role("dialog")
    dialog.get_by_text("a part of it is hidden").wait_for()
    assert dialog.get_by_label("payload").count() == 0
    dialog.get_by_label("priority").fill("3")
    dialog.get_by_role("button", name="Change it").click()
    dialog.wait_for(state="detached")
    assert task_of(http, task_id)["priority"] == 3
    http.post(f"/tasks/{task_id}/cancel")


def test_a_held_unique_key_is_told(visit: Visit, http: httpx.Client) -> None:
    opened = visit("/types/transcribe")
    opened.expected = ("409",)
    page = opened.page
    tagged(opened, "transcribe", "held")
    fields = form(opened, "transcribe")
    fields.get_by_label("delay_seconds").fill("3600")
    fields.get_by_label("expires_seconds").fill("7200")
    fields.get_by_label("callback_url").fill("https://hooks.example.com/end")
    fields.get_by_label("unique.key").fill("page 17")
    send(opened, "transcribe")
    page.get_by_text("Submitted transcribe").wait_for()
    [task] = submitted(http, "held")
    assert task["unique"]["key"] == "page 17"
    assert task["callback_url"] == "https://hooks.example.com/end"
    assert task["expires_at"] is not None
    fields.get_by_label("priority").fill("2")
    send(opened, "transcribe")
    page.get_by_text("No new task: an open task holds the unique key").wait_for()
    fields.get_by_text("not new: it holds the unique key").wait_for()
    assert task_of(http, task["task_id"])["priority"] == 0
    fields.get_by_label("unique.on_conflict").select_option(label="replace")
    send(opened, "transcribe")
    page.get_by_text("has its values now").wait_for()
    assert task_of(http, task["task_id"])["priority"] == 2
    fields.get_by_label("unique.on_conflict").select_option(label="reject")
    send(opened, "transcribe")
    page.get_by_text(f"held by the task {task['task_id']}").first.wait_for()
    assert len(submitted(http, "held")) == 1
    page.goto(page.url.partition("#")[0] + f"#/tasks/{task['task_id']}")
    page.get_by_text("page 17").wait_for()
    http.post(f"/tasks/{task['task_id']}/cancel")


def test_a_callback_and_its_parent_lead_to_each_other(visit: Visit, http: httpx.Client) -> None:
    url = "https://hooks.example.com/end"
    parent = submit(http, task_type="transcribe", payload={"file": "a.ogg"}, callback_url=url)
    ended = http.post(f"/tasks/{parent}/cancel").json()
    opened = visit(f"/tasks/{parent}")
    page = opened.page
    page.locator(f"a[title='{ended['callback_task_id']}']").click()
    page.get_by_role("heading", name="raytasks.callback").wait_for()
    page.locator(f".facts a[title='{parent}']").click()
    page.get_by_role("heading", name="transcribe").wait_for()
