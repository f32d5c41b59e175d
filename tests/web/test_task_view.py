"""The view of one task: what it shows, live, and what can be done with it."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx

from tests.web.browsing import Opened
from tests.web.filled_service import BIG, FilledService, submit

Visit = Callable[..., Opened]


def test_a_failed_task_shows_its_attempts(visit: Visit, filled: FilledService) -> None:
    opened = visit(f"/tasks/{filled.tasks['failed']}")
    page = opened.page
    page.locator(".attempts > li").nth(1).wait_for()
    newest = page.locator(".attempts > li").first
    assert "Attempt 2" in newest.inner_text()
    assert "ConnectionError: mail.invalid does not answer" in newest.inner_text()
    assert "pid" in newest.inner_text()
    newest.locator("summary").click()
    newest.get_by_text(re.compile(r"File .*handlers\.py")).wait_for()
    page.locator(".log div").nth(1).wait_for()
    assert page.locator(".log h3").all_inner_texts() == ["Attempt 1", "Attempt 2"]
    assert "rendering the invoice" in page.locator(".log div").last.inner_text()


def test_values_are_shown_as_received(visit: Visit, filled: FilledService) -> None:
    opened = visit(f"/tasks/{filled.tasks['done']}")
    payload = opened.page.get_by_role("region", name="payload")
    payload.wait_for()
    assert f'"id": {BIG}' in payload.inner_text()
    assert f'"id": {BIG}' in opened.page.get_by_role("region", name="result").inner_text()
    with filled.client("a") as client:
        assert (
            json.loads(payload.inner_text())
            == client.get(f"/tasks/{filled.tasks['done']}").json()["payload"]
        )


def test_why_it_waits(visit: Visit, filled: FilledService) -> None:
    opened = visit(f"/tasks/{filled.tasks['later']}")
    opened.page.locator(".waiting").get_by_text("not_due").wait_for()
    assert re.search(r"in (59 min|1 h)", opened.page.locator(".waiting").inner_text())


def test_hidden_fields_stay_hidden(visit: Visit, filled: FilledService) -> None:
    place = f"/tasks/{filled.tasks['secret']}"
    reads = visit(place, key="r")
    reads.page.get_by_text("Hidden from your key").wait_for()
    for hidden in ("/token", "/card"):
        reads.page.locator("code", has_text=hidden).wait_for()
    assert reads.page.get_by_role("button", name="Copy as curl").count() == 0
    links = reads.page.locator("main").get_by_role("link", name=re.compile("png|csv"))
    links.nth(1).wait_for()
    hrefs = links.evaluate_all("all => all.map(one => one.href)")
    assert [httpx.get(href).status_code for href in hrefs] == [200, 200]


def test_a_running_task_is_live(visit: Visit, filled: FilledService) -> None:
    opened = visit(f"/tasks/{filled.tasks['runs']}")
    page = opened.page
    page.get_by_text("2 of 5 shards").wait_for()
    page.get_by_text("40 %").wait_for()
    page.locator(".log [data-level=WARNING]").wait_for()
    page.get_by_text("last sign of life").wait_for()
    # The stack needs a cluster; where it cannot be had, the reason is shown.
    opened.expected = ("409",)
    page.get_by_role("button", name="Stack").click()
    page.locator("[role=alert] .notice, dialog[open]").first.wait_for()


def test_retry_and_cancel_are_seen_at_once(visit: Visit, http: httpx.Client) -> None:
    task_id = submit(http, task_type="noop", delay_seconds=3600)
    opened = visit(f"/tasks/{task_id}")
    page = opened.page
    page.get_by_role("button", name="Cancel…").click()
    page.get_by_label("Why (optional)").fill("by mistake")
    page.get_by_role("button", name="Cancel the task").click()
    page.locator(".state[data-state=CANCELLED]").wait_for()
    page.get_by_text("by a: by mistake").wait_for()
    page.get_by_role("button", name="Retry", exact=True).click()
    page.locator(".state[data-state=PENDING]").wait_for()
    page.get_by_role("heading", name="What people did").wait_for()
    # After its end, the page follows it again: others act on it, too.
    http.post(f"/tasks/{task_id}/cancel")
    page.locator(".state[data-state=CANCELLED]").wait_for()


def test_a_task_that_has_ended_is_deleted(visit: Visit, http: httpx.Client) -> None:
    task_id = submit(http, task_type="noop", delay_seconds=3600)
    http.post(f"/tasks/{task_id}/cancel")
    opened = visit(f"/tasks/{task_id}")
    page = opened.page
    page.get_by_role("button", name="Delete…").click()
    page.get_by_role("button", name="Delete the task").click()
    page.get_by_text("Deleted").wait_for()
    page.wait_for_url(re.compile("/tasks$"))
    assert http.get(f"/tasks/{task_id}").status_code == 404


def test_it_is_copied_as_a_command(
    visit: Visit, filled: FilledService, http: httpx.Client, tmp_path: Path
) -> None:
    opened = visit(
        f"/tasks/{filled.tasks['done']}", permissions=["clipboard-read", "clipboard-write"]
    )
    page = opened.page
    page.get_by_role("button", name="Copy as curl").click()
    page.get_by_text("Command copied").wait_for()
    command = page.evaluate("navigator.clipboard.readText()")
    assert str(BIG) in command
    done = subprocess.run(
        ["sh", "-c", f"{command.replace('curl', 'curl --silent --fail', 1)}"],
        capture_output=True, text=True, check=True, timeout=20,
        env={"RAYTASKS_API_KEY": http.headers["Authorization"].split()[1], "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    again, before = json.loads(done.stdout), http.get(f"/tasks/{filled.tasks['done']}").json()
    for name in ("task_type", "payload", "priority", "tags", "max_attempts"):
        assert again[name] == before[name]


def test_copying_works_without_a_secure_context(visit: Visit, filled: FilledService) -> None:
    opened = visit(f"/tasks/{filled.tasks['done']}")
    page = opened.page
    page.get_by_role("button", name="Copy task id").wait_for()
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.evaluate("addEventListener('copy', () => { window.copied = getSelection().toString(); })")
    page.get_by_role("button", name="Copy task id").click()
    page.get_by_text("task id copied").wait_for()
    assert page.evaluate("window.copied") == filled.tasks["done"]
