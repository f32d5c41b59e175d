"""Each operation of the clients, sync and async: what is asked, and what becomes of the answers."""

import inspect
import json
import pickle
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest

import raytasks
from raytasks.client import (
    ApiError,
    AsyncClient,
    BadArgument,
    Client,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    RevisionChanged,
    ServiceUnavailable,
    TaskFailed,
    TooManyRequests,
    Unauthorized,
    WaitTimeout,
    api,
)
from tests.client_wire import HTML, REFUSED, Answer, AsyncWire, Clock, Wire, ok, problem

ID = "0198c1de-0000-7000-8000-000000000000"
OPERATION = {"bulk_id": "b", "state": "RUNNING", "matched": 5, "looked_at": 2, "changed": 1}


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that only pauses move."""
    clock = Clock(monkeypatch)
    monkeypatch.delenv("RAYTASKS_API_KEY", raising=False)
    return clock


@pytest.fixture(params=[Wire, AsyncWire], ids=["sync", "async"])
def wired(request: pytest.FixtureRequest) -> type[Wire]:
    """The kind of the client."""
    kind: type[Wire] = request.param
    return kind


def body_of(request: httpx.Request) -> Any:
    return json.loads(request.content)


def test_both_clients_offer_the_same() -> None:
    def offered(kind: type) -> dict[str, inspect.Signature]:
        return {
            name: inspect.signature(member).replace(return_annotation=None)
            for name, member in vars(kind).items()
            if callable(member) and not name.startswith("_")
        }

    assert offered(Client) == offered(AsyncClient)
    assert len(offered(Client)) >= 21
    for name, member in vars(AsyncClient).items():
        if callable(member) and not name.startswith("_"):
            waits = inspect.iscoroutinefunction(member) or inspect.isasyncgenfunction(member)
            assert waits or name in ("events", "all_events", "logs"), name


CALLS: list[tuple[Callable[[Any], Any], str, str, Any]] = [
    (lambda c: c.submit("noop", {"a": None}, tags=["x"], priority=None), "POST", "/tasks/",
     {"task_type": "noop", "payload": {"a": None}, "tags": ["x"]}),
    (lambda c: c.submit("noop", 1, run_at="2030-01-01T00:00:00Z"), "POST", "/tasks/",
     {"task_type": "noop", "payload": 1, "run_at": "2030-01-01T00:00:00Z"}),
    (lambda c: c.submit_many([{"task_type": "noop", "payload": 1, "priority": None}]), "POST",
     "/tasks/batch", {"tasks": [{"task_type": "noop", "payload": 1}]}),
    (lambda c: c.get(ID), "GET", f"/tasks/{ID}", None),
    (lambda c: c.get(ID, wait_seconds=90), "GET", f"/tasks/{ID}?wait=60.0", None),
    (lambda c: c.list(state="FAILED", tag="a/b", cursor="x=", limit=3, offset=None), "GET",
     "/tasks/?state=FAILED&tag=a%2Fb&cursor=x%3D&limit=3", None),
    (lambda c: c.retry("../x"), "POST", "/tasks/..%2Fx/retry", None),
    (lambda c: c.retry("x", priority=1), "POST", "/tasks/x/retry", {"priority": 1}),
    (lambda c: c.retry("x", revision=3), "POST", "/tasks/x/retry", None),
    (lambda c: c.update("x", revision=3, payload=None, tags=[]), "PATCH", "/tasks/x",
     {"payload": None, "tags": []}),
    (lambda c: c.bulk_delete(tag="t"), "POST", "/bulk",
     {"action": "delete", "tag": "t", "dry_run": False}),
    (lambda c: c.cancel(ID), "POST", f"/tasks/{ID}/cancel", None),
    (lambda c: c.bulk_retry(state="FAILED", tag=None), "POST", "/bulk",
     {"action": "retry", "state": "FAILED", "dry_run": False}),
    (lambda c: c.bulk_cancel(task_type="noop", dry_run=True), "POST", "/bulk",
     {"action": "cancel", "task_type": "noop", "dry_run": True}),
    (lambda c: c.bulk("b/x"), "GET", "/bulk/b%2Fx", None),
    (lambda c: c.bulks(), "GET", "/bulk", None),
    (lambda c: c.stats(), "GET", "/stats", None),
    (lambda c: c.stats_series(), "GET", "/stats/series", None),
    (lambda c: c.stats_series(600, "a"), "GET", "/stats/series?seconds=600&task_type=a", None),
    (lambda c: c.metrics(), "GET", "/metrics", None),
    (lambda c: c.task_types(), "GET", "/task-types", None),
    (lambda c: c.health(), "GET", "/health", None),
    (lambda c: c.pools(), "GET", "/pools", None),
    (lambda c: c.runners(), "GET", "/runners", None),
    (lambda c: c.nodes(), "GET", "/nodes", None),
    (lambda c: c.cluster(), "GET", "/nodes", None),
    (lambda c: c.versions(), "GET", "/versions", None),
    (lambda c: c.outbox(), "GET", "/outbox", None),
    (lambda c: c.nudge_outbox(), "POST", "/outbox/nudge", None),
    (lambda c: c.artifacts(ID), "GET", f"/tasks/{ID}/artifacts", None),
    (lambda c: c.artifact(ID, "a b.png"), "GET", f"/artifacts/{ID}/a%20b.png", None),
]  # fmt: skip


@pytest.mark.parametrize(("call", "method", "url", "body"), CALLS)
def test_what_is_asked(
    wired: type[Wire], call: Callable[[Any], Any], method: str, url: str, body: Any
) -> None:
    wire = wired(
        ok(tasks=[], operations=[], artifacts=[], pools=[], runners=[], nodes=[], versions=[])
    )
    wire.do(call)
    (request,) = wire.requests
    assert request.method == method
    assert str(request.url) == f"http://host:1{url}"
    assert (json.loads(request.content) if request.content else None) == body


def test_answers_are_unpacked(wired: type[Wire]) -> None:
    assert wired(ok(tasks=[{"task_id": "1"}])).do(
        lambda c: c.submit_many([{"task_type": "noop", "payload": 1}])
    ) == [{"task_id": "1", "duplicate": False}]
    two = [{"task_id": "1"}, {"task_id": "2"}]
    tasks = wired(ok(tasks=two, duplicates=[1])).do(
        lambda c: c.submit_many([{"task_type": "noop", "payload": 1}] * 2)
    )
    assert [task["duplicate"] for task in tasks] == [False, True]
    held = httpx.Response(200, headers={"Raytasks-Duplicate": "true"}, json={"task_id": "1"})
    assert wired(held).do(lambda c: c.submit("noop", 1))["duplicate"] is True
    assert wired(ok(operations=[OPERATION])).do(lambda c: c.bulks()) == [OPERATION]
    assert wired(ok(artifacts=[{"name": "n"}])).do(lambda c: c.artifacts(ID)) == [{"name": "n"}]
    assert wired(ok(matched=7)).do(lambda c: c.bulk_retry(dry_run=True)) == {"matched": 7}


class TestAccess:
    """The API key and the namespace."""

    def test_no_key_and_no_namespace(self, wired: type[Wire]) -> None:
        wire = wired(ok())
        wire.do(lambda c: c.stats())
        assert "authorization" not in wire.requests[0].headers
        assert wire.requests[0].url.query == b""

    def test_both_are_in_every_request(self, wired: type[Wire]) -> None:
        wire = wired(ok(tasks=[]), api_key="rt_a.b", namespace="team-1")
        wire.do(lambda c: c.list(limit=3))
        assert wire.requests[0].headers["authorization"] == "Bearer rt_a.b"
        assert dict(wire.requests[0].url.params) == {"namespace": "team-1", "limit": "3"}

    def test_the_key_comes_from_the_environment(
        self, wired: type[Wire], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("RAYTASKS_API_KEY", "of-the-environment")
        wire = wired(ok())
        wire.do(lambda c: c.stats())
        assert wire.requests[0].headers["authorization"] == "Bearer of-the-environment"
        wire = wired(ok(), api_key="given")
        wire.do(lambda c: c.stats())
        assert wire.requests[0].headers["authorization"] == "Bearer given"

    @pytest.mark.parametrize("key", ["secret\nX-Header: 1", "secret two", "sécret"])
    def test_a_key_that_cannot_be_sent_is_not_told(self, key: str) -> None:
        with pytest.raises(BadArgument, match="the API key is not one") as caught:
            Client(api_key=key)
        assert "secret" not in str(caught.value)
        assert "sécret" not in str(caught.value)

    @pytest.mark.parametrize("namespace", ["", "-a", "A", "a_b", "a" * 64, "a\n"])
    def test_a_bad_namespace_is_refused(self, namespace: str) -> None:
        with pytest.raises(BadArgument, match="is not the name of a namespace"):
            Client(namespace=namespace)


class TestArguments:
    """Arguments that cannot be sent are refused before."""

    @pytest.mark.parametrize("key", ["", " ", " a", "a ", "é", "a\nb", "x" * 256, 5, b"x"])
    def test_a_bad_idempotency_key(self, wired: type[Wire], key: Any) -> None:
        wire = wired(ok())
        with pytest.raises(BadArgument, match="is not an idempotency key"):
            wire.do(lambda c: c.submit("noop", 1, idempotency_key=key))
        with pytest.raises(BadArgument, match="without a space at either end"):
            wire.do(
                lambda c: c.submit_many([{"task_type": "noop", "payload": 1}], idempotency_key=key)
            )
        assert wire.requests == []

    def test_a_space_within_a_key_is_fine(self, wired: type[Wire]) -> None:
        wire = wired(ok(task_id=ID))
        wire.do(lambda c: c.submit("noop", 1, idempotency_key="a b"))
        assert wire.requests[0].headers["Idempotency-Key"] == "a b"

    @pytest.mark.parametrize("count", [0, 1001])
    def test_a_batch_of_the_wrong_size(self, wired: type[Wire], count: int) -> None:
        submissions = [{"task_type": "noop", "payload": 1}] * count
        with pytest.raises(BadArgument, match="submit 1 to 1000 at once"):
            wired(ok()).do(lambda c: c.submit_many(submissions))

    @pytest.mark.parametrize("task_id", ["", ".", ".."])
    def test_an_id_that_would_be_another_path(self, wired: type[Wire], task_id: str) -> None:
        for call in (
            lambda c: c.get(task_id), lambda c: c.artifact(ID, task_id), lambda c: c.bulk(task_id),
            lambda c: c.events(task_id),
        ):  # fmt: skip
            with pytest.raises(BadArgument):
                wired(ok()).do(call)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Invalid), (401, Unauthorized), (403, Forbidden), (404, NotFound), (409, Conflict),
        (410, Gone), (413, Invalid), (415, Invalid), (422, Invalid), (429, TooManyRequests),
        (500, ApiError), (503, ApiError),
    ],
)  # fmt: skip
def test_errors_have_kinds(wired: type[Wire], status: int, kind: type[ApiError]) -> None:
    errors = [{"pointer": "/payload", "message": "m"}]
    wire = wired(problem(status, detail="that is so", errors=errors))
    with pytest.raises(ApiError) as caught:
        wire.do(lambda c: c.get(ID))
    error = caught.value
    assert type(error) is kind
    assert (error.status, error.problem["detail"], error.errors) == (status, "that is so", errors)
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), copy.status, str(copy)) == (kind, status, str(error))


class TestTryingAgain:
    """Which requests are sent again, and when."""

    @pytest.mark.parametrize("status", [429, 503])
    def test_retry_after_is_honoured(self, wired: type[Wire], clock: Clock, status: int) -> None:
        asked = problem(status, {"Retry-After": "7"}, detail="later")
        assert wired(asked, asked, ok(a=1)).do(lambda c: c.stats()) == {"a": 1}
        assert clock.pauses == [7.0, 7.0]

    def test_a_short_retry_after_does_not_shorten_the_pauses(
        self, wired: type[Wire], clock: Clock
    ) -> None:
        wired(problem(503, {"Retry-After": "0"}), ok()).do(lambda c: c.stats())
        assert clock.pauses == [api.RETRY_DELAYS[0]]

    def test_retry_after_as_a_date(self, wired: type[Wire], clock: Clock) -> None:
        date = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
        wired(problem(503, {"Retry-After": date}), ok()).do(lambda c: c.stats())
        assert 10 < clock.pauses[0] <= 20

    @pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf", ""])
    def test_retry_after_that_says_nothing(
        self, wired: type[Wire], clock: Clock, text: str
    ) -> None:
        wired(problem(503, {"Retry-After": text}), ok()).do(lambda c: c.stats())
        assert clock.pauses == [api.RETRY_DELAYS[0]]

    def test_a_long_retry_after_is_an_error_at_once(self, wired: type[Wire], clock: Clock) -> None:
        wire = wired(problem(429, {"Retry-After": "3600"}, detail="later"))
        with pytest.raises(TooManyRequests) as caught:
            wire.do(lambda c: c.stats())
        assert caught.value.retry_after == 3600
        assert clock.pauses == []

    def test_what_was_refused_for_now_is_sent_again_whatever_it_is(self, wired: type[Wire]) -> None:
        wire = wired(problem(429), ok(task_id=ID))
        assert wire.do(lambda c: c.cancel(ID)) == {"task_id": ID}

    @pytest.mark.parametrize(
        "call", [lambda c: c.cancel(ID), lambda c: c.pause(), lambda c: c.retry(ID)]
    )
    def test_what_may_have_been_done_is_not_sent_again(
        self, wired: type[Wire], call: Callable[[Any], Any]
    ) -> None:
        for trouble in (REFUSED, problem(503), HTML):
            wire = wired(trouble, ok())
            with pytest.raises((ApiError, ServiceUnavailable)):
                wire.do(call)
            assert len(wire.requests) == 1

    def test_a_change_is_sent_again_as_it_names_its_revision(self, wired: type[Wire]) -> None:
        wire = wired(REFUSED, problem(503), ok(revision=4))
        assert wire.do(lambda c: c.update(ID, revision=3, priority=1)) == {"revision": 4}
        assert [item.headers["If-Match"] for item in wire.requests] == ['"3"'] * 3
        with pytest.raises(RevisionChanged):
            wired(problem(412)).do(lambda c: c.update(ID, revision=3, priority=1))

    def test_a_retry_is_sent_again_if_it_names_its_revision(self, wired: type[Wire]) -> None:
        wire = wired(REFUSED, problem(503), ok(revision=4))
        assert wire.do(lambda c: c.retry(ID, revision=3, priority=1)) == {"revision": 4}
        assert [item.headers["If-Match"] for item in wire.requests] == ['"3"'] * 3
        with pytest.raises(RevisionChanged):
            wired(problem(412)).do(lambda c: c.retry(ID, revision=3))

    def test_a_deletion_is_sent_again(self, wired: type[Wire]) -> None:
        for first in ((), (problem(503),), (problem(503), problem(503))):
            wire = wired(*first, httpx.Response(204))
            assert wire.do(lambda c: c.delete(ID)) is None
            assert [item.method for item in wire.requests] == ["DELETE"] * (1 + len(first))

    def test_what_an_earlier_try_has_deleted_is_deleted(self, wired: type[Wire]) -> None:
        assert wired(problem(503), problem(404)).do(lambda c: c.delete(ID)) is None
        with pytest.raises(NotFound):
            wired(problem(404)).do(lambda c: c.delete(ID))
        with pytest.raises(Conflict):
            wired(problem(503), problem(409)).do(lambda c: c.delete(ID))
        with pytest.raises(ServiceUnavailable, match="not a raytasks service"):
            wired(httpx.Response(200, text="hello")).do(lambda c: c.delete(ID))

    def test_a_count_is_sent_again(self, wired: type[Wire]) -> None:
        wire = wired(REFUSED, HTML, ok(matched=3))
        assert wire.do(lambda c: c.bulk_cancel(dry_run=True)) == {"matched": 3}

    def test_a_batch_is_sent_again_with_its_key(self, wired: type[Wire]) -> None:
        wire = wired(REFUSED, problem(503), ok(tasks=[]))
        wire.do(lambda c: c.submit_many([{"task_type": "noop", "payload": 1}]))
        assert len({request.headers["idempotency-key"] for request in wire.requests}) == 1
        assert len(wire.requests) == 3

    def test_a_bulk_operation_is_sent_again_with_its_key(self, wired: type[Wire]) -> None:
        wire = wired(REFUSED, problem(503), ok(bulk_id="b"))
        assert wire.do(lambda c: c.bulk_retry()) == {"bulk_id": "b"}
        assert len({request.headers["idempotency-key"] for request in wire.requests}) == 1
        assert len(wire.requests) == 3


class TestWaiting:
    """`wait`, `run` and `bulk_wait`."""

    def test_a_service_that_is_away_meanwhile_is_waited_for(
        self, wired: type[Wire], clock: Clock
    ) -> None:
        away: list[Answer] = [REFUSED, httpx.ReadTimeout("slow"), HTML, problem(503)] * 5
        wire = wired(ok(state="RUNNING"), *away, ok(state="COMPLETED"))
        assert wire.do(lambda c: c.wait(ID)) == {"state": "COMPLETED"}
        assert sum(clock.pauses) > 60

    def test_patience_has_an_end(self, wired: type[Wire], clock: Clock) -> None:
        wire = wired(ok(state="RUNNING"), REFUSED)
        with pytest.raises(ServiceUnavailable):
            wire.do(lambda c: c.wait(ID))
        assert sum(clock.pauses) == pytest.approx(api.PATIENCE_SECONDS)

    def test_there_is_none_for_a_service_that_never_answered(
        self, wired: type[Wire], clock: Clock
    ) -> None:
        with pytest.raises(ServiceUnavailable):
            wired(REFUSED).do(lambda c: c.wait(ID))
        assert clock.pauses == list(api.RETRY_DELAYS)

    def test_run_gives_the_completed_task(self, wired: type[Wire]) -> None:
        wire = wired(ok(task_id=ID), ok(state="RUNNING"), ok(state="COMPLETED", result=3))
        assert wire.do(lambda c: c.run("noop", {}, tags=["t"]))["result"] == 3
        assert body_of(wire.requests[0])["tags"] == ["t"]
        assert wire.requests[1].url.path == f"/tasks/{ID}"

    def test_run_raises_what_became_of_another(self, wired: type[Wire]) -> None:
        error = {"type": "ValueError", "message": "no", "retryable": False, "traceback": None}
        wire = wired(ok(task_id=ID, state="FAILED", error=error))
        with pytest.raises(raytasks.TaskFailed, match=f"task {ID} is FAILED: ValueError: no") as e:
            wire.do(lambda c: c.run("noop", {}))
        assert isinstance(e.value, TaskFailed)
        assert e.value.task is not None
        assert (e.value.error, e.value.task["state"]) == (error, "FAILED")
        wire = wired(ok(task_id=ID, state="CANCELLED", error=None))
        with pytest.raises(TaskFailed, match=f"task {ID} is CANCELLED$"):
            wire.do(lambda c: c.run("noop", {}))

    def test_a_bulk_operation(self, wired: type[Wire], clock: Clock) -> None:
        seen: list[Any] = []
        wire = wired(
            ok(**OPERATION), *[REFUSED] * 9, ok(**OPERATION), ok(**{**OPERATION, "state": "DONE"})
        )
        done = wire.do(lambda c: c.bulk_wait("b", on_change=seen.append))
        assert done["state"] == "DONE"
        assert [item["state"] for item in seen] == ["RUNNING", "RUNNING", "DONE"]
        wire = wired(ok(**OPERATION))
        with pytest.raises(WaitTimeout, match="bulk operation b is still RUNNING after 9 seconds"):
            wire.do(lambda c: c.bulk_wait("b", timeout_seconds=9))


class TestFilters:
    """Filters that are lists."""

    @pytest.mark.parametrize("empty", [[], (), set(), frozenset()], ids=repr)
    @pytest.mark.parametrize(
        ("name", "call"),
        [
            ("state", lambda c, empty: c.list(state=empty)),
            ("state", lambda c, empty: c.tasks(state=empty)),
            ("state", lambda c, empty: c.bulk_retry(state=empty)),
            ("state", lambda c, empty: c.bulk_cancel(state=empty, tag="t")),
            ("state", lambda c, empty: c.bulk_delete(state=empty, dry_run=True)),
            ("types", lambda c, empty: c.events(ID, types=empty)),
            ("task_type", lambda c, empty: c.all_events(empty)),
        ],
    )
    def test_an_empty_list_is_not_any(
        self, wired: type[Wire], name: str, call: Any, empty: Any
    ) -> None:
        wire = wired(ok(**OPERATION))
        with pytest.raises(BadArgument, match=f"^{name} is an empty list: name at least one, or"):
            wire.do(lambda client: call(client, empty))
        assert wire.requests == []

    def test_a_list_of_tags_is_no_filter(self, wired: type[Wire]) -> None:
        wire = wired(ok(task_id=ID))
        wire.do(lambda c: c.submit("noop", {}, tags=[]))
        assert body_of(wire.requests[0])["tags"] == []

    def test_one_kind_of_event(self, wired: type[Wire]) -> None:
        wire = wired(problem(404))
        with pytest.raises(NotFound):
            wire.do(lambda c: c.events(ID, types="state"))
        assert wire.requests[0].url.params.get_list("type") == ["state"]


class TestAllTasks:
    """`tasks`: every page."""

    def test_it_follows_the_cursor_past_short_pages(self, wired: type[Wire]) -> None:
        wire = wired(
            ok(tasks=[1, 2], next_cursor="c1"), ok(tasks=[], next_cursor="c2"), REFUSED,
            ok(tasks=[3], next_cursor=None),
        )  # fmt: skip
        assert wire.do(lambda c: c.tasks(state="FAILED", tag="t")) == [1, 2, 3]
        asked = [dict(request.url.params) for request in wire.requests]
        first = {"state": "FAILED", "tag": "t", "limit": "500"}
        assert asked[0] == first
        assert asked[1] == {**first, "cursor": "c1"}
        assert asked[3] == {**first, "cursor": "c2"}

    def test_pages_are_asked_for_when_they_are_needed(self) -> None:
        wire = Wire(ok(tasks=[1], next_cursor="c"))
        tasks: Iterator[object] = wire.client.tasks()
        assert wire.requests == []
        assert next(tasks) == 1
        assert len(wire.requests) == 1


class TestArtifact:
    """`artifact`: bytes, whatever they are."""

    @pytest.mark.parametrize("kind", ["image/png", "application/json", "text/html"])
    def test_the_bytes_come_as_they_are(self, wired: type[Wire], kind: str) -> None:
        answer = httpx.Response(200, content=b'\x00["x"', headers={"content-type": kind})
        assert wired(answer).do(lambda c: c.artifact(ID, "a.png")) == b'\x00["x"'

    def test_errors(self, wired: type[Wire]) -> None:
        with pytest.raises(NotFound):
            wired(problem(404)).do(lambda c: c.artifact(ID, "a.png"))
        with pytest.raises(ServiceUnavailable, match="is not a raytasks service"):
            wired(HTML).do(lambda c: c.artifact(ID, "a.png"))


def test_many_may_wait_at_once() -> None:
    options = api.Api("http://host", timeout_seconds=1, api_key=None, namespace=None).http_options()
    assert options["limits"].max_connections is None
