"""The site that `make docs` has built: complete without the internet, and without holes."""

import importlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from docs.generators import commands, http_api, recording, settings
from docs.generators.names import MODULES
from raytasks.settings import PREFIX, Settings
from tests.docs.blocks import ROOT

SITE = ROOT / "build" / "site"

_LOADED = {"link": "href", "script": "src", "img": "src", "iframe": "src", "source": "src"}
"""Elements that make a browser fetch something, and the attribute that says what."""


class Loads(HTMLParser):
    """Collects what a page makes a browser fetch."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what one element loads."""
        address = dict(attrs).get(_LOADED.get(tag, ""))
        if address:
            self.found.append(address)


def foreign(page: str) -> list[str]:
    """Return the addresses in other places that a page loads from."""
    return [address for address in Loads(page).found if re.match(r"(https?:)?//", address)]


@pytest.fixture(name="site", scope="module")
def built_site() -> Path:
    """The folder of the site."""
    assert (SITE / "index.html").exists(), "there is no site; build it with: make docs"
    return SITE


def test_a_page_that_loads_from_elsewhere_is_found() -> None:
    assert foreign('<script src="https://cdn.example/x.js"></script>')
    assert foreign('<link href="//fonts.example/x.css">')
    assert not foreign('<a href="https://ray.io">Ray</a><img src="_images/demo.svg">')


def test_no_page_loads_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        assert foreign(page.read_text(encoding="utf-8")) == [], page


def test_no_style_or_picture_loads_from_elsewhere(site: Path) -> None:
    files = [*site.rglob("*.css"), *site.rglob("*.svg")]
    assert files
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"url\(\s*[\"']?(https?:)?//|@import|href=\"https?://", text), file


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_has_a_place(site: Path, module: str) -> None:
    page = (site / "reference" / "python.html").read_text(encoding="utf-8")
    for name in importlib.import_module(module).__all__:
        assert f'id="{module}.{name}"' in page, name


def test_every_setting_is_explained() -> None:
    page = settings.page()
    for name in Settings.model_fields:
        row = re.search(rf"\| `{PREFIX}{name.upper()}` \|.*\| (.+) \|\n", page)
        assert row, name
        assert len(row[1]) > 15, name


def test_every_command_is_there() -> None:
    page = commands.page()
    for name in ("init", "up", "worker", "submit-many", "db upgrade", "keys new", "bulk retry"):
        assert f"## `raytasks {name}`" in page, name
    assert "**Commands**" not in page  # Typer cuts the sentences there off


def test_every_endpoint_is_there() -> None:
    page = http_api.page()
    operations = http_api.document()["paths"]
    assert len(operations) > 10
    for path, methods in operations.items():
        for method in methods:
            assert f"### {method.upper()} {path}\n" in page


def test_a_recording_names_nothing_of_the_machine() -> None:
    printed = (
        "Starting Ray and the service; its log is /tmp/raytasks-demo-x/up.log\n"
        "POST /tasks/ flaky: 202 in 5.1 ms, id 0196-abc\n"
        "    Ray's token:     /home/somebody/.ray/auth_token; copy it\n"
        "╭── image_processing: COMPLETED ──╮\n│ brightness 0.5 │\n╰──╯\n"
        "╭── flaky: COMPLETED ──╮\n│ \x1b[32msucceeded_at_attempt\x1b[0m 3 │\n╰──╯\n"
    )
    drawn = recording.picture(printed)
    assert "succeeded_at_attempt" in drawn
    assert not re.search(r"/tmp/|/home/|0196|@font-face|brightness", drawn)
