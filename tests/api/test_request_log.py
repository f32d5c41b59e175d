"""The log of requests: each with its answer and its caller, and only at DEBUG."""

import logging
from pathlib import Path

import httpx
import pytest

from raytasks.observe.log_record import fields_of
from tests.keyring import bearer, locked

NAME = "raytasks.api.request_log"


@pytest.fixture(autouse=True)
def debug(caplog: pytest.LogCaptureFixture) -> None:
    """Python's logging lets everything pass."""
    caplog.set_level(logging.DEBUG, NAME)


async def ask(sqlite_url: str, tmp_path: Path, level: str) -> list[httpx.Response]:
    async with locked(sqlite_url, tmp_path, log_level=level) as api:
        return [
            await api.client.get("/stats?namespace=secret", headers=bearer("r")),
            await api.client.get("/stats", headers={"X-Request-ID": "mine"}),
            await api.client.get("/openapi.json", headers={"X-Request-ID": "two words"}),
        ]


async def test_each_request_is_a_line(
    sqlite_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    answers = await ask(sqlite_url, tmp_path, "DEBUG")
    records = [record for record in caplog.records if record.name == NAME]
    assert [record.getMessage() for record in records] == [
        "GET /stats 200", "GET /stats 401", "GET /openapi.json 200"
    ]  # fmt: skip
    found = [dict(fields_of(record)) for record in records]
    assert [fields.get("key") for fields in found] == ["r", None, "stranger"]
    assert all(isinstance(fields["ms"], float) for fields in found)
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert ids == [fields["request_id"] for fields in found]
    assert ids[1] == "mine"
    assert "two words" not in ids
    assert "secret" not in caplog.text


async def test_without_debug_there_is_none(
    sqlite_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    answers = await ask(sqlite_url, tmp_path, "INFO")
    assert not [record for record in caplog.records if record.name == NAME]
    assert "x-request-id" not in answers[0].headers
