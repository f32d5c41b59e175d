"""The service's health, documents, paths, and the files of tasks."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from raytasks import __version__
from raytasks.model.tasks import StoreUnavailable
from tests.local_service import Api

TASK_ID = "0198c1de-0000-7000-8000-000000000001"

_SUBMISSION = {"200", "202", "400", "408", "409", "413", "415", "422", "429", "503"}

_SETTING = {"200", "400", "408", "413", "415", "422", "503"}
ROUTES = {
    ("/tasks/", "post"): _SUBMISSION,
    ("/tasks/batch", "post"): _SUBMISSION,
    ("/tasks/", "get"): {"200", "422", "503"},
    ("/tasks/{task_id}", "get"): {"200", "404", "410", "422", "503"},
    ("/tasks/events", "get"): {"200", "422", "503"},
    ("/tasks/{task_id}/events", "get"): {"200", "404", "422", "503"},
    ("/tasks/{task_id}", "patch"): {*_SETTING, "404", "409", "412", "428", "429"},
    ("/tasks/{task_id}", "delete"): {"204", "404", "409", "422", "503"},
    ("/tasks/{task_id}/retry", "post"): {*_SETTING - {"200"}, "202", "404", "409", "412", "429"},
    ("/tasks/{task_id}/cancel", "post"): {"202", "404", "409", "422", "503"},
    ("/tasks/{task_id}/artifacts", "get"): {"200", "404", "422", "503"},
    ("/bulk", "post"): _SUBMISSION,
    ("/bulk", "get"): {"200", "422", "503"},
    ("/bulk/{bulk_id}", "get"): {"200", "404", "422", "503"},
    ("/stats", "get"): {"200", "422", "503"},
    ("/stats/series", "get"): {"200", "422", "503"},
    ("/namespaces", "get"): {"200", "503"},
    ("/namespaces/{name}", "put"): {*_SETTING, "404"},
    ("/namespaces/{name}", "delete"): {"200", "404", "422", "503"},
    ("/limits", "get"): {"200", "503"},
    ("/limits/{name}", "put"): {*_SETTING, "404", "409"},
    ("/limits/{name}", "delete"): {"200", "404", "503"},
    ("/schedules", "get"): {"200", "422", "503"},
    ("/schedules/{name}", "put"): {*_SETTING, "409"},
    ("/schedules/{name}", "delete"): {"200", "404", "409", "422", "503"},
    ("/schedules/{name}/run", "post"): {"202", "404", "409", "422", "503"},
    ("/schedules/{name}/pause", "post"): {"200", "404", "422", "503"},
    ("/schedules/{name}/resume", "post"): {"200", "404", "409", "422", "503"},
    ("/pauses", "get"): {"200", "503"},
    ("/pause", "post"): _SETTING,
    ("/resume", "post"): _SETTING,
    ("/task-types", "get"): {"200"},
    ("/health", "get"): {"200", "503"},
    ("/outbox", "get"): {"200", "503"},
    ("/outbox/nudge", "post"): {"202", "503"},
    ("/livez", "get"): {"200"},
    ("/readyz", "get"): {"200", "503"},
    ("/pools", "get"): {"200", "503"},
    ("/pools/{name}", "put"): {*_SETTING, "404", "409"},
    ("/pools/{name}", "delete"): {"200", "404", "409", "503"},
    ("/runners", "get"): {"200", "503"},
    ("/nodes", "get"): {"200", "503"},
    ("/versions", "get"): {"200", "503"},
    ("/tasks/{task_id}/stack", "get"): {"200", "404", "409", "422", "503"},
    ("/errors", "get"): {"200", "422", "503"},
    ("/audit", "get"): {"200", "422", "503"},
    ("/logs", "get"): {"200", "422", "503"},
    ("/metrics", "get"): {"200", "503"},
    ("/me", "get"): {"200"},
    ("/artifacts/{task_id}/{name}", "get"): {"200", "404", "422", "503"},
}

FROM_THE_GATE = {"401", "403", "431"}
"""Statuses that every route may answer with."""


class TestHealth:
    """`GET /health`."""

    async def test_all_is_well(self, api: Api) -> None:
        await api.finished(await api.submit())
        response = await api.client.get("/health")
        assert response.status_code == 200
        report = response.json()
        assert report["status"] == "ok"
        assert report["version"] == __version__
        assert report["database"] == {"ok": True, "error": None}
        assert report["tracker"]["ok"] is True
        assert report["runners"]["count"] == 1

    async def test_without_runners_it_is_degraded(self, idle_api: Api) -> None:
        response = await idle_api.client.get("/health")
        assert response.status_code == 200  # submissions are accepted
        assert response.json()["status"] == "degraded"
        assert response.json()["runners"]["ok"] is False
        assert [reason["code"] for reason in response.json()["reasons"]] == ["no_runner"]

    async def test_without_a_tracker_it_is_degraded_and_tells_no_secrets(self, api: Api) -> None:
        api.service.backend.failure = StoreUnavailable("postgresql://me:hunter2@host/")
        response = await api.client.get("/health")
        assert response.status_code == 503
        assert response.json()["tracker"]["ok"] is False
        assert [reason["code"] for reason in response.json()["reasons"]] == ["tracker_away"]
        assert "hunter2" not in response.text


async def test_the_task_types_are_listed_with_their_schemas(api: Api) -> None:
    response = await api.client.get("/task-types")
    assert response.status_code == 200
    types = {item["task_type"]: item for item in response.json()["task_types"]}
    assert list(types) == sorted(api.service.registry.task_types)
    scripted = types["scripted"]
    assert scripted["payload_schema"]["properties"]["step"]["default"] == "succeed"
    assert scripted["retry"]["max_attempts"] == 3
    assert scripted["kind"] == "function"
    assert scripted["description"].startswith("Run a script")
    assert types["scripted_class"]["actors"] == [1, 2]
    assert types["scripted_remote"]["ray_options"] == {"num_cpus": 0.5}


class TestDocuments:
    """`/openapi.json` and `/docs`."""

    @pytest.fixture
    async def document(self, api: Api) -> dict[str, Any]:
        response = await api.client.get("/openapi.json")
        assert response.status_code == 200
        document: dict[str, Any] = response.json()
        return document

    async def test_every_route_is_documented_with_its_answers(
        self, document: dict[str, Any]
    ) -> None:
        assert document["openapi"].startswith("3.1")
        found = {
            (path, method): set(operation["responses"]) - FROM_THE_GATE
            for path, operations in document["paths"].items()
            for method, operation in operations.items()
        }
        assert found == ROUTES

    async def test_every_route_says_whether_it_needs_a_key(self, document: dict[str, Any]) -> None:
        assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
        for path, operations in document["paths"].items():
            for operation in operations.values():
                assert operation["responses"].keys() >= FROM_THE_GATE
                assert {} in operation["security"], path  # this service has no keys
                assert {"key": []} in operation["security"]

    async def test_problems_are_documented_as_what_they_are(self, document: dict[str, Any]) -> None:
        for operations in document["paths"].values():
            for operation in operations.values():
                for status, answer in operation["responses"].items():
                    if status.startswith("4"):
                        assert list(answer["content"]) == ["application/problem+json"]

    async def test_every_reference_leads_somewhere(self, document: dict[str, Any]) -> None:
        def references(value: Any) -> Iterator[str]:
            if isinstance(value, dict):
                if isinstance(value.get("$ref"), str):
                    yield value["$ref"]
                for item in value.values():
                    yield from references(item)
            elif isinstance(value, list):
                for item in value:
                    yield from references(item)

        found = set(references(document))
        assert found
        for reference in found:
            place: Any = document
            for part in reference.removeprefix("#/").split("/"):
                assert part in place, reference
                place = place[part]

    async def test_the_body_and_the_query_are_documented(self, document: dict[str, Any]) -> None:
        submit = document["paths"]["/tasks/"]["post"]
        body = submit["requestBody"]["content"]["application/json"]["schema"]
        assert body["required"] == ["task_type", "payload"]
        assert body["additionalProperties"] is False
        parameters = {
            item["name"]: item for item in document["paths"]["/tasks/"]["get"]["parameters"]
        }
        assert parameters.keys() == {
            "limit",
            "offset",
            "state",
            "task_type",
            "tag",
            "created_after",
            "created_before",
            "error_type",
            "cursor",
            "namespace",
        }
        assert parameters["limit"]["schema"]["maximum"] == 500
        one = document["paths"]["/tasks/{task_id}"]["get"]["parameters"]
        assert [item["name"] for item in one] == ["task_id", "namespace", "wait"]

    async def test_the_answers_are_what_the_documents_say(
        self, api: Api, document: dict[str, Any]
    ) -> None:
        task = await api.finished(await api.submit(payload={"fail_first": 1}))
        fields = document["components"]["schemas"]["TaskWithAttemptsView"]["properties"]
        assert task.keys() == fields.keys()
        attempt = document["components"]["schemas"]["AttemptView"]["properties"]
        assert all(item.keys() == attempt.keys() for item in task["attempts"])

    async def test_the_page_for_people_answers(self, api: Api) -> None:
        response = await api.client.get("/docs")
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize("path", ["/tasks", "/task-types", "/health", "/openapi.json", "/docs"])
async def test_paths_work_with_and_without_the_last_slash(api: Api, path: str) -> None:
    await api.finished(await api.submit())
    for written in (path, f"{path}/"):
        response = await api.client.get(written)
        assert response.status_code == 200, written


async def test_submissions_and_single_tasks_work_with_and_without_the_last_slash(
    idle_api: Api,
) -> None:
    body = {"task_type": "scripted", "payload": {}}
    task_ids = []
    for path in ("/tasks", "/tasks/"):
        response = await idle_api.client.post(path, json=body)
        assert response.status_code == 202
        task_ids.append(response.json()["task_id"])
    for end in ("", "/"):
        assert (await idle_api.client.get(f"/tasks/{task_ids[0]}{end}")).status_code == 200
    for task_id, end in zip(task_ids, ("", "/"), strict=True):
        for verb in ("cancel", "retry"):
            response = await idle_api.client.post(f"/tasks/{task_id}/{verb}{end}")
            assert response.status_code == 202


class TestArtifacts:
    """`GET /artifacts/{task_id}/{name}`."""

    @pytest.mark.parametrize(
        "path",
        [
            f"{TASK_ID}/missing.jpg",
            f"{TASK_ID}/",
            f"{TASK_ID}/..",
            f"{TASK_ID}/../../tasks.db",
            f"{TASK_ID}/..%2F..%2Ftasks.db",
            f"{TASK_ID}/%2e%2e%2f%2e%2e%2ftasks.db",
            f"{TASK_ID}/..%5Ctasks.db",
            f"{TASK_ID}/.hidden",
            f"{TASK_ID}/a.jpg%00",
            f"{TASK_ID}/%2Fetc%2Fpasswd",
            f"{TASK_ID}/{'x' * 300}",
            f"{TASK_ID}/folder",
            f"{TASK_ID.upper()}/a.jpg",
            "../tasks.db",
            "..%2Ftasks.db",
            "%2e%2e/tasks.db",
            "./a.jpg",
            "*/a.jpg",
            "0198c1de-0000-7000-8000-00000000000?/a.jpg",
        ],
    )
    async def test_no_path_leads_out(self, idle_api: Api, path: str) -> None:
        task_id = (await idle_api.submit())["task_id"]
        path = path.replace(TASK_ID, task_id).replace(TASK_ID.upper(), task_id.upper())
        artifacts = idle_api.service.artifacts
        folder = artifacts.path(task_id, "a.jpg").rpartition("/")[0]
        artifacts.save(task_id, "a.jpg", b"here")
        artifacts._files.makedirs(f"{folder}/folder")
        artifacts._files.pipe_file(f"{folder}/.hidden", b"ours")
        assert (await idle_api.client.get(f"/artifacts/{task_id}/a.jpg")).content == b"here"
        url = httpx.URL("http://localhost").copy_with(raw_path=f"/artifacts/{path}".encode())
        response = await idle_api.client.get(url)
        assert response.status_code == 404
        assert response.headers["content-type"] == "application/problem+json"


async def test_handlers_put_nothing_back_in_the_process_of_the_tests(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others set variables while an attempt runs, and rely on them afterwards: typer does."""
    began, go = tmp_path / "began", tmp_path / "go"
    task = await api.submit(payload={"step": "wait_file", "file": str(go), "mark": str(began)})
    async with asyncio.timeout(20):
        while not began.exists():  # noqa: ASYNC110 - only the handler knows when it has begun
            await asyncio.sleep(0.01)
    monkeypatch.setenv("SET_MEANWHILE", "1")
    go.touch()
    assert (await api.finished(task))["state"] == "COMPLETED"
    assert os.environ.get("SET_MEANWHILE") == "1"
