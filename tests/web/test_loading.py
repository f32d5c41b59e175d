"""How often the page asks: once when a view opens, and seldom while the service is away."""

import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from tests.web.browsing import Opened
from tests.web.filled_service import FilledService
from tests.web.test_connections import AWAY, connection

Visit = Callable[..., Opened]

RETRY_SECONDS = 3
"""How often the page says that it tries again."""

VIEWS = (
    ("/overview", "/stats/series"), ("/overview", "/health"), ("/tasks", "/tasks/"),
    ("/errors", "/errors"), ("/types", "/stats"), ("/types/noop", "/stats"),
    ("/schedules", "/schedules"), ("/schedules/weekly-talk", "/schedules"),
    ("/runners", "/runners"), ("/limits", "/limits"), ("/bulk", "/bulk"),
    ("/bulk/{bulk}", "/bulk/{bulk}"), ("/audit", "/audit"), ("/tasks/{done}", "/tasks/{done}"),
)  # fmt: skip
"""A place, and what its view loads."""


@pytest.mark.parametrize(("place", "asked"), VIEWS)
def test_a_view_loads_once_when_it_opens(
    visit: Visit, filled: FilledService, place: str, asked: str
) -> None:
    opened = visit("/limits" if place != "/limits" else "/types")
    connection(opened, "live").wait_for()
    opened.urls.clear()
    path = asked.format(**filled.tasks)

    def is_it(request: Any) -> bool:
        url: str = request.url
        return url.partition("?")[0] == f"{opened.base}{path}"

    with opened.page.expect_request_finished(is_it):
        opened.page.evaluate(
            "place => { location.hash = place; }", f"#{place.format(**filled.tasks)}"
        )
    opened.settle()
    loads = [url for url in opened.urls if url.partition("?")[0] == f"{opened.base}{path}"]
    assert len(loads) == 1


def times_of(opened: Opened, part: str) -> list[float]:
    """Note when the page asks for what has this in its URL."""
    times: list[float] = []

    def note(request: Any) -> None:
        if part in request.url:
            times.append(time.monotonic())

    opened.page.on("request", note)
    return times


def check_pauses(times: list[float]) -> None:
    """Check that there were some tries, and a pause before each but the first."""
    pauses = [later - at for at, later in pairwise(times)]
    assert len(pauses) >= 1
    assert min(pauses) > RETRY_SECONDS * 0.9, pauses


@pytest.mark.parametrize("fails", ["no replica", "refused"])
def test_an_outage_at_sign_in_is_no_storm(visit: Visit, fails: str) -> None:
    opened = visit(place="/tasks", key=None)
    opened.expected = AWAY
    page = opened.page

    def answer(route: Any) -> None:
        if fails == "refused":
            route.abort("connectionrefused")
        else:
            route.fulfill(status=503, content_type="text/plain", body="no replica")

    page.route("**/me", answer)
    page.reload()  # so that the route is in force
    page.get_by_label("API key").fill("rtk_any")
    times = times_of(opened, "/me")
    with page.expect_request("**/me"):
        page.keyboard.press("Enter")
    page.get_by_role("heading", name="Disconnected").wait_for()
    with page.expect_request("**/me"):
        page.get_by_text("tries again every 3 seconds").wait_for()
    check_pauses(times)


def test_an_outage_of_a_view_is_no_storm(visit: Visit) -> None:
    opened = visit("/tasks")
    opened.expected = AWAY
    page = opened.page
    page.route(
        "**/limits", lambda route: route.fulfill(status=503, content_type="text/plain", body="no")
    )
    page.reload()  # so that the route is in force
    connection(opened, "live").wait_for()
    times = times_of(opened, "/limits")
    with page.expect_request("**/limits"):
        page.evaluate("location.hash = '#/limits'")
    page.get_by_role("heading", name="Disconnected").wait_for()
    with page.expect_request("**/limits"):
        page.get_by_text("tries again every 3 seconds").wait_for()
    check_pauses(times)
