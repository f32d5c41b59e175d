"""The page's files: public, packed once, kept for ever under their hash, and never stale."""

import gzip
import re
from pathlib import Path

import httpx
import pytest

from raytasks.web.bundle import bundle
from tests.keyring import locked
from tests.local_service import Api

MAIN = "ui/page.js"


def place(path: str, version: str | None = None) -> str:
    """Return the URL of a file."""
    return f"/ui/files/{version or bundle().version}/{path}"


async def test_a_file_is_kept_under_its_hash_alone(api: Api) -> None:
    now = await api.client.get(place(MAIN))
    assert now.headers["cache-control"] == "public, max-age=31536000, immutable"
    # While replicas of two versions run, a browser may ask one for the other's files.
    other = await api.client.get(place(MAIN, "0123456789abcdef"))
    assert other.content == now.content
    assert other.headers["cache-control"] == "no-cache"


async def test_the_start_page_is_asked_for_again(api: Api) -> None:
    first = await api.client.get("/ui/")
    assert first.headers["cache-control"] == "no-cache"
    assert f"files/{bundle().version}/{MAIN}" in first.text
    again = await api.client.get("/ui/", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = await api.client.get("/ui/", headers={"If-None-Match": '"other"'})
    assert other.content == first.content


async def test_files_are_packed_for_who_takes_that(api: Api) -> None:
    plain = await api.client.get(place(MAIN), headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    async with api.client.stream("GET", place(MAIN), headers={"Accept-Encoding": "gzip"}) as answer:
        packed = b"".join([chunk async for chunk in answer.aiter_raw()])
        assert answer.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed) == plain.content
    assert plain.headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (MAIN, "text/javascript; charset=utf-8"),
        ("vendor/preact/dist/preact.mjs", "text/javascript; charset=utf-8"),
        ("ui/page.css", "text/css; charset=utf-8"),
        ("ui/icon.svg", "image/svg+xml"),
    ],
)
async def test_each_file_has_its_type(api: Api, path: str, kind: str) -> None:
    answer = await api.client.get(place(path))
    assert answer.headers["content-type"] == kind
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "ui/none.js",
        "ui/main.js",
        "ui/style/tokens.css",
        "ui/README.md",
        "ui/index.html",
        "lock.json",
        "../api/app.py",
        "ui/",
    ],
)
async def test_nothing_else_is_sent(api: Api, path: str) -> None:
    answer = await api.client.get(place(path.replace("..", "%2e%2e")))
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


async def test_the_policy_has_no_hole(api: Api) -> None:
    for path in ("/ui/", place(MAIN)):
        policy = (await api.client.get(path)).headers["content-security-policy"]
        rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
        assert rules["default-src"] == "'none'"
        assert rules["script-src"] == rules["connect-src"] == rules["style-src"] == "'self'"
        assert not re.search(r"unsafe|http|\*", policy)


async def test_it_is_public_below_a_root_path_too(sqlite_url: str, tmp_path: Path) -> None:
    async with locked(sqlite_url, tmp_path) as api:
        transport = httpx.ASGITransport(api.service.app, root_path="/queue")
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            start = await client.get("/queue/ui/")
            assert 'data-key="needed"' in start.text
            assert (await client.get(f"/queue{place(MAIN)}")).status_code == 200
            assert (await client.get("/queue/tasks")).status_code == 401
