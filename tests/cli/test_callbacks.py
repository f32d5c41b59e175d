"""`raytasks submit --callback`, and both clients, against a service that has a secret."""

import base64
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from raytasks.client import AsyncClient, Client, Invalid
from tests.local_service import LocalService, served

SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()
URL = "https://example.com/hook?token=t"

Run = Callable[..., Any]


@pytest.fixture(name="url", scope="module")
def service_url(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("service")
    file = shutil.copy(sqlite_template, folder / "tasks.db")
    service = LocalService(f"sqlite:///{file}", folder, callback_secrets=f"default={SECRET}")
    with served(service) as url:
        yield url


def test_the_command(run: Run, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYTASKS_URL", url)
    done = run("submit", "scripted", "{}", "--callback", URL, "--wait", "--json")
    assert done.code == 0, done.err
    with Client(url) as client:
        task = client.get(json.loads(done.out)["task_id"])
        assert task["callback_url"] == URL
        assert task["callback_task_id"] is not None
        callback = client.get(task["callback_task_id"])
        assert callback["task_type"] == "raytasks.callback"
    listed = json.loads(run("list", "--type", "raytasks.callback", "--json").out)
    assert [item["task_id"] for item in listed["tasks"]] == [callback["task_id"]]
    listed = json.loads(run("list", "--json").out)
    assert [item["task_id"] for item in listed["tasks"]] == [task["task_id"]]
    refused = run("submit", "scripted", "{}", "--callback", "http://127.0.0.1/")
    assert refused.code != 0
    assert "127.0.0.1 is not a public address" in refused.err


async def test_both_clients(url: str) -> None:
    with Client(url) as client:
        assert client.submit("scripted", {}, callback_url=URL)["callback_task_id"] is None
        with pytest.raises(Invalid, match="only http and https"):
            client.submit("scripted", {}, callback_url="ftp://example.com/")
    async with AsyncClient(url) as another:
        task = await another.submit("scripted", {}, callback_url=URL)
        ended = await another.wait(task["task_id"])
    assert ended["callback_task_id"] is not None
