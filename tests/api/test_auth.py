"""The rights of callers: keys, scopes, and this machine without a key."""

import hmac
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from raytasks.api.auth import LOCAL, STRANGER, Caller, Keys
from raytasks.api.problems import Problem
from raytasks.api_keys import ApiKey, Scope, digest_of
from tests.keyring import API_KEYS, KEYS, bearer, locked
from tests.local_service import Api

UNKNOWN = "0198c1de-0000-7000-8000-000000000000"
GOOD = {"task_type": "scripted", "payload": {}}
BODIES = {
    "/tasks/": GOOD,
    "/tasks/batch": {"tasks": [GOOD]},
    "/pause": {"task_type": "scripted", "seconds": 0.001},
    "/resume": {},
}


SHARED = pytest.mark.asyncio(loop_scope="module")  # with the service of the module


ROUTES = (
    ("POST", "/tasks/", Scope.SUBMIT),
    ("POST", "/tasks/batch", Scope.SUBMIT),
    ("GET", "/tasks/", Scope.READ),
    ("GET", f"/tasks/{UNKNOWN}", Scope.READ),
    ("GET", f"/tasks/{UNKNOWN}/artifacts", Scope.READ),
    ("POST", f"/tasks/{UNKNOWN}/retry", Scope.OPERATE),
    ("POST", f"/tasks/{UNKNOWN}/cancel", Scope.OPERATE),
    ("GET", "/task-types", Scope.READ),
    ("GET", f"/artifacts/{UNKNOWN}/a.jpg", Scope.READ),
)

PUBLIC = ("/health", "/livez", "/readyz")


async def call(api: Api, method: str, path: str, **headers: str) -> httpx.Response:
    """Send a request that is right but for its key, perhaps."""
    body = BODIES.get(path) if method == "POST" else None
    return await api.client.request(method, path, json=body, headers=headers)


def check_problem(response: httpx.Response, status: int) -> str:
    """Check that an answer is a problem document with this status, and return its detail."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    detail: str = response.json()["detail"]
    return detail


class TestKeys:
    @pytest.mark.parametrize(("method", "path", "scope"), ROUTES)
    @SHARED
    async def test_without_a_key_it_is_a_401(
        self, locked_api: Api, method: str, path: str, scope: Scope
    ) -> None:
        response = await call(locked_api, method, path)
        assert "Authorization: Bearer" in check_problem(response, 401)
        assert response.headers["www-authenticate"].startswith("Bearer")

    @pytest.mark.parametrize(
        "path", ["/nothing", "/tasks/a/b", "/docs/oauth2-redirect", "//health"]
    )
    @SHARED
    async def test_what_is_not_there_is_not_told_to_strangers(
        self, locked_api: Api, path: str
    ) -> None:
        url = httpx.URL("http://localhost").copy_with(raw_path=path.encode())
        check_problem(await locked_api.client.get(url), 401)
        assert (await locked_api.client.get(url, headers=bearer("r"))).status_code in (200, 404)

    @pytest.mark.parametrize(
        "value",
        [
            "Bearer", "Bearer ", f"Bearer {KEYS['x']}", f"Bearer {KEYS['r']}x",
            f"Bearer {KEYS['r'][:-1]}", f"Basic {KEYS['r']}", KEYS["r"], f"bearer{KEYS['r']}",
            f"Bearer {digest_of(KEYS['r'])}", "Bearer ÿ",
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("path", ["/tasks/", "/health", "/docs"])
    @SHARED
    async def test_a_wrong_key_is_a_401_everywhere(
        self, locked_api: Api, value: str, path: str
    ) -> None:
        headers = {b"Authorization": value.encode("latin-1")}
        response = await locked_api.client.get(path, headers=headers)
        detail = check_problem(response, 401)
        assert response.headers["www-authenticate"].startswith("Bearer")
        assert "rtk_" not in detail

    @SHARED
    async def test_two_keys_at_once_are_none(self, locked_api: Api) -> None:
        headers = [("Authorization", f"Bearer {KEYS['r']}")] * 2
        check_problem(await locked_api.client.get("/tasks/", headers=headers), 401)

    @pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
    @SHARED
    async def test_the_schemes_case_does_not_matter(self, locked_api: Api, scheme: str) -> None:
        headers = {"Authorization": f"{scheme}  {KEYS['r']}"}
        assert (await locked_api.client.get("/tasks/", headers=headers)).status_code == 200

    @pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/health"])
    @SHARED
    async def test_what_is_public_needs_none(self, locked_api: Api, path: str) -> None:
        for written in (path, f"{path}/"):
            assert (await locked_api.client.get(written)).status_code in (200, 503)

    @pytest.mark.parametrize("host", ["example.test", "10.0.0.7:8000"])
    @SHARED
    async def test_with_keys_any_host_will_do(self, locked_api: Api, host: str) -> None:
        headers = {"Host": host, **bearer("r")}
        assert (await locked_api.client.get("/tasks/", headers=headers)).status_code == 200

    async def test_with_keys_they_are_needed_with_debug_too(
        self, sqlite_url: str, tmp_path: Path
    ) -> None:
        async with locked(sqlite_url, tmp_path, debug=True) as api:
            check_problem(await api.client.get("/tasks/"), 401)

    async def test_without_keys_and_debug_nobody_gets_in(
        self, sqlite_url: str, tmp_path: Path
    ) -> None:
        async with locked(sqlite_url, tmp_path, (), debug=False) as api:
            for headers in ({}, bearer("r")):
                check_problem(await api.client.get("/tasks/", headers=headers), 401)

    def test_all_keys_are_compared_whichever_fits(self, monkeypatch: pytest.MonkeyPatch) -> None:
        compared: list[bytes] = []

        def compare(one: bytes, other: bytes) -> bool:
            compared.append(one)
            return one == other

        monkeypatch.setattr(hmac, "compare_digest", compare)
        keys = Keys(API_KEYS)
        found = [keys.find(KEYS[name]) for name in ("r", "b", "x")]
        assert [caller and caller.name for caller in found] == ["r", "b", None]
        assert compared == [item.digest.encode() for item in API_KEYS] * 3


class TestScopes:
    @pytest.mark.parametrize(("method", "path", "scope"), ROUTES)
    @SHARED
    async def test_each_route_needs_its_own_alone(
        self, locked_api: Api, method: str, path: str, scope: Scope
    ) -> None:
        for name, other in (("r", Scope.READ), ("s", Scope.SUBMIT), ("o", Scope.OPERATE)):
            response = await call(locked_api, method, path, **bearer(name))
            if other is scope:
                assert response.status_code in (200, 202, 404), (name, response.text)
            else:
                assert f"scope {scope.value}," in check_problem(response, 403)

    @SHARED
    async def test_what_is_refused_changes_nothing(self, locked_api: Api) -> None:
        before = await locked_api.client.get("/tasks/", headers=bearer("r"))
        for name in ("r", "o"):
            check_problem(await call(locked_api, "POST", "/tasks/", **bearer(name)), 403)
        after = await locked_api.client.get("/tasks/", headers=bearer("r"))
        assert after.json()["total"] == before.json()["total"]

    @SHARED
    async def test_health_tells_strangers_no_more_than_that(self, locked_api: Api) -> None:
        for headers, all_of_it in (({}, False), (bearer("s"), False), (bearer("r"), True)):
            report = (await locked_api.client.get("/health", headers=headers)).json()
            assert ("runners" in report) is all_of_it
            assert report.keys() >= {"status", "version"}
            assert all_of_it or len(report) == 2

    async def test_a_key_without_scopes_may_do_nothing(
        self, sqlite_url: str, tmp_path: Path
    ) -> None:
        """Looks at all that is documented: a new route is not left open by forgetting."""
        useless = ApiKey("useless", frozenset(), None, digest_of(KEYS["x"]))
        async with locked(sqlite_url, tmp_path, (useless,)) as api:
            paths = (await api.client.get("/openapi.json")).json()["paths"]
            routes = {(method, path) for path, item in paths.items() for method in item}
            assert len(routes) > len(ROUTES)
            for method, path in routes - {("get", name) for name in (*PUBLIC, "/me")}:
                # Whatever else is in braces is an id, too.
                filled = path.replace("{name}", "a.jpg").replace("{task_id}", UNKNOWN)
                response = await api.client.request(method, filled, headers=bearer("x"))
                assert "does not have the scope" in check_problem(response, 403), (method, path)


class TestCaller:
    FREE = Caller("a", frozenset(Scope))
    BOUND = Caller("b", frozenset(Scope), "team-b")

    def test_a_free_key_works_where_it_is_asked_to(self) -> None:
        assert self.FREE.namespace_for(None) == "default"
        assert self.FREE.namespace_for("team-b") == "team-b"
        assert LOCAL.namespace_for("x") == "x"

    def test_a_bound_key_works_in_its_own_alone(self) -> None:
        assert self.BOUND.namespace_for(None) == "team-b"
        assert self.BOUND.namespace_for("team-b") == "team-b"
        for other in ("default", "team-a", "team-b2"):
            with pytest.raises(Problem) as caught:
                self.BOUND.namespace_for(other)
            assert caught.value.status == 403
            assert "team-b" in caught.value.detail

    @pytest.mark.parametrize("name", ["", "A", "-a", "a_b", "a" * 64, "a/b", "a\n", "ä"])
    def test_what_is_no_name_is_refused(self, name: str) -> None:
        for caller in (self.FREE, self.BOUND):
            with pytest.raises(Problem) as caught:
                caller.namespace_for(name)
            assert caught.value.status == 422
            assert caught.value.errors[0].pointer == "?namespace"

    def test_nobody_can_change_it(self) -> None:
        with pytest.raises(AttributeError):
            self.BOUND.namespace = None  # type: ignore[misc]
        assert not STRANGER.scopes

    @pytest.mark.parametrize(
        ("method", "path", "scope"), [r for r in ROUTES if "types" not in r[1]]
    )
    @SHARED
    async def test_each_route_refuses_another_namespace(
        self, locked_api: Api, method: str, path: str, scope: Scope
    ) -> None:
        asked = f"{path}?namespace=team-a"
        headers = bearer("b")
        body = BODIES.get(path) if method == "POST" else None
        response = await locked_api.client.request(method, asked, json=body, headers=headers)
        assert "team-b" in check_problem(response, 403)
        for bad in ("Team", ""):
            asked = f"{path}?namespace={bad}"
            response = await locked_api.client.request(method, asked, json=body, headers=headers)
            assert response.json()["errors"][0]["pointer"] == "?namespace"
            assert response.status_code == 422


class TestLocal:
    """Without keys, and with DEBUG."""

    @pytest.mark.parametrize(
        "host",
        ["localhost", "LOCALHOST:8000", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:65535"],
    )
    async def test_loopback_names_are_taken(self, idle_api: Api, host: str) -> None:
        assert (await idle_api.client.get("/tasks/", headers={"Host": host})).status_code == 200

    @pytest.mark.parametrize(
        "host",
        [
            "example.test", "localhost.example.test", "localhost@example.test", "127.0.0.1.example",
            "192.168.1.7:8000", "0.0.0.0", "[::]", "localhost:", "localhost:80:80", "::1:x", "",
            "localhost:8000@example.test", "[::1].example.test", "ⓛocalhost",
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("path", ["/tasks/", "/health", "/docs", "/nothing"])
    async def test_others_are_refused(self, idle_api: Api, host: str, path: str) -> None:
        headers = {b"Host": host.encode()}
        response = await idle_api.client.get(path, headers=headers)
        assert "API_KEYS" in check_problem(response, 403)

    async def test_two_hosts_are_refused(self, idle_api: Api) -> None:
        headers = [("Host", "localhost"), ("Host", "example.test")]
        check_problem(await idle_api.client.get("/tasks/", headers=headers), 403)

    async def test_a_key_is_not_looked_at(self, idle_api: Api) -> None:
        response = await idle_api.client.get("/tasks/", headers=bearer("x"))
        assert response.status_code == 200


OWN_PAGE = {"Host": "localhost:8000", "Origin": "http://localhost:8000"}


class TestLocalPages:
    """Without keys, and with DEBUG: a browser sends requests for pages of any origin."""

    CHANGES = (
        ("POST", "/tasks/"), ("POST", "/tasks/batch"), ("PATCH", f"/tasks/{UNKNOWN}"),
        ("DELETE", f"/tasks/{UNKNOWN}"), ("POST", f"/tasks/{UNKNOWN}/retry"),
        ("POST", f"/tasks/{UNKNOWN}/cancel"), ("POST", "/schedules/nightly/run"),
        ("POST", "/schedules/nightly/pause"), ("POST", "/outbox/nudge"), ("POST", "/pause"),
        ("PUT", "/limits/mail"), ("POST", "/nothing"),
    )  # fmt: skip
    FOREIGN = (
        {"Origin": "https://evil.example"}, {"Origin": "http://localhost:3000"},
        {"Origin": "http://localhost"}, {"Origin": "http://127.0.0.1:8000"}, {"Origin": "null"},
        {"Origin": ""}, {"Origin": "localhost:8000"}, {"Origin": "http://x@localhost:8000"},
        {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
        OWN_PAGE | {"Sec-Fetch-Site": "cross-site"},
    )  # fmt: skip

    @pytest.mark.parametrize(("method", "path"), CHANGES)
    async def test_one_from_elsewhere_changes_nothing(
        self, idle_api: Api, method: str, path: str
    ) -> None:
        for headers in self.FOREIGN:
            sent = {"Host": "localhost:8000"} | headers
            response = await idle_api.client.request(method, path, headers=sent)
            named = "Sec-Fetch-Site" if "Sec-Fetch-Site" in headers else "Origin"
            detail = check_problem(response, 403)
            assert f"header {named}: {headers[named]};" in detail
            assert "raytasks keys new" in detail

    async def test_a_submission_as_plain_text_is_refused(self, idle_api: Api) -> None:
        """A browser asks before it sends JSON to another origin, and not before it sends text."""
        body = b'{"task_type":"scripted","payload":{}}'
        for path in ("/tasks/", "/tasks", "/tasks/?namespace=default"):
            for kind in ({"Content-Type": "text/plain"}, {}):
                for headers, status in ((OWN_PAGE, 415), (OWN_PAGE | {"Origin": "null"}, 403)):
                    response = await idle_api.client.post(
                        path, content=body, headers=headers | kind
                    )
                    check_problem(response, status)
        assert await idle_api.total() == 0

    async def test_a_cancel_from_elsewhere_is_not_done(self, idle_api: Api) -> None:
        path = f"/tasks/{(await idle_api.submit())['task_id']}"
        for headers, status in (({"Origin": "https://evil.example"}, 403), ({}, 202)):
            answer = await idle_api.client.post(f"{path}/cancel", headers=headers)
            assert answer.status_code == status
            cancelled = (await idle_api.client.get(path)).json()["state"] == "CANCELLED"
            assert cancelled is (status == 202)

    @pytest.mark.parametrize(
        "site", [{}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}]
    )
    @pytest.mark.parametrize(
        "own",
        [
            {}, OWN_PAGE, {"Host": "LOCALHOST:1", "Origin": "http://localhost:1"},
            {"Host": "[::1]:8000", "Origin": "http://[::1]:8000"},
            {"Host": "localhost", "Origin": "https://localhost"},
        ],
    )  # fmt: skip
    async def test_the_service_s_own_page_and_clients_may(
        self, idle_api: Api, own: dict[str, str], site: dict[str, str]
    ) -> None:
        response = await idle_api.client.post("/tasks/", json=GOOD, headers=own | site)
        assert response.status_code == 202, response.text

    async def test_what_is_only_read_may_come_from_anywhere(self, idle_api: Api) -> None:
        for headers in self.FOREIGN:
            sent = {"Host": "localhost:8000"} | headers
            assert (await idle_api.client.get("/tasks/", headers=sent)).status_code == 200

    @SHARED
    async def test_with_keys_it_does_not_matter(self, locked_api: Api) -> None:
        for headers in self.FOREIGN:
            response = await call(locked_api, "POST", "/tasks/", **headers, **bearer("s"))
            assert response.status_code == 202, response.text


class TestTracebacks:
    """Only an operator sees what handlers' errors tell of their code."""

    @pytest.fixture
    async def failing(self, sqlite_url: str, tmp_path: Path) -> AsyncIterator[Api]:
        async with locked(sqlite_url, tmp_path, runner=True) as api:
            api.client.headers.update(bearer("a"))
            yield api

    async def test_they_need_the_scope_operate(self, failing: Api) -> None:
        task = await failing.finished(await failing.submit(payload={"step": "permanent"}))
        assert task["state"] == "FAILED"
        path = f"/tasks/{task['task_id']}"
        for name, seen in (("r", False), ("a", True)):
            one = (await failing.client.get(path, headers=bearer(name))).json()
            (listed,) = (await failing.client.get("/tasks/", headers=bearer(name))).json()["tasks"]
            for error in (one["error"], listed["error"], one["attempts"][0]["error"]):
                assert bool(error["traceback"]) is seen
                assert error["message"]
                assert error.keys() == {"type", "message", "retryable", "traceback"}


async def test_the_document_says_what_needs_a_key(sqlite_url: str, tmp_path: Path) -> None:
    async with locked(sqlite_url, tmp_path) as api:
        paths = (await api.client.get("/openapi.json")).json()["paths"]
    for path, operations in paths.items():
        public = path in PUBLIC or path.startswith("/artifacts/")
        for operation in operations.values():
            assert operation["security"] == ([{}] if public else []) + [{"key": []}], path
