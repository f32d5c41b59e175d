"""The views of those who operate the service: runners, bulk operations, audit, log."""

import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest

from raytasks.model.acts import ActionName, NewAudit
from tests.web import handlers
from tests.web.browsing import Opened, until_count
from tests.web.filled_service import FilledService, submit

Visit = Callable[..., Opened]


def query_of(opened: Opened) -> dict[str, list[str]]:
    """The query values of the place that is shown."""
    return parse_qs(opened.page.url.partition("?")[2])


def rows(opened: Opened, region: str) -> Any:
    """The rows of a table by the name of its region."""
    return opened.page.get_by_role("region", name=region, exact=True).locator("tbody tr")


class TestRunners:
    def test_what_runs_where_and_for_how_long(self, visit: Visit, filled: FilledService) -> None:
        opened = visit("/runners")
        page = opened.page
        gpu = rows(opened, "Pools").filter(has_text="gpu")
        gpu.get_by_text("3 failed starts in a row: ModuleNotFoundError").wait_for()
        runner = rows(opened, "Runners").filter(has_text="machine")
        runner.locator(f"a[title='{filled.tasks['runs']}']").wait_for()
        assert "no time limit" in runner.inner_text()
        machine = rows(opened, "Nodes").filter(has_text="head")
        assert "3.5 of 8" in machine.inner_text()
        page.get_by_text("is adding nodes: 2 of type gpu").wait_for()
        assert "? of 16" in rows(opened, "Nodes").nth(1).inner_text()
        page.get_by_text("in force").wait_for()
        newest, in_force, first = rows(opened, "Versions of the handlers").all_inner_texts()
        assert "No module named 'torch'" in newest
        assert "added: embed; gone: train" in newest
        assert "added: train; changed: report" in in_force
        assert "added" not in first
        runner.get_by_role("button", name="Stack").click()
        page.get_by_role("dialog").get_by_text("embed_documents").first.wait_for()
        page.keyboard.press("Escape")
        page.get_by_role("dialog").wait_for(state="detached")

    def test_the_sizes_of_a_pool_are_set_and_cleared(
        self, visit: Visit, http: httpx.Client
    ) -> None:
        opened = visit("/runners")
        opened.expected = ("422",)
        page = opened.page
        row = rows(opened, "Pools").filter(has_text="shared")
        row.get_by_text("1 – 4").wait_for()
        page.get_by_role("button", name="Set shared").click()
        page.get_by_label("The fewest runners").fill("")
        page.get_by_label("The most runners").fill("9")
        page.get_by_role("dialog").get_by_role("button", name="Set").click()
        page.get_by_text("valid integer").wait_for()  # the dialog stays
        page.get_by_label("The fewest runners").fill("0")
        page.get_by_role("dialog").get_by_role("button", name="Set").click()
        row.get_by_text("0 – 9").wait_for()
        row.get_by_text("declared 1 – 4").wait_for()
        pools = {pool["name"]: pool for pool in http.get("/pools").json()["pools"]}
        assert pools["shared"]["override"]["runners"] == [0, 9]
        page.get_by_role("button", name="Clear shared").click()
        page.get_by_role("button", name="Clear shared").wait_for(state="detached")
        row.get_by_text("1 – 4").wait_for()
        assert page.get_by_role("button", name="Set remote").count() == 0

    def test_a_filter_is_in_the_url(self, visit: Visit) -> None:
        opened = visit("/runners")
        rows(opened, "Pools").get_by_role("link", name="gpu").click()
        rows(opened, "Runners").filter(has_text="runner.gpu.1").wait_for()
        until_count(rows(opened, "Runners"), 1)
        assert query_of(opened) == {"pool": ["gpu"]}
        opened.page.locator("select[name=node]").select_option("machine")
        opened.page.get_by_role("heading", name="No runner").wait_for()
        opened.page.get_by_role("button", name="Show all runners").click()
        rows(opened, "Runners").nth(1).wait_for()

    def test_it_is_live_and_tells_the_time_that_is_left(
        self, visit: Visit, filled: FilledService, http: httpx.Client
    ) -> None:
        opened = visit("/runners")
        runner = rows(opened, "Runners").filter(has_text="machine")
        runner.locator(f"a[title='{filled.tasks['runs']}']").wait_for()
        limited = submit(
            http, task_type="embed_documents", payload={"shards": 5}, timeout_seconds=600
        )
        http.post(f"/tasks/{filled.tasks['runs']}/cancel")  # the runner is free for the next one
        runner.locator(f"a[title='{limited}']").wait_for()
        runner.get_by_text(re.compile(r"9 min \d+ s left")).wait_for()
        http.post(f"/tasks/{limited}/cancel")
        filled.tasks["runs"] = submit(http, task_type="embed_documents", payload={"shards": 5})
        runner.locator(f"a[title='{filled.tasks['runs']}']").wait_for()


@pytest.fixture
def full_backlog(filled: FilledService) -> Iterator[Callable[[], None]]:
    """A backlog without room for one more task; what is yielded makes room."""
    tracker = filled.service.tracker
    before, tracker.max_backlog = tracker.max_backlog, 0

    def make_room() -> None:
        tracker.max_backlog = before

    yield make_room
    make_room()


class TestBulk:
    def test_one_is_begun_from_a_filter_that_is_counted_first(
        self, visit: Visit, http: httpx.Client
    ) -> None:
        ids = [submit(http, task_type="noop", delay_seconds=3600, tags=["heap"]) for _ in range(4)]
        opened = visit("/bulk")
        page = opened.page
        page.get_by_role("link", name="New bulk operation").click()
        page.get_by_role("button", name="Cancel", exact=True).click()
        page.get_by_label("Tag").fill("heap")
        page.keyboard.press("Enter")
        page.get_by_text("4 tasks match.").wait_for()
        assert query_of(opened) == {"action": ["cancel"], "tag": ["heap"]}
        page.locator(".chip[data-state=PENDING]").click()
        page.get_by_text("0 tasks match.").wait_for()
        assert page.get_by_role("button", name="Cancel…").is_disabled()
        page.locator(".chip[data-state=PENDING]").click()
        page.get_by_role("button", name="Cancel 4…").click()
        page.get_by_role("heading", name="Cancel 4 tasks?").wait_for()
        page.keyboard.press("Escape")
        assert http.get(f"/tasks/{ids[0]}").json()["state"] == "PENDING"
        page.get_by_role("button", name="Cancel 4…").click()
        page.get_by_role("button", name="Cancel 4 tasks").click()
        page.locator(".state", has_text="DONE").wait_for()
        [newest, *_] = http.get("/bulk").json()["operations"]
        assert page.url.endswith(newest["bulk_id"])
        assert (newest["changed"], newest["filter"]["tag"]) == (4, "heap")
        page.get_by_text("4 of 4").wait_for()
        page.get_by_role("link", name="Tasks that match now").click()
        page.get_by_label("Tag").wait_for()
        assert query_of(opened)["tag"] == ["heap"]

    def test_its_progress_is_live(
        self, visit: Visit, http: httpx.Client, full_backlog: Callable[[], None]
    ) -> None:
        begun = http.post("/bulk", json={"action": "retry", "state": "CANCELLED", "tag": "stale"})
        bulk_id = begun.json()["bulk_id"]
        listed, one = visit("/bulk"), visit(f"/bulk/{bulk_id}")
        row = rows(listed, "Bulk operations").first
        row.get_by_text("HELD").wait_for()
        one.page.get_by_text("raise RAYTASKS_MAX_BACKLOG").wait_for()
        one.page.get_by_text("0 of 3").wait_for()
        full_backlog()
        for opened in (row, one.page):
            opened.get_by_text("DONE").wait_for()
            opened.get_by_text("3 of 3").wait_for()
        one.page.get_by_text("raise RAYTASKS_MAX_BACKLOG").wait_for(state="detached")
        http.post("/bulk", json={"action": "cancel", "tag": "stale"})
        rows(listed, "Bulk operations").nth(1).get_by_text("state CANCELLED, tag stale").wait_for()

    def test_an_unknown_one_is_not_found(self, visit: Visit, filled: FilledService) -> None:
        opened = visit(f"/bulk/{filled.tasks['done']}")
        opened.expected = ("404",)
        opened.page.get_by_role("heading", name="Not found").wait_for()


class TestAudit:
    def test_acts_appear_by_themselves_and_lead_to_what_they_changed(
        self, visit: Visit, filled: FilledService, http: httpx.Client
    ) -> None:
        opened = visit("/audit")
        first = rows(opened, "Audit").first
        first.wait_for()
        with filled.client("b") as other:
            task_id = submit(other, task_type="noop", delay_seconds=3600)
            other.post(f"/tasks/{task_id}/cancel", params={"message": "by mistake"})
        link = opened.page.locator(f"a[title='{task_id}']")
        link.wait_for()
        for text in ("b", "Cancel a task", "team-b", "message by mistake"):
            first.get_by_text(text).first.wait_for()
        link.click()
        opened.page.locator(".state[data-state=CANCELLED]").wait_for()
        assert query_of(opened) == {"namespace": ["team-b"]}

    def test_the_filter_is_in_the_url(self, visit: Visit) -> None:
        opened = visit("/audit")
        page = opened.page
        rows(opened, "Audit").first.wait_for()
        options = page.locator("select[name=action] option")
        offered = options.evaluate_all("all => all.map(one => one.value)")
        assert offered == ["", *ActionName]
        assert not set(options.all_inner_texts()) & set(ActionName)  # they are told in words
        page.locator("select[name=action]").select_option("deploy")
        rows(opened, "Audit").first.get_by_text("version 3").wait_for()
        until_count(rows(opened, "Audit"), 3)
        page.get_by_label("Who").fill("nobody")
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="No act").wait_for()
        page.get_by_label("Only namespace default").check()
        page.get_by_label("Since").fill("2020-01-31T12:00")
        page.keyboard.press("Enter")
        page.wait_for_url(re.compile("since"))
        assert query_of(opened).keys() == {"action", "by", "only", "since"}
        page.get_by_role("button", name="Clear filter").click()
        rows(opened, "Audit").nth(4).wait_for()

    def test_pages_go_on_by_cursor(self, visit: Visit, filled: FilledService) -> None:
        ticker = filled.service.tracker.ticker
        for number in range(104):  # every other one is a pause
            at = ticker.clock()
            act = NewAudit("ci", ActionName.RESUME if number % 2 else ActionName.PAUSE)
            ticker.store.steer(ticker.epoch, [], [act], at)
        opened = visit("/audit?action=pause&by=ci")
        rows(opened, "Audit").nth(49).wait_for()
        opened.page.get_by_role("link", name="Older").click()
        rows(opened, "Audit").nth(2).wait_for(state="detached")
        until_count(rows(opened, "Audit"), 2)
        opened.page.reload()
        opened.page.get_by_role("link", name="Newest").click()
        rows(opened, "Audit").nth(49).wait_for()
        assert query_of(opened) == {"action": ["pause"], "by": ["ci"]}

    def test_a_replaced_task_is_linked(self, visit: Visit, http: httpx.Client) -> None:
        unique = {"key": "audited", "on_conflict": "replace"}
        for value in (1, 2):
            body = {"task_type": "noop", "payload": {"v": value}, "delay_seconds": 3600}
            task_id = http.post("/tasks/", json=body | {"unique": unique}).json()["task_id"]
        opened = visit("/audit?action=replace")
        opened.page.locator(f"table.audit a[title='{task_id}']").wait_for()


class TestLog:
    def test_a_scroll_that_is_told_when_its_box_has_gone_is_no_error(self, visit: Visit) -> None:
        opened = visit("/log")
        page = opened.page
        page.locator(".log > div").first.wait_for()
        box = page.locator(".log").element_handle()
        opened.go("/tasks")
        page.locator(".log").wait_for(state="detached")
        box.evaluate("box => box.dispatchEvent(new Event('scroll'))")

    def test_lines_come_by_themselves_and_can_be_held_still(
        self, visit: Visit, filled: FilledService
    ) -> None:
        log = filled.service.tracker.log
        opened = visit()
        page = opened.page
        opened.settle()
        page.evaluate(
            """() => {
              window.saidEmpty = 0;
              new MutationObserver(() => {
                window.saidEmpty += document.querySelectorAll("[data-kind=empty]").length;
              }).observe(document.querySelector("main"), { childList: true, subtree: true });
            }"""
        )
        opened.go("/log")
        page.locator(".log > div").first.wait_for()
        assert page.evaluate("window.saidEmpty") == 0  # not even before the first lines have come
        log.write("ERROR", "the disk\nis full", {"task_id": filled.tasks["done"], "host": "box"})
        line = page.locator(".log > [data-level=ERROR]")
        line.get_by_text("the disk").wait_for()
        assert "host=box" not in line.inner_text()
        page.get_by_label("All fields").check()
        line.get_by_text("host=box").wait_for()
        page.get_by_role("button", name="Hold still").click()
        log.write("WARNING", "kept back")
        page.get_by_text("(1 new)").wait_for()
        assert page.get_by_text("kept back").count() == 0
        page.keyboard.press("p")
        page.get_by_text("kept back").wait_for()
        line.locator(f"a[title='{filled.tasks['done']}']").click()
        page.locator(".state[data-state=COMPLETED]").wait_for()

    def test_a_log_that_is_held_still_takes_another_filter(
        self, visit: Visit, filled: FilledService
    ) -> None:
        log = filled.service.tracker.log
        log.write("ERROR", "held before")
        opened = visit("/log")
        page = opened.page
        page.get_by_text("held before").wait_for()
        page.get_by_role("button", name="Hold still").click()
        page.get_by_label("Level").select_option("ERROR")
        page.wait_for_url("**level=ERROR")
        page.locator(".log").get_by_text("held before").wait_for()
        until_count(page.locator(".log [data-level=INFO]"), 0)
        log.write("ERROR", "held after")
        page.get_by_text("(1 new)").wait_for()
        assert page.get_by_text("held after").count() == 0

    def test_the_filter_is_in_the_url(self, visit: Visit, filled: FilledService) -> None:
        log = filled.service.tracker.log
        for level, space in (("INFO", "default"), ("WARNING", "team-b"), ("WARNING", "default")):
            log.write(level, f"{level} of {space}", {"task_type": "noop", "namespace": space})
        opened = visit("/log")
        page = opened.page
        page.get_by_text("INFO of default").wait_for()
        page.get_by_label("Level").select_option("WARNING")
        page.get_by_label("Task type").select_option("noop")
        page.get_by_text("2 lines", exact=True).wait_for()
        page.get_by_label("Nothing about other namespaces").check()
        page.get_by_text("1 line", exact=True).wait_for()
        assert page.locator(".log > div").inner_text().endswith("WARNING of default")
        assert query_of(opened) == {
            "level": ["WARNING"], "task_type": ["noop"], "only": ["namespace"],
        }  # fmt: skip


def test_the_views_of_the_whole_service_need_a_free_key(visit: Visit) -> None:
    views = {}
    for key in ("a", "r", "b"):
        opened = visit("/tasks", key=key)
        opened.page.get_by_role("link", name="Bulk").wait_for()
        views[key] = opened.page.locator("header nav a").all_inner_texts()
        if key == "a":
            continue
        schedules = ["Schedules"] if key == "r" else []  # they are for who operates
        assert [name for name in views["a"] if name not in views[key]] == [
            *schedules,
            "Runners",
            "Limits",
            "Audit",
            "Log",
        ]
        for place in ("/runners", "/limits", "/audit", "/log"):
            opened.go(place)
            opened.page.get_by_role("heading", name="Not allowed").wait_for()


def test_nothing_of_it_is_left_running(visit: Visit) -> None:
    handlers.GO.set()
    opened = visit("/runners")
    rows(opened, "Runners").filter(has_text="machine").get_by_text("nothing").wait_for()
    rows(opened, "Runners").get_by_text("idle").wait_for()


def test_by_keyboard_alone(visit: Visit, http: httpx.Client) -> None:
    submit(http, task_type="noop", delay_seconds=3600, tags=["keys"])
    opened = visit("/tasks")
    page = opened.page
    page.locator(".connection[data-state=live]").wait_for()
    for key, title in {
        "l": "Log",
        "a": "Audit",
        "i": "Limits",
        "r": "Runners",
        "b": "Bulk operations",
    }.items():
        page.keyboard.press("g")
        page.keyboard.press(key)
        page.get_by_role("heading", name=title, exact=True, level=1).wait_for()
        page.locator("h1:focus").wait_for()  # after it is drawn
    page.keyboard.press("n")
    page.get_by_role("heading", name="New bulk operation").wait_for()
    page.get_by_role("button", name="Cancel", exact=True).focus()
    page.keyboard.press("Enter")
    page.get_by_label("Tag").focus()
    page.keyboard.type("keys")
    page.keyboard.press("Enter")
    page.get_by_text("1 task matches.").wait_for()
    page.get_by_role("button", name="Cancel 1…").focus()
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Cancel 1 task?").wait_for()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.locator(".state", has_text="DONE").wait_for()
