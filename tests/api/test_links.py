"""The files of tasks: who gets them, by key and by link, and that nothing in one can run."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from raytasks.api.problems import Problem
from raytasks.api.signing import Links
from raytasks.artifacts.artifact_store import ArtifactStore
from tests.keyring import bearer, locked
from tests.local_service import Api

UNKNOWN = "0198c1de-0000-7000-8000-000000000000"
DATA = bytes(range(256))


@pytest.fixture
async def locked_api(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    """The API with keys."""
    async with locked(sqlite_url, tmp_path, artifact_link_seconds=3600) as api:
        yield api


@pytest.fixture
async def task_id(locked_api: Api) -> str:
    """A task of the default namespace, with two files."""
    body = {"task_type": "scripted", "payload": {}}
    response = await locked_api.client.post("/tasks/", json=body, headers=bearer("s"))
    task_id: str = response.json()["task_id"]
    locked_api.service.artifacts.save(task_id, "b.jpg", DATA)
    locked_api.service.artifacts.save(task_id, "a.json", b"[1]")
    return task_id


async def listed(api: Api, task_id: str) -> list[dict[str, Any]]:
    """Return the task's artifacts as they are listed."""
    response = await api.client.get(f"/tasks/{task_id}/artifacts", headers=bearer("r"))
    assert response.status_code == 200, response.text
    artifacts: list[dict[str, Any]] = response.json()["artifacts"]
    return artifacts


def check_problem(response: httpx.Response, status: int) -> str:
    """Check that an answer is a problem document with this status, and return its detail."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    detail: str = response.json()["detail"]
    return detail


class TestList:
    async def test_names_sizes_and_links_by_name(self, locked_api: Api, task_id: str) -> None:
        found = await listed(locked_api, task_id)
        assert [(item["name"], item["bytes"]) for item in found] == [("a.json", 3), ("b.jpg", 256)]
        for item in found:
            assert item["url"].startswith(f"/artifacts/{task_id}/{item['name']}?expires=")

    async def test_what_is_ours_and_what_is_no_file_is_not_listed(
        self, locked_api: Api, task_id: str
    ) -> None:
        artifacts = locked_api.service.artifacts
        folder = artifacts.path(task_id, "a").rpartition("/")[0]
        artifacts._files.pipe_file(f"{folder}/.payload", b"secret")
        artifacts._files.makedirs(f"{folder}/folder")
        assert [item["name"] for item in await listed(locked_api, task_id)] == ["a.json", "b.jpg"]
        for name in (".payload", "folder"):
            path = f"/artifacts/{task_id}/{name}"
            check_problem(await locked_api.client.get(path, headers=bearer("r")), 404)
            link = locked_api_links(locked_api).to(path)
            check_problem(await locked_api.client.get(link), 404)

    async def test_a_task_without_files_has_none(self, idle_api: Api) -> None:
        task = await idle_api.submit()
        response = await idle_api.client.get(f"/tasks/{task['task_id']}/artifacts")
        assert response.json() == {"artifacts": []}

    @pytest.mark.parametrize("task_id", [UNKNOWN, "x", ".."])
    async def test_of_no_task_it_is_a_404(self, locked_api: Api, task_id: str) -> None:
        path = f"/tasks/{task_id.replace('.', '%2e')}/artifacts"
        check_problem(await locked_api.client.get(path, headers=bearer("r")), 404)


async def test_a_store_that_does_not_answer_is_a_503(
    locked_api: Api, task_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_arguments: object) -> None:
        raise PermissionError("bucket of hunter2")

    for name in ("open", "list"):
        monkeypatch.setattr(ArtifactStore, name, broken)
    for path in (f"/tasks/{task_id}/artifacts", f"/artifacts/{task_id}/a.json"):
        response = await locked_api.client.get(path, headers=bearer("r"))
        assert "hunter2" not in check_problem(response, 503)
        assert response.headers["retry-after"]


def locked_api_links(api: Api) -> Links:
    """Return links that the service takes."""
    return Links(api.service.settings.secret_key, 60)


class TestLinks:
    async def test_a_link_from_the_list_needs_no_key(self, locked_api: Api, task_id: str) -> None:
        _, picture = await listed(locked_api, task_id)
        response = await locked_api.client.get(picture["url"])
        assert response.status_code == 200
        assert response.content == DATA

    async def test_without_link_and_key_it_is_a_401(self, locked_api: Api, task_id: str) -> None:
        check_problem(await locked_api.client.get(f"/artifacts/{task_id}/b.jpg"), 401)

    async def test_a_key_needs_the_scope_read(self, locked_api: Api, task_id: str) -> None:
        path = f"/artifacts/{task_id}/b.jpg"
        assert (await locked_api.client.get(path, headers=bearer("r"))).content == DATA
        assert "read" in check_problem(await locked_api.client.get(path, headers=bearer("s")), 403)

    async def test_a_changed_link_is_refused(self, locked_api: Api, task_id: str) -> None:
        other, picture = await listed(locked_api, task_id)
        path, _, query = picture["url"].partition("?")
        values = {name: found[0] for name, found in parse_qs(query).items()}
        expires, signature = values["expires"], values["signature"]
        changed = [
            f"{other['url'].partition('?')[0]}?{query}",
            f"{path.replace(task_id, UNKNOWN)}?{query}",
            f"{path}?expires={int(expires) + 1}&signature={signature}",
            f"{path}?expires={expires}&signature={signature[:-1]}",
            f"{path}?expires={expires}&signature={'0' * 64}",
            f"{path}?expires={expires}&signature=",
            f"{path}?expires={expires}&signature=ÿ",
            f"{path}?expires={expires}",
            f"{path}?signature={signature}",
            f"{path}?expires=0&signature={signature}",
        ]
        for link in changed:
            for headers in ({}, bearer("r")):  # a link counts as one also for who has a key
                response = await locked_api.client.get(link, headers=headers)
                assert "link" in check_problem(response, 403), link

    @pytest.mark.parametrize(
        ("query", "where"), [("expires=x", "?expires"), ("signature=" + "0" * 201, "?signature")]
    )
    async def test_a_senseless_link_is_a_422(
        self, locked_api: Api, task_id: str, query: str, where: str
    ) -> None:
        response = await locked_api.client.get(f"/artifacts/{task_id}/b.jpg?{query}")
        check_problem(response, 422)
        assert response.json()["errors"][0]["pointer"] == where

    def test_a_link_expires(self) -> None:
        now = 1000.0
        links = Links("secret", 60, clock=lambda: now)
        parts = urlsplit(links.to("/artifacts/t/n"))
        values = parse_qs(parts.query)
        expires, signature = int(values["expires"][0]), values["signature"][0]
        assert expires == 1060
        now = 1060.0
        links.check(parts.path, expires, signature)
        now = 1060.5
        with pytest.raises(Problem, match="expired"):
            links.check(parts.path, expires, signature)
        now = 0.0
        with pytest.raises(Problem, match="not one of ours"):
            Links("another secret", 60, clock=lambda: now).check(parts.path, expires, signature)


class TestContent:
    @pytest.mark.parametrize(
        ("name", "content_type"),
        [
            ("a.jpg", "image/jpeg"),
            ("a.jpeg", "image/jpeg"),
            ("a.PNG", "image/png"),
            ("a.gif", "image/gif"),
            ("a.webp", "image/webp"),
            ("a.svg", None),
            ("a.svg.gz", None),
            ("a.html", None),
            ("a.xhtml", None),
            ("a.png.html", None),
            ("a.xml", None),
            ("a.pdf", None),
            ("a.js", None),
            ("results.json", None),
            ("png", None),
            ("plain", None),
        ],
    )
    async def test_a_file_is_served_so_that_nothing_in_it_runs(
        self, idle_api: Api, name: str, content_type: str | None
    ) -> None:
        task = await idle_api.submit()
        url = idle_api.service.artifacts.save(task["task_id"], name, DATA)
        response = await idle_api.client.get(url)
        assert response.status_code == 200
        assert response.content == DATA
        headers = response.headers
        assert headers["content-type"] == (content_type or "application/octet-stream")
        saved = f'attachment; filename="{name}"'
        assert headers.get("content-disposition") == (None if content_type else saved)
        assert headers["content-length"] == "256"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"] == "sandbox; default-src 'none'"

    async def test_a_large_file_comes_whole(self, idle_api: Api) -> None:
        task = await idle_api.submit()
        data = DATA * 8192 + b"end"
        url = idle_api.service.artifacts.save(task["task_id"], "large.bin", data)
        assert (await idle_api.client.get(url)).content == data

    async def test_an_empty_file_is_one_too(self, idle_api: Api) -> None:
        task = await idle_api.submit()
        url = idle_api.service.artifacts.save(task["task_id"], "empty.bin", b"")
        response = await idle_api.client.get(url)
        assert (response.status_code, response.content) == (200, b"")
