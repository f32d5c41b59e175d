"""Visits to the page in a browser."""

import contextlib
import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.keyring import KEYS

_WITHOUT_WINDOWS = "chromium-headless-shell"  # two thirds of the processor time of the whole one
CHROMIUM = shutil.which(_WITHOUT_WINDOWS) or shutil.which("chromium") or "/usr/bin/chromium"
AXE = Path(__file__).parent / "vendor" / "axe-core" / "axe.min.js"
PATIENCE_MS = 45_000
_FLAGS = (
    "--no-sandbox",
    "--disable-background-networking",
    # Without a GPU, its place would be taken by a program that costs a quarter of all.
    "--disable-gpu",
    "--disable-software-rasterizer",
    "--in-process-gpu",
)


def why_not() -> str | None:
    """Return why no browser can be used here; None if one can."""
    if not Path(CHROMIUM).exists():
        return "Chromium is not installed (Debian's packages: chromium-headless-shell, chromium)"
    if importlib.util.find_spec("playwright") is None:
        return "the package playwright is not installed"
    return None


@contextlib.contextmanager
def launched() -> Iterator[Any]:
    """Debian's Chromium, until the end of the block."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def until_count(found: Any, number: int) -> None:
    """Wait until a locator finds just so many elements."""
    from playwright.sync_api import expect

    expect(found).to_have_count(number, timeout=PATIENCE_MS)


def until_focused(page: Any, name: str, value: str) -> None:
    """Wait until the element that has the focus has this value of a property."""
    from playwright.sync_api import expect

    expect(page.locator(":focus")).to_have_js_property(name, value, timeout=PATIENCE_MS)


class Opened:
    """A page that was opened: Playwright's `page`, and what it asked for and complained about."""

    def __init__(self, page: Any, base: str) -> None:
        self.page = page
        self.base = base
        self.urls: list[str] = []
        self.complaints: list[str] = []
        self.expected: tuple[str, ...] = ()
        page.set_default_timeout(PATIENCE_MS)
        page.on("request", lambda request: self.urls.append(request.url))
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))

    def _on_console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text} ({message.location['url']})")

    def go(self, place: str) -> None:
        """Go to a place of the page, such as `/tasks?state=FAILED`."""
        self.page.goto(f"{self.base}/ui/#{place}")

    def settle(self) -> None:
        """Wait until a view shows what it has loaded."""
        self.page.locator("main h1, main h2").first.wait_for()
        self.page.locator(".loading").first.wait_for(state="detached")

    def check(self) -> None:
        """Check that it kept to its origin, and had nothing to complain about but `expected`."""
        elsewhere = [url for url in self.urls if not url.startswith(("data:", "blob:", self.base))]
        assert elsewhere == []
        wrong = [
            text for text in self.complaints if not any(part in text for part in self.expected)
        ]
        assert wrong == [], wrong

    def violations(self) -> list[str]:
        """Return what axe finds wrong with what is shown. Needs a context that bypasses the CSP."""
        if not self.page.evaluate("'axe' in window"):
            self.page.add_script_tag(path=str(AXE))
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{item['id']}: {node['target']} {node['failureSummary']}"
            for item in found["violations"]
            for node in item["nodes"]
        ]


class Visitor:
    """Opens pages. Those with the same key and options share a context, and its cache."""

    def __init__(self, browser: Any, base: str) -> None:
        self._browser = browser
        self._base = base
        self._contexts: dict[str, Any] = {}
        self._opened: list[Opened] = []

    def open(
        self, place: str = "/tasks", *, key: str | None = "a", below: str = "", **options: Any
    ) -> Opened:
        """Open a page at a place, signed in with a key; `below` is the path of a proxy."""
        base = f"{self._base}{below}"
        opened = Opened(self._context(key, options).new_page(), base)
        self._opened.append(opened)
        opened.go(place)
        return opened

    def _context(self, key: str | None, options: dict[str, Any]) -> Any:
        name = repr((key, sorted(options.items())))
        if name not in self._contexts:
            usual = {"viewport": {"width": 1400, "height": 900}, "reduced_motion": "reduce"}
            made = self._browser.new_context(**(usual | options))
            if key is not None:
                made.add_init_script(
                    f"sessionStorage.getItem('raytasks.key') ?? "
                    f"sessionStorage.setItem('raytasks.key', '{KEYS[key]}')"
                )
            self._contexts[name] = made
        return self._contexts[name]

    def leave(self) -> None:
        """Close the pages that were opened, and check each."""
        opened, self._opened = self._opened, []
        for one in opened:
            one.page.close()
        for one in opened:
            one.check()

    def close(self) -> None:
        """Close all contexts."""
        for context in self._contexts.values():
            context.close()
