"""The pages for browsers: all that they load is here."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from raytasks.web import SWAGGER_UI
from tests.keyring import locked
from tests.local_service import Api

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


class Links(HTMLParser):
    """The URLs that a page loads or links to."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in ("src", "href") and value]


async def test_the_docs_load_what_is_here_alone(api: Api) -> None:
    page = await api.client.get("/docs", headers=BROWSER)
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    links = Links(page.text).found
    assert any("swagger-ui-bundle.js" in link for link in links)
    for link in links:
        assert urlsplit(link)[:2] == ("", ""), link
        answer = await api.client.get(link)
        assert answer.status_code == 200, link
    assert not re.search(r"https?:|//", re.sub(r"</", "", page.text).replace("<!", ""))


async def test_a_browser_may_load_nothing_from_elsewhere(api: Api) -> None:
    policy = (await api.client.get("/docs")).headers["content-security-policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["connect-src"] == "'self'"
    assert "http" not in policy
    assert "*" not in policy


@pytest.mark.parametrize(
    ("path", "place"), [("/", "ui/"), ("/ui", "ui/"), ("/redoc", "/docs"), ("/redoc/", "/docs")]
)
async def test_browsers_are_led_to_a_page(api: Api, path: str, place: str) -> None:
    answer = await api.client.get(path, headers=BROWSER)
    assert (answer.status_code, answer.headers["location"]) == (307, place)
    head = await api.client.head(path, headers=BROWSER)
    assert (head.status_code, head.headers["location"]) == (307, place)


async def test_programs_are_told_that_nothing_is_at_the_root(api: Api) -> None:
    answer = await api.client.get("/", headers={"Accept": "application/json"})
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


async def test_below_another_path_the_page_finds_its_files(api: Api) -> None:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(api.service.app, root_path="/queue"),
        base_url="http://localhost",
    ) as client:
        links = Links((await client.get("/queue/docs")).text).found
        assert all(link.startswith("/queue/") for link in links)
        for link in links:
            assert (await client.get(link)).status_code == 200, link
        front = await client.get("/queue/", headers=BROWSER)
        assert front.headers["location"] == "/queue/ui/"
        start = await client.get("/queue/ui/")
        for link in Links(start.text).found:
            assert (await client.get(f"/queue/ui/{link}")).status_code == 200, link


async def test_files_are_sent_once_and_nothing_else_is(api: Api) -> None:
    path = "/docs/files/swagger-ui.css"
    first = await api.client.get(path)
    assert first.content == (SWAGGER_UI / "swagger-ui.css").read_bytes()
    again = await api.client.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304
    for bad in ("/docs/files/", "/docs/files/none.js", "/docs/files/..%2Flock.json"):
        answer = await api.client.get(bad)
        assert answer.status_code == 404, bad
        assert answer.headers["content-type"] == "application/problem+json"


async def test_the_pages_need_no_key(sqlite_url: str, tmp_path: Path) -> None:
    async with locked(sqlite_url, tmp_path) as api:
        for path in (
            "/ui/",
            "/docs",
            "/docs/files/start.js",
            "/docs/files/swagger-ui.css",
            "/openapi.json",
        ):
            assert (await api.client.get(path)).status_code == 200, path
        assert (await api.client.get("/", headers=BROWSER)).status_code == 307
