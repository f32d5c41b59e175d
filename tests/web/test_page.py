"""The page in a browser: what holds for all of its views."""

from collections.abc import Callable

import pytest

from raytasks.web.bundle import bundle
from tests.keyring import KEYS
from tests.web.browsing import Opened, until_count
from tests.web.filled_service import PREFIX, FilledService
from tests.web.places import PLACES, place_of

Visit = Callable[..., Opened]

MAX_BYTES = 105_000


def test_all_of_it_is_small_enough() -> None:
    page = bundle()
    sizes = {path: len(page.files[path].packed) for path in page.loaded}
    assert sum(sizes.values()) + len(page.start.packed) <= MAX_BYTES, sizes


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(visit: Visit, filled: FilledService, theme: str) -> None:
    opened = visit(color_scheme=theme, bypass_csp=True)
    found = {}
    for name in PLACES:
        opened.go(place_of(name, filled.tasks))
        opened.settle()
        found[name] = opened.violations()
    for summary in opened.page.locator("summary").all():
        summary.click()
    opened.page.keyboard.press("?")
    opened.page.locator("dialog[open]").wait_for()
    found["help"] = opened.violations()
    locked = visit(key=None, color_scheme=theme, bypass_csp=True)
    locked.page.get_by_label("API key").wait_for()
    found["sign-in"] = locked.violations()
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


def test_the_theme_can_be_chosen_and_stays(visit: Visit) -> None:
    opened = visit(color_scheme="light")
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    light = opened.page.evaluate(ground)
    for _ in range(2):
        opened.page.get_by_role("button", name="Theme").click()
    opened.page.get_by_role("button", name="Theme: dark").wait_for()
    dark = opened.page.evaluate(ground)
    assert dark != light
    opened.page.reload()
    opened.page.get_by_role("button", name="Theme: dark").wait_for()
    assert opened.page.evaluate(ground) == dark


def test_the_policy_lets_nothing_else_run(visit: Visit) -> None:
    opened = visit()
    opened.settle()
    opened.expected = ("Content Security Policy", "Content-Security-Policy")
    opened.page.evaluate(
        """() => {
          const script = document.createElement("script");
          script.textContent = "window.ran = true";
          document.body.append(script);
          const button = document.createElement("button");
          button.setAttribute("onclick", "window.ran = true");
          document.body.append(button);
          button.click();
        }"""
    )
    assert opened.page.evaluate("window.ran") is None
    refused = opened.page.evaluate("fetch('https://elsewhere.invalid/').catch(() => 'refused')")
    assert refused == "refused"
    assert any("elsewhere.invalid" in text for text in opened.complaints)
    opened.urls.clear()


def test_a_key_is_asked_for_once_and_kept_for_the_tab(visit: Visit, filled: FilledService) -> None:
    opened = visit(f"/tasks/{filled.tasks['done']}", key=None)
    field = opened.page.get_by_label("API key")
    field.fill(KEYS["x"])
    opened.expected = ("401",)
    opened.page.keyboard.press("Enter")
    opened.page.get_by_text("this API key is not known here").wait_for()
    field.fill(KEYS["r"])
    opened.page.keyboard.press("Enter")
    opened.page.get_by_text(filled.tasks["done"]).first.wait_for()
    opened.page.reload()
    opened.page.get_by_text(filled.tasks["done"]).first.wait_for()
    opened.page.get_by_role("button", name="Sign out (r)").click()
    field.wait_for()
    assert opened.page.evaluate("sessionStorage.length") == 0


def test_below_the_path_of_a_proxy(visit: Visit, filled: FilledService) -> None:
    opened = visit(f"/tasks/{filled.tasks['failed']}", below=PREFIX)
    opened.page.get_by_text("ConnectionError: mail.invalid does not answer").first.wait_for()
    opened.page.get_by_role("link", name="Tasks", exact=True).click()
    opened.page.locator(f"a[title='{filled.tasks['failed']}']").wait_for()
    opened.page.locator(".connection[data-state=live]").wait_for()
    assert all(f"{PREFIX}/" in url for url in opened.urls)


def test_the_front_page_leads_there(visit: Visit, filled: FilledService) -> None:
    opened = visit()
    for path in ("", "/ui", f"{PREFIX}/"):
        opened.page.goto(f"{filled.url}{path}")
        opened.page.get_by_role("heading", name="Overview").wait_for()
        below = path.removesuffix("/ui").removesuffix("/")
        assert opened.page.url == f"{filled.url}{below}/ui/#/overview"
    opened.go("/?namespace=fresh")
    opened.page.get_by_role("heading", name="No tasks yet").wait_for()
    assert opened.page.url.endswith("#/tasks?namespace=fresh")


def test_what_is_of_another_namespace_is_not_found(visit: Visit, filled: FilledService) -> None:
    opened = visit(f"/tasks/{filled.tasks['theirs']}")
    opened.expected = ("404",)
    opened.page.get_by_role("heading", name="Not found").wait_for()
    opened.go(f"/tasks/{filled.tasks['theirs']}?namespace=team-b")
    opened.page.locator(".state", has_text="COMPLETED").wait_for()
    bound = visit("/tasks", key="b")
    bound.page.locator(f"a[title='{filled.tasks['theirs']}']").wait_for()
    until_count(bound.page.locator("table.tasks tbody tr"), 1)
    assert bound.page.locator(".namespace input").count() == 0


def test_another_namespace_is_chosen_by_its_name(visit: Visit, filled: FilledService) -> None:
    opened = visit()
    field = opened.page.get_by_label("Namespace")
    opened.page.locator(".namespace option[value='team-b']").wait_for(state="attached")
    field.fill("team-b")
    field.press("Enter")
    opened.page.locator(f"a[title='{filled.tasks['theirs']}']").wait_for()
    assert "namespace=team-b" in opened.page.url


def test_a_key_without_read_is_told_so(visit: Visit) -> None:
    opened = visit(key="s")
    opened.page.get_by_role("heading", name="Not allowed").wait_for()
    assert "submit" in opened.page.locator("main").inner_text()


def test_tracebacks_are_for_those_who_operate(visit: Visit, filled: FilledService) -> None:
    opened = visit(place_of("task-failed", filled.tasks), key="r")
    opened.page.get_by_text("The traceback needs a key with the scope operate.").first.wait_for()


def test_a_key_is_taken_without_what_cannot_be_seen(visit: Visit) -> None:
    opened = visit(key=None)
    opened.page.get_by_label("API key").fill(f"\u200b\ufeff {KEYS['r']}\u2060\u00a0")
    opened.page.keyboard.press("Enter")
    opened.page.get_by_role("button", name="Sign out (r)").wait_for()
    assert opened.page.evaluate("sessionStorage.getItem('raytasks.key')") == KEYS["r"]


@pytest.mark.parametrize(
    ("within", "told"),
    [("\u200b", "U+200B"), ("ä", "U+00E4"), ("\u2011", "U+2011"), (" ", "U+0020")],
)
def test_what_cannot_be_a_key_is_refused_at_once(visit: Visit, within: str, told: str) -> None:
    opened = visit(key=None)
    opened.page.get_by_label("API key").fill(f"rtk_a{within}b")
    opened.page.keyboard.press("Enter")
    opened.page.get_by_role("alert").get_by_text(told).wait_for()
    assert opened.page.evaluate("sessionStorage.length") == 0
    assert not any(url.endswith("/me") for url in opened.urls)


def test_a_bad_key_that_was_kept_does_not_lock_the_tab(visit: Visit) -> None:
    opened = visit(key=None)
    opened.page.evaluate("sessionStorage.setItem('raytasks.key', 'rtk_a\u200bb')")
    opened.page.reload()
    opened.page.get_by_role("alert").get_by_text("U+200B").wait_for()
    opened.page.get_by_label("API key").fill(KEYS["r"])
    opened.page.keyboard.press("Enter")
    opened.page.get_by_role("button", name="Sign out (r)").wait_for()


def test_what_is_wrong_at_sign_in_is_told_as_it_is(visit: Visit) -> None:
    """A mistake of the page, and an answer that is no outage."""
    opened = visit("/tasks")
    opened.expected = ("a mistake", "403")
    opened.page.add_init_script("window.Headers = function () { throw new TypeError('a mistake') }")
    opened.page.reload()
    opened.page.get_by_role("heading", name="The page failed").wait_for()
    opened.page.get_by_text("a mistake").wait_for()
    other = visit("/tasks")
    other.expected = ("403",)
    other.page.route(
        "**/me",
        lambda route: route.fulfill(
            status=403, content_type="application/problem+json", body='{"detail": "not from here"}'
        ),
    )
    other.page.reload()
    other.page.get_by_role("heading", name="Not allowed").wait_for()
    other.page.get_by_text("not from here").wait_for()
