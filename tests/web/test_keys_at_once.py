"""Keys, the focus and dialogs work from the moment in which their view appears."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.web.browsing import Opened, until_focused

# Before the browser draws what has appeared, and so before anyone can see it.
_WHEN_IT_APPEARS = """([selector, keys]) => {
  window.seen = new Promise((resolve) => {
    const look = () => {
      const there = document.querySelector(selector);
      if (!there) return;
      watch.disconnect();
      const before = document.activeElement;
      for (const key of keys) {
        document.activeElement.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
      }
      resolve({open: there.matches("dialog[open]"), focus: before.id || before.tagName});
    };
    const watch = new MutationObserver(look);
    watch.observe(document.body, {childList: true, subtree: true});
  });
}"""


@pytest.fixture
def page(visit: Callable[..., Opened]) -> Any:
    """The page at the overview, which has loaded all that it shows."""
    opened = visit("/overview")
    opened.settle()
    return opened.page


def when_it_appears(page: Any, selector: str, keys: str = "") -> None:
    """Press keys in the moment in which an element appears; `seen` tells what was there then."""
    page.evaluate(_WHEN_IT_APPEARS, [selector, list(keys)])


@pytest.mark.parametrize(
    ("key", "row", "link"),
    [
        ("e", "table.errors tbody tr", "group error-text"),
        ("t", "table.tasks tbody tr", "mono"),
    ],
)
def test_a_row_has_its_keys(page: Any, key: str, row: str, link: str) -> None:
    when_it_appears(page, row, "j")
    page.keyboard.press("g")
    page.keyboard.press(key)
    page.evaluate("seen")
    until_focused(page, "className", link)


def test_the_focus_is_on_a_view_when_it_appears(page: Any) -> None:
    when_it_appears(page, "main .loading")
    for key in "ge":
        page.keyboard.press(key)
    assert page.evaluate("seen")["focus"] in ("main", "H1")


def test_a_dialog_is_open_when_it_appears(page: Any) -> None:
    when_it_appears(page, "dialog")
    page.keyboard.press("?")
    assert page.evaluate("seen")["open"]
