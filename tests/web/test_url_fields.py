"""Fields whose value is in the URL: a time is taken over when it has been entered, not before."""

import re
from collections.abc import Callable
from urllib.parse import parse_qs

import pytest

from tests.web.browsing import Opened

Visit = Callable[..., Opened]

PLACE = "/tasks?created_after=2025-11-20T10:00:00Z"


def asked(opened: Opened) -> list[str]:
    """The time in the URL."""
    return parse_qs(opened.page.url.partition("?")[2]).get("created_after", [])


def to_the_year(opened: Opened) -> None:
    """Put the focus on the year of the field: behind the month and the day."""
    opened.page.get_by_label("Created from").focus()
    opened.page.keyboard.press("Tab")
    opened.page.keyboard.press("Tab")


@pytest.mark.parametrize("end", ["Enter", "leave"])
def test_a_year_is_typed_digit_by_digit(visit: Visit, end: str) -> None:
    opened = visit(PLACE)
    field = opened.page.get_by_label("Created from")
    field.wait_for()
    before = opened.page.evaluate("history.length")
    local = field.input_value()
    to_the_year(opened)
    for digits in ("2", "0", "2", "4"):
        opened.page.keyboard.type(digits)
        assert asked(opened) == ["2025-11-20T10:00:00Z"]
    assert field.input_value() == local.replace("2025", "2024", 1)
    if end == "Enter":
        opened.page.keyboard.press("Enter")
    else:
        opened.page.get_by_label("Tag", exact=True).focus()
    opened.page.wait_for_url(re.compile("created_after=2024-11-20"))
    assert opened.page.evaluate("history.length") == before + 1


def test_what_is_no_sensible_time_is_not_taken(visit: Visit) -> None:
    opened = visit(PLACE)
    field = opened.page.get_by_label("Created from")
    field.wait_for()
    to_the_year(opened)
    opened.page.keyboard.type("2")
    opened.page.get_by_label("Tag", exact=True).focus()
    assert field.evaluate("one => one.matches(':invalid')")
    assert asked(opened) == ["2025-11-20T10:00:00Z"]
    field.fill("")
    opened.page.get_by_label("Tag", exact=True).focus()
    opened.page.wait_for_url(lambda url: "created_after" not in url)


def test_an_early_year_in_the_url_is_shown(visit: Visit) -> None:
    opened = visit("/tasks?created_after=0203-11-20T10:00:00Z")
    opened.expected = ("422",)
    field = opened.page.get_by_label("Created from")
    field.wait_for()
    assert field.input_value().startswith("0203-11-20T")
