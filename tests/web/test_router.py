"""Places that nobody has made a link to."""

from collections.abc import Callable

import pytest

from tests.web.browsing import Opened

Visit = Callable[..., Opened]


@pytest.mark.parametrize("place", ["/tasks/50%off", "/types/%", "/schedules/%E4/set", "/%"])
def test_a_malformed_path_is_not_found(visit: Visit, place: str) -> None:
    opened = visit(place)
    opened.page.get_by_role("heading", name="Not found").wait_for()
    opened.page.get_by_role("link", name="Types", exact=True).click()
    opened.page.get_by_role("heading", name="Types", level=1).wait_for()
    opened.page.evaluate("place => { location.hash = place; }", f"#{place}")
    opened.page.get_by_role("heading", name="Not found").wait_for()


def test_an_answer_that_is_no_json_is_told(visit: Visit) -> None:
    """A path that leads out of the API, to the page itself."""
    opened = visit("/tasks/%2E%2E%2Fui")
    opened.expected = ("JSON",)
    opened.page.get_by_role("heading", name="The page failed").wait_for()
