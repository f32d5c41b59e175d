"""Every error is a problem document, and bad input changes nothing."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from raytasks.model.tasks import StoreUnavailable
from tests.local_service import Api

SHARED = pytest.mark.asyncio(loop_scope="module")  # with the service of the module

UNKNOWN = "0198c1de-0000-7000-8000-000000000000"
GOOD = {"task_type": "scripted", "payload": {}}


def check_problem(response: httpx.Response, status: int) -> dict[str, Any]:
    """Check that an answer is a problem document with this status, and return it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert problem.keys() - {"errors"} == {"type", "title", "status", "detail"}
    assert problem["type"] == "about:blank"
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    for error in problem.get("errors", []):
        assert error.keys() == {"pointer", "message"}
        assert error["message"]
    return problem


def pointers(problem: dict[str, Any]) -> set[str]:
    """Return the places that a problem names."""
    return {error["pointer"] for error in problem["errors"]}


async def post(api: Api, body: Any, **headers: str) -> httpx.Response:
    """Post a submission: text or bytes as they are, anything else as JSON."""
    content = body if isinstance(body, str | bytes) else json.dumps(body)
    return await api.client.post(
        "/tasks/", content=content, headers={"Content-Type": "application/json"} | headers
    )


def shown(value: object) -> str:
    """Return a parameter's id, which is the same in all of pytest's processes."""
    return ascii(sorted(value) if isinstance(value, set) else value)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "   ",
        "{",
        '{"task_type": "scripted", "payload": {}',
        '{"task_type": "scripted", "payload": {}} x',
        "{'task_type': 'scripted'}",
        '{"task_type": "scripted", "payload": {"value": NaN}}',
        '{"task_type": "scripted", "payload": {"value": Infinity}}',
        '{"task_type": "scripted", "payload": {"value": -Infinity}}',
        '{"task_type": "scripted", "payload": {"value": 1e999}}',
        '{"task_type": "scripted", "payload": {"value": [-1E400]}}',
        '{"task_type": "scripted", "payload": {"value": "\\ud800"}}',
        '{"task_type": "scripted", "payload": {"value": "a\nb"}}',
        '{"task_type": "scripted", "payload": {"value": 01}}',
        '{"task_type": "scripted", "payload": {"value": 1,}}',
        b'{"task_type": "scripted", "payload": {"value": "\xff"}}',
        b'{"task_type": "scripted", "payload": {"value": "\xed\xa0\x80"}}',
        '{"task_type": "scripted"}'.encode("utf-16"),
        b"\x00",
    ],
    ids=shown,
)
@SHARED
async def test_what_is_not_json_is_a_400(calm_api: Api, body: str | bytes) -> None:
    problem = check_problem(await post(calm_api, body), 400)
    assert "not valid JSON" in problem["detail"]
    assert await calm_api.total() == 0


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ([], {""}),
        ("null", {""}),
        ("7", {""}),
        ({}, {"/task_type", "/payload"}),
        ({"task_type": "scripted"}, {"/payload"}),
        ({"task_type": 7, "payload": {}}, {"/task_type"}),
        ({"task_type": None, "payload": {}}, {"/task_type"}),
        ({**GOOD, "payload": None}, {"/payload"}),
        ({**GOOD, "payload": []}, {"/payload"}),
        ({**GOOD, "payload": {"step": "dance"}}, {"/payload/step"}),
        ({**GOOD, "payload": {"seconds": -1, "fail_first": 0.5}},
         {"/payload/seconds", "/payload/fail_first"}),
        ({**GOOD, "payload": {"a/b~c": 1}}, {"/payload/a~1b~0c"}),
        ({**GOOD, "extra": 1}, {"/extra"}),
        ({**GOOD, "Priority": 1}, {"/Priority"}),
        ({**GOOD, "priority": "high"}, {"/priority"}),
        ({**GOOD, "priority": 1.5}, {"/priority"}),
        ({**GOOD, "priority": 2**70}, {"/priority"}),
        ({**GOOD, "priority": -1001}, {"/priority"}),
        ({**GOOD, "max_attempts": 0}, {"/max_attempts"}),
        ({**GOOD, "max_attempts": 1001}, {"/max_attempts"}),
        ({**GOOD, "timeout_seconds": 0}, {"/timeout_seconds"}),
        ({**GOOD, "timeout_seconds": -1}, {"/timeout_seconds"}),
        ({**GOOD, "timeout_seconds": 1e9}, {"/timeout_seconds"}),
        ({**GOOD, "delay_seconds": -0.1}, {"/delay_seconds"}),
        ({**GOOD, "delay_seconds": 1e12}, {"/delay_seconds"}),
        ({**GOOD, "delay_seconds": 1e300}, {"/delay_seconds"}),
        ({**GOOD, "run_at": "tomorrow"}, {"/run_at"}),
        ({**GOOD, "run_at": "2027-01-01T00:00:00"}, {"/run_at"}),
        ({**GOOD, "run_at": "9999-01-01T00:00:00Z"}, {"/run_at"}),
        ({**GOOD, "run_at": "9999-12-31T23:59:59-23:59"}, {"/run_at"}),
        ({**GOOD, "run_at": "2027-01-01T00:00:00Z", "delay_seconds": 1}, {""}),
    ],
    ids=shown,
)  # fmt: skip
@SHARED
async def test_what_does_not_fit_is_a_422_that_names_the_fields(
    calm_api: Api, body: Any, where: set[str]
) -> None:
    problem = check_problem(await post(calm_api, body), 422)
    assert pointers(problem) == where
    assert await calm_api.total() == 0


@pytest.mark.parametrize("hour", ["-0001-01-01", "0000-01-01", "0001-01-01"])
async def test_times_out_of_all_range_do_no_harm(idle_api: Api, hour: str) -> None:
    response = await post(idle_api, {**GOOD, "run_at": f"{hour}T00:00:00+23:59"})
    assert response.status_code in (202, 422)


async def test_an_unknown_type_is_told_with_the_nearest_and_the_known(idle_api: Api) -> None:
    problem = check_problem(await post(idle_api, {"task_type": "scriptd", "payload": {}}), 422)
    assert "did you mean 'scripted'?" in problem["detail"]
    (error,) = problem["errors"]
    assert error["pointer"] == "/task_type"
    for known in idle_api.service.registry.task_types:
        assert known in error["message"]
    assert await idle_api.total() == 0


async def test_an_unknown_type_that_is_like_no_other(idle_api: Api) -> None:
    body = {"task_type": "☃" * 500, "payload": {}}
    problem = check_problem(await post(idle_api, json.dumps(body)), 413)
    body["task_type"] = "☃" * 200
    problem = check_problem(await post(idle_api, json.dumps(body, ensure_ascii=False)), 422)
    assert "did you mean" not in problem["detail"]
    assert len(problem["detail"]) < 200


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonx"]
)
@SHARED
async def test_another_media_type_is_a_415(calm_api: Api, content_type: str) -> None:
    response = await post(calm_api, GOOD, **{"Content-Type": content_type})
    check_problem(response, 415)
    assert await calm_api.total() == 0


class TestSize:
    """MAX_PAYLOAD_BYTES, here 2000."""

    async def test_the_largest_body_is_taken(self, idle_api: Api) -> None:
        body = json.dumps({**GOOD, "payload": {"value": ""}})
        body = body.replace('""', f'"{"x" * (2000 - len(body))}"')
        assert len(body) == 2000
        assert (await post(idle_api, body)).status_code == 202
        check_problem(await post(idle_api, body + " "), 413)

    async def test_a_declared_length_is_enough_to_refuse(self, idle_api: Api) -> None:
        async def body() -> AsyncIterator[bytes]:
            raise AssertionError("the body was read")
            yield b""  # type: ignore[unreachable]

        headers = {"Content-Type": "application/json", "Content-Length": "2001"}
        response = await idle_api.client.post("/tasks/", content=body(), headers=headers)
        problem = check_problem(response, 413)
        assert "MAX_PAYLOAD_BYTES" in problem["detail"]

    async def test_a_batch_has_a_bound_of_its_own(self, idle_api: Api) -> None:
        most = idle_api.service.settings.max_batch_bytes
        headers = {"Content-Type": "application/json", "Content-Length": str(most + 1)}
        response = await idle_api.client.post("/tasks/batch", content=b"{}", headers=headers)
        assert "(RAYTASKS_MAX_BATCH_BYTES)" in check_problem(response, 413)["detail"]

    async def test_a_chunked_body_is_not_read_to_its_end(self, idle_api: Api) -> None:
        sent = 0

        async def body() -> AsyncIterator[bytes]:
            nonlocal sent
            while True:
                sent += 1000
                yield b" " * 1000

        response = await idle_api.client.post(
            "/tasks/", content=body(), headers={"Content-Type": "application/json"}
        )
        check_problem(response, 413)
        assert sent <= 4000
        assert await idle_api.total() == 0

    @pytest.mark.parametrize("length", ["-1", "abc", "9" * 50, "²"])
    async def test_a_senseless_length_does_no_harm(self, idle_api: Api, length: str) -> None:
        async def body() -> AsyncIterator[bytes]:
            yield json.dumps(GOOD).encode()

        headers = {b"Content-Type": b"application/json", b"Content-Length": length.encode()}
        response = await idle_api.client.post("/tasks/", content=body(), headers=headers)
        assert response.status_code in (202, 400, 413)


@pytest.mark.parametrize(
    "query",
    [
        "limit=0", "limit=501", "limit=-1", "limit=ten", "limit=", "limit=1.5", "limit=1e2",
        "offset=-1", "offset=x", f"offset={2**63}", f"offset={10**40}",
        "state=DONE", "state=completed", "state=", "state=PENDING,FAILED",
        "task_type=%00", "color=red", "Limit=1",
    ],
)  # fmt: skip
@SHARED
async def test_bad_query_values_of_the_list_are_a_422(calm_api: Api, query: str) -> None:
    problem = check_problem(await calm_api.client.get(f"/tasks/?{query}"), 422)
    assert pointers(problem) == {f"?{query.partition('=')[0]}"}


@pytest.mark.parametrize("wait", ["-1", "61", "x", "", "nan", "inf"])
@SHARED
async def test_bad_waits_are_a_422(calm_api: Api, wait: str) -> None:
    problem = check_problem(await calm_api.client.get(f"/tasks/{UNKNOWN}?wait={wait}"), 422)
    assert pointers(problem) == {"?wait"}


@pytest.mark.parametrize(
    "task_id",
    [
        UNKNOWN, "x", "1", "None", UNKNOWN.upper(), UNKNOWN.replace("-", ""), f"{UNKNOWN}0",
        "%00", "%2e%2e", "ä", "'; DROP TABLE tasks; --", "x" * 5000, "%ff",
    ],
    ids=shown,
)  # fmt: skip
@pytest.mark.parametrize(("method", "end"), [("GET", ""), ("POST", "/retry"), ("POST", "/cancel")])
@SHARED
async def test_an_unknown_id_is_a_404(calm_api: Api, task_id: str, method: str, end: str) -> None:
    response = await calm_api.client.request(method, f"/tasks/{task_id}{end}")
    problem = check_problem(response, 404)
    assert len(problem["detail"]) < 300


@pytest.mark.parametrize(
    "path", ["/", "/nothing", "/task", "/tasks/a/b", "/tasks/a/b/c", "//", "/tasks//", "/health/x"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
@SHARED
async def test_an_unknown_path_is_a_404(calm_api: Api, path: str, method: str) -> None:
    url = httpx.URL("http://localhost").copy_with(raw_path=path.encode())
    check_problem(await calm_api.client.request(method, url), 404)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/tasks/", {"GET", "POST"}),
        ("DELETE", "/tasks", {"GET", "POST"}),
        ("PATCH", "/tasks/", {"GET", "POST"}),
        ("POST", f"/tasks/{UNKNOWN}", {"DELETE", "GET", "PATCH"}),
        ("PUT", f"/tasks/{UNKNOWN}", {"DELETE", "GET", "PATCH"}),
        ("GET", f"/tasks/{UNKNOWN}/retry", {"POST"}),
        ("GET", f"/tasks/{UNKNOWN}/cancel/", {"POST"}),
        ("POST", "/task-types", {"GET"}),
        ("POST", "/health", {"GET"}),
        ("OPTIONS", "/health", {"GET"}),
        ("BREW", "/health", {"GET"}),
        ("POST", f"/artifacts/{UNKNOWN}/a.jpg", {"GET"}),
    ],
)
@SHARED
async def test_another_method_is_a_405_that_names_the_right_ones(
    calm_api: Api, method: str, path: str, allowed: set[str]
) -> None:
    response = await calm_api.client.request(method, path)
    problem = check_problem(response, 405)
    named = {name.strip() for name in response.headers["allow"].split(",")}
    assert named == allowed
    assert all(name in problem["detail"] for name in allowed)


async def test_over_the_backlog_is_a_429(idle_api: Api) -> None:
    for _ in range(3):
        await idle_api.submit()
    response = await post(idle_api, GOOD)
    problem = check_problem(response, 429)
    assert int(response.headers["retry-after"]) > 0
    assert "MAX_BACKLOG" in problem["detail"]
    assert await idle_api.total() == 3


class TestTrouble:
    """The tracker, or what is behind it, is away."""

    CALLS = (
        ("POST", "/tasks/"),
        ("GET", "/tasks/"),
        ("GET", f"/tasks/{UNKNOWN}"),
        ("POST", f"/tasks/{UNKNOWN}/retry"),
        ("POST", f"/tasks/{UNKNOWN}/cancel"),
    )

    @pytest.mark.parametrize(("method", "path"), CALLS)
    async def test_without_a_database_it_is_a_503(
        self, idle_api: Api, method: str, path: str
    ) -> None:
        idle_api.service.backend.failure = StoreUnavailable("the database is away")
        body = GOOD if path == "/tasks/" and method == "POST" else None
        response = await idle_api.client.request(method, path, json=body)
        problem = check_problem(response, 503)
        assert problem["detail"] == "the database is away"
        assert int(response.headers["retry-after"]) > 0

    @pytest.mark.parametrize(("method", "path"), CALLS)
    async def test_an_error_of_our_own_is_a_500_that_tells_no_secrets(
        self, idle_api: Api, method: str, path: str
    ) -> None:
        idle_api.service.backend.failure = RuntimeError("password=hunter2")
        body = GOOD if path == "/tasks/" and method == "POST" else None
        response = await idle_api.client.request(method, path, json=body)
        check_problem(response, 500)
        assert "hunter2" not in response.text

    async def test_a_wait_goes_on_when_the_feed_was_away_for_a_moment(self, api: Api) -> None:
        api.service.backend.failure = StoreUnavailable("the database is away")
        check_problem(await api.client.get(f"/tasks/{UNKNOWN}?wait=5"), 503)
        api.service.backend.failure = None
        assert (await api.finished(await api.submit()))["state"] == "COMPLETED"
