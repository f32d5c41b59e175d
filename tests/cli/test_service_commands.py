"""submit-many, list, events, bulk, stats, artifacts: on a service that the test plays."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer

from raytasks.cli import bulk, options
from raytasks.client import Client
from raytasks.model.bounds import MAX_MANY_KEY
from tests.client_wire import problem, sse, stream

Run = Callable[..., Any]
Handler = Callable[[httpx.Request], httpx.Response]
ID = "0198c1de-0000-7000-8000-00000000000"


class Fake:
    """A service that a function of the test plays; it notes what is asked."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.play: Handler = lambda request: problem(404)

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.play(request)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """A fake service that the commands talk to."""
    service = Fake()

    def client(url: str, **arguments: Any) -> Client:
        return Client(url, transport=httpx.MockTransport(service.answer), **arguments)

    monkeypatch.setattr(options, "Client", client)
    return service


def task(number: int, state: str = "PENDING", **other: Any) -> dict[str, Any]:
    return {
        "task_id": f"{ID}{number}", "task_type": "noop", "state": state, "attempt": 1,
        "max_attempts": 3, "priority": 0, "created_at": "2030-01-02T03:04:05.678Z",
        "started_at": None, "finished_at": None, **other,
    }  # fmt: skip


def accept(request: httpx.Request) -> httpx.Response:
    """Accept a batch: the id of each task is its payload."""
    tasks = json.loads(request.content)["tasks"]
    return httpx.Response(202, json={"tasks": [{"task_id": item["payload"]} for item in tasks]})


def written(folder: Path, count: int, extra: str = "") -> str:
    lines = [json.dumps({"task_type": "noop", "payload": f"t{n}"}) for n in range(count)]
    (folder / "tasks.jsonl").write_text("\n".join(lines) + "\n" + extra, encoding="utf-8")
    return "tasks.jsonl"


class TestSubmitMany:
    """`raytasks submit-many`."""

    def test_batches_of_a_thousand(self, run: Run, fake: Fake, tmp_path: Path) -> None:
        fake.play = accept
        done = run("submit-many", written(tmp_path, 2500), "--key", "import")
        assert done.code == 0, done.err
        assert done.out.split() == [f"t{n}" for n in range(2500)]
        assert done.err.splitlines()[-1] == "2500 tasks were accepted"
        assert "2000 tasks accepted (80%)" in done.err
        sizes = [len(json.loads(request.content)["tasks"]) for request in fake.requests]
        assert sizes == [1000, 1000, 500]
        keys = [request.headers["idempotency-key"] for request in fake.requests]
        assert keys == ["import/0", "import/1", "import/2"]

    def test_without_a_key_it_makes_one(self, run: Run, fake: Fake, tmp_path: Path) -> None:
        fake.play = accept
        for _ in range(2):
            assert run("submit-many", written(tmp_path, 1)).code == 0
        first, second = (request.headers["idempotency-key"] for request in fake.requests)
        assert first != second

    def test_empty_lines_standard_input_and_json(self, run: Run, fake: Fake) -> None:
        fake.play = accept
        stdin = (
            b'\n{"task_type": "noop", "payload": "a"}\n  \n{"task_type": "noop", "payload": "b"}'
        )
        done = run("submit-many", "-", "--json", stdin=stdin)
        assert [json.loads(line) for line in done.out.splitlines()] == [
            {"task_id": "a", "duplicate": False}, {"task_id": "b", "duplicate": False}
        ]  # fmt: skip

    def test_where_it_stops_it_says_how_to_go_on(
        self, run: Run, fake: Fake, tmp_path: Path
    ) -> None:
        def play(request: httpx.Request) -> httpx.Response:
            if len(fake.requests) > 1:
                raise httpx.ConnectError("gone")
            return accept(request)

        fake.play = play
        done = run("submit-many", written(tmp_path, 5), "--key", "a b", "--batch-size", "2")
        assert done.code == 4
        assert done.out.split() == ["t0", "t1"]
        assert "2 tasks were accepted; to go on, run it again with --key 'a b'" in done.err

    def test_a_refusal_names_the_lines_of_the_file(
        self, run: Run, fake: Fake, tmp_path: Path
    ) -> None:
        def play(request: httpx.Request) -> httpx.Response:
            if len(fake.requests) == 1:
                return accept(request)
            errors = [
                {"pointer": "/tasks/1/payload/text", "message": "Field required"},
                {"pointer": "/tasks/0", "message": "bad"},
                {"pointer": "/tasks/99/x", "message": "beyond"},
            ]
            return problem(422, title="Unprocessable", detail="not valid", errors=errors)

        fake.play = play
        done = run("submit-many", written(tmp_path, 4), "--key", "k", "--batch-size", "2")
        assert done.code == 3
        first, *fields = done.err.splitlines()[-4:]
        assert first == (
            "error: Unprocessable: not valid; 2 tasks were accepted; to go on, run it again with "
            "--key k"
        )
        assert fields == [
            "  line 4 /payload/text: Field required", "  line 3: bad", "  /tasks/99/x: beyond"
        ]  # fmt: skip

    def test_another_file_with_the_same_key(self, run: Run, fake: Fake, tmp_path: Path) -> None:
        fake.play = lambda request: problem(409, detail="the key was used")
        done = run("submit-many", written(tmp_path, 1), "--key", "k")
        assert done.code == 3
        assert "the file and --batch-size must stay as they were" in done.err

    @pytest.mark.parametrize(
        ("extra", "reason"),
        [
            ("{'a'", "line 2 of tasks.jsonl is not JSON: "),
            ("[1]", "line 2 of tasks.jsonl is no task: write it as {"),
            ('{"a": NaN}', "line 2 of tasks.jsonl is not JSON: "),
        ],
    )
    def test_a_bad_line_is_a_2(
        self, run: Run, fake: Fake, tmp_path: Path, extra: str, reason: str
    ) -> None:
        fake.play = accept
        done = run("submit-many", written(tmp_path, 1, extra))
        assert done.code == 2
        assert done.err.startswith(f"error: {reason}")
        assert len(done.err.splitlines()) == 1
        assert fake.requests == []
        done = run("submit-many", "tasks.jsonl", "--batch-size", "1", "--key", "k")
        assert done.code == 2
        assert "; 1 tasks were accepted; to go on, run it again with --key k" in done.err

    def test_no_tasks_at_all_and_no_file(self, run: Run, fake: Fake, tmp_path: Path) -> None:
        done = run("submit-many", "-", stdin=b"\n")
        assert done.code == 2
        assert "standard input has no tasks: write one a line, such as {" in done.err
        done = run("submit-many", "nothing.jsonl")
        assert done.code == 2
        assert "cannot read nothing.jsonl" in done.err
        assert run("submit-many", "a\0b").code == 2
        for key in ("", "k" * 241, " k", "k ", "ä"):
            done = run("submit-many", "-", "--key", key, stdin=b'{"a": 1}')
            assert done.code == 2
            assert "--key: use 1 to 240 printable ASCII characters" in done.err
        assert run("submit-many", "-", "--batch-size", "1001").code == 2
        assert fake.requests == []

    def test_the_keys_of_batches_are_never_too_long(self) -> None:
        assert MAX_MANY_KEY + len("/1000000000") <= 255


class TestList:
    """`raytasks list`: tags, cursors, everything."""

    def test_a_page_tells_how_to_go_on(self, run: Run, fake: Fake) -> None:
        page = {"tasks": [task(1)], "total": None, "limit": 1, "offset": 0, "next_cursor": "abc="}
        fake.play = lambda request: httpx.Response(200, json=page)
        done = run("list", "--tag", "a", "--limit", "1", "--cursor", "xyz")
        assert done.code == 0, done.err
        assert done.out.splitlines()[-1] == "1 tasks; more: --cursor abc="
        assert dict(fake.requests[0].url.params) == {"tag": "a", "limit": "1", "cursor": "xyz"}

    def test_all(self, run: Run, fake: Fake) -> None:
        def play(request: httpx.Request) -> httpx.Response:
            first = "cursor" not in request.url.params
            tasks = [task(1), task(2)] if first else [task(3)]
            return httpx.Response(200, json={"tasks": tasks, "next_cursor": "c" if first else None})

        fake.play = play
        done = run("list", "--all", "--state", "failed", "--type", "noop")
        assert [line.split()[0] for line in done.out.splitlines()] == [
            "TASK", f"{ID}1", f"{ID}2", f"{ID}3"
        ]  # fmt: skip
        assert fake.requests[0].url.params["state"] == "FAILED"
        done = run("list", "--all", "--json")
        assert [json.loads(line)["task_id"][-1] for line in done.out.splitlines()] == [
            "1",
            "2",
            "3",
        ]

    @pytest.mark.parametrize(
        ("arguments", "reason"),
        [
            (("--cursor", "x", "--offset", "1"), "give --cursor or --offset, not both"),
            (("--all", "--offset", "1"), "leave out --cursor and --offset"),
            (("--all", "--cursor", "x"), "leave out --cursor and --offset"),
        ],
    )
    def test_what_does_not_go_together(
        self, run: Run, fake: Fake, arguments: tuple[str, ...], reason: str
    ) -> None:
        done = run("list", *arguments)
        assert done.code == 2
        assert reason in done.err


class TestEvents:
    """`raytasks events`."""

    @staticmethod
    def story(last: str) -> httpx.Response:
        def change(state: str, revision: int, **other: Any) -> bytes:
            data = {"state": state, "attempt": 1, "at": "2030-01-02T03:04:05.678Z", **other}
            return sse("state", data, f"{revision}.0")

        line = {"attempt": 1, "level": "WARNING", "message": "a\x1b[31m", "at": None}
        return stream(
            change("PENDING", 1, attempt=0, at=None), change("RUNNING", 2),
            sse("log", line, "2.1"), sse("progress", {"fraction": 0.5, "message": "half"}),
            change(last, 3, error={"type": "ValueError", "message": "no"}),
            sse("end", {"task_id": f"{ID}1", "state": last}),
        )  # fmt: skip

    def test_lines(self, run: Run, fake: Fake) -> None:
        fake.play = lambda request: self.story("FAILED")
        done = run("events", f"{ID}1")
        assert done.code == 1
        assert [line.split() for line in done.out.splitlines()] == [
            ["PENDING"],
            ["03:04:05.678", "RUNNING", "attempt", "1"],
            ["warning", "a\ufffd[31m"],
            ["progress", "50%", "half"],
            ["03:04:05.678", "FAILED", "attempt", "1:", "ValueError:", "no"],
        ]

    def test_json(self, run: Run, fake: Fake) -> None:
        fake.play = lambda request: self.story("COMPLETED")
        done = run("events", f"{ID}1", "--json", "--last-event-id", "0.0")
        assert done.code == 0
        events = [json.loads(line) for line in done.out.splitlines()]
        assert [(event["event"], event["id"]) for event in events] == [
            ("state", "1.0"), ("state", "2.0"), ("log", "2.1"), ("progress", None),
            ("state", "3.0"), ("end", None),
        ]  # fmt: skip
        assert fake.requests[0].headers["last-event-id"] == "0.0"

    def test_errors(self, run: Run, fake: Fake) -> None:
        fake.play = lambda request: problem(404, title="Not Found", detail="there is no task x")
        done = run("events", "x")
        assert (done.code, done.err) == (3, "error: Not Found: there is no task x\n")
        done = run("events", "x", "--last-event-id", "ä")
        assert done.code == 2
        assert "is not the id of an event, such as 3.0" in done.err


class TestBulk:
    """`raytasks bulk`."""

    OPERATION = {  # noqa: RUF012
        "bulk_id": "b1", "by": "ops", "action": "retry", "state": "RUNNING", "matched": 7,
        "looked_at": 3, "changed": 2, "filter": {"state": "FAILED", "task_type": None, "tag": None},
        "created_at": "2030-01-02T03:04:05Z", "finished_at": None,
    }  # fmt: skip

    def play(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST" and json.loads(request.content)["dry_run"]:
            return httpx.Response(200, json={"matched": 7})
        if request.method == "POST":
            return httpx.Response(202, json=self.OPERATION)
        if request.url.path == "/bulk":
            return httpx.Response(200, json={"operations": [self.OPERATION]})
        return httpx.Response(
            200, json={**self.OPERATION, "state": "DONE", "looked_at": 7, "changed": 6}
        )

    def test_a_dry_run_only_counts(self, run: Run, fake: Fake) -> None:
        fake.play = self.play
        done = run("bulk", "retry", "--state", "failed", "--tag", "t", "--dry-run")
        assert (done.code, done.out) == (0, "7 tasks match\n")
        (request,) = fake.requests
        assert json.loads(request.content) == {
            "action": "retry", "state": "FAILED", "tag": "t", "dry_run": True
        }  # fmt: skip

    def test_yes_does_it_and_waits(self, run: Run, fake: Fake) -> None:
        fake.play = self.play
        done = run("bulk", "retry", "--state", "failed", "--yes")
        assert (done.code, done.out) == (0, "6 of 7 tasks are run again\n")
        done = run("bulk", "cancel", "--type", "noop", "--yes", "--json")
        assert json.loads(done.out)["state"] == "DONE"
        done = run("bulk", "delete", "--state", "completed", "--yes")
        assert (done.code, done.out) == (0, "6 of 7 tasks are deleted\n")
        begun = [json.loads(item.content) for item in fake.requests if item.method == "POST"]
        assert begun[-1] == {"action": "delete", "state": "COMPLETED", "dry_run": False}
        done = run("bulk", "cancel", "--yes", "--no-wait")
        assert done.out == "b1\n"

    def test_without_yes_and_without_a_terminal_nothing_is_done(self, run: Run, fake: Fake) -> None:
        fake.play = self.play
        done = run("bulk", "cancel", "--type", "noop")
        assert done.code == 2
        assert done.err == "error: 7 tasks match; to cancel them, give --yes\n"
        assert len(fake.requests) == 1

    @pytest.mark.parametrize("answer", [True, False])
    def test_in_a_terminal_it_asks(
        self, run: Run, fake: Fake, monkeypatch: pytest.MonkeyPatch, answer: bool
    ) -> None:
        fake.play = self.play
        asked: list[str] = []

        def confirm(text: str, **_: Any) -> bool:
            asked.append(text)
            return answer

        monkeypatch.setattr(typer, "confirm", confirm)
        monkeypatch.setattr(bulk, "_is_a_person_there", lambda: True)
        done = run("bulk", "retry")
        assert asked == ["7 tasks match. Retry them?"]
        assert done.code == 0
        assert len(fake.requests) == (3 if answer else 1)
        if answer:
            begun = json.loads(fake.requests[1].content)
            assert begun == {"action": "retry", "all": True, "dry_run": False}

    def test_what_is_too_much_to_count(self, run: Run, fake: Fake) -> None:
        fake.play = lambda request: httpx.Response(200, json={"matched": None})
        assert run("bulk", "retry", "--tag", "t", "--dry-run").out == "very many tasks match\n"

    def test_show(self, run: Run, fake: Fake) -> None:
        fake.play = self.play
        done = run("bulk", "show")
        assert done.out.splitlines()[1].split()[:8] == [
            "b1", "retry", "RUNNING", "state", "FAILED", "3", "of", "7"
        ]  # fmt: skip
        assert json.loads(run("bulk", "show", "b1", "--json").out)["changed"] == 6

    def test_one_that_waits_for_room_says_so(self, run: Run, fake: Fake) -> None:
        held = {**self.OPERATION, "held_by": "namespace_full"}
        fake.play = lambda request: httpx.Response(200, json={"operations": [held]})
        assert "b1 retry HELD (namespace_full)" in " ".join(run("bulk", "show").out.split())


WINDOW = {
    "seconds": 60, "completed": 1200, "failed": 12, "failure_rate": 0.0099, "per_second": 20.2,
    "queue_wait": {"p50": 0.0123, "p95": 0.5, "p99": 2.5}, "run_time": None,
}  # fmt: skip
WINDOWS = {"minute": WINDOW, "hour": WINDOW, "day": {**WINDOW, "failure_rate": None}}


def test_stats(run: Run, fake: Fake) -> None:
    by_state = {"PENDING": 3, "COMPLETED": 1200}
    counts = {"by_state": by_state, "by_type": {"noop": by_state}}
    document = {
        "namespace": "default", "counts": counts, "windows": WINDOWS, "by_type": {"noop": WINDOWS}
    }  # fmt: skip
    fake.play = lambda request: httpx.Response(200, json=document)
    done = run("stats")
    assert done.code == 0, done.err
    lines = [line.split() for line in done.out.splitlines()]
    assert lines[1] == ["noop", "3", "0", "0", "1,200", "0", "0"]
    assert lines[2] == ["all", "3", "0", "0", "1,200", "0", "0"]
    (row,) = [line for line in lines if line[:2] == ["all", "minute"]]
    assert " ".join(row[2:]) == "1,200 12 1.0% 20.2 12.3 ms / 500 ms / 2.5 s"
    (day,) = [line for line in lines if line[:1] == ["day"]][1:]
    assert day[1:4] == ["1,200", "12", "20.2"]
    assert json.loads(run("stats", "--json").out) == document


def test_stats_over_time(run: Run, fake: Fake) -> None:
    waits = {name: [None] * 143 + [0.25] for name in ("p50", "p95", "p99")}
    document = {
        "namespace": "default", "task_type": "noop", "since": "2026-01-01T00:00:00Z",
        "step_seconds": 600, "submitted": [0] * 143 + [5000], "completed": [1000] + [0] * 143,
        "failed": [0] * 144, "backlog": [None] + [4] * 71 + [8] * 71 + [6], "omitted_types": 0,
        "backlog_by_type": {"noop": [8] * 144}, "queue_wait": waits, "run_time": waits,
    }  # fmt: skip
    fake.play = lambda request: httpx.Response(200, json=document)
    done = run("stats", "--over", "day", "--type", "noop")
    assert done.code == 0, done.err
    assert str(fake.requests[-1].url.query, "ascii") == "seconds=86400&task_type=noop"
    lines = {line.split()[0]: line for line in done.out.splitlines()}
    assert lines["submitted"].split()[1:] == ["█", "5,000", "5,000", "5,000"]
    assert lines["completed"].split()[1:] == ["█", "1,000", "1,000", "0"]
    assert lines["backlog"].split()[1:] == ["▄" * 24 + "█" * 24, "8", "6"]
    assert lines["wait"].split()[2:] == ["█", "250", "ms", "250", "ms"]
    assert run("stats", "--type", "noop").code == 2


class TestArtifacts:
    """`raytasks artifacts`."""

    @staticmethod
    def play(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/artifacts"):
            found = [{"name": "a.png", "bytes": 12345, "url": "/artifacts/x"}]
            return httpx.Response(200, json={"artifacts": found})
        return httpx.Response(200, content=b"\x89PNG", headers={"content-type": "image/png"})

    def test_the_list(self, run: Run, fake: Fake) -> None:
        fake.play = self.play
        assert run("artifacts", f"{ID}1").out.splitlines()[1].split() == ["a.png", "12,345"]
        found = json.loads(run("artifacts", f"{ID}1", "--json").out)["artifacts"]
        assert found[0]["bytes"] == 12345

    def test_a_file(self, run: Run, fake: Fake, tmp_path: Path) -> None:
        fake.play = self.play
        done = run("artifacts", f"{ID}1", "a.png")
        assert done.out == "a.png: 4 bytes\n"
        assert (tmp_path / "a.png").read_bytes() == b"\x89PNG"
        done = run("artifacts", f"{ID}1", "a.png")
        assert done.code == 2
        assert "a.png is there already: say where to with --output" in done.err
        assert run("artifacts", f"{ID}1", "a.png", "--output", "a.png").code == 0
        done = run("artifacts", f"{ID}1", "a.png", "-o", "nothing/b.png")
        assert done.code == 2
        assert "cannot write nothing/b.png" in done.err

    def test_a_name_cannot_lead_out_of_the_folder(
        self, run: Run, fake: Fake, tmp_path: Path
    ) -> None:
        fake.play = self.play
        done = run("artifacts", f"{ID}1", "../../evil")
        assert done.out == "evil: 4 bytes\n"
        assert (tmp_path / "evil").exists()

    def test_output_without_a_name(self, run: Run, fake: Fake) -> None:
        done = run("artifacts", f"{ID}1", "--output", "x")
        assert done.code == 2
        assert "give its name, too" in done.err


class TestAccess:
    """--api-key and --namespace."""

    def test_they_reach_the_api(
        self, run: Run, fake: Fake, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fake.play = lambda request: httpx.Response(200, json={"task_types": []})
        assert run("types", "--api-key", "k1", "--namespace", "team").code == 0
        assert fake.requests[0].headers["authorization"] == "Bearer k1"
        assert fake.requests[0].url.params["namespace"] == "team"
        monkeypatch.setenv("RAYTASKS_API_KEY", "k2")
        monkeypatch.setenv("RAYTASKS_NAMESPACE", "other")
        assert run("types").code == 0
        assert fake.requests[1].headers["authorization"] == "Bearer k2"
        assert fake.requests[1].url.params["namespace"] == "other"

    def test_bad_ones_are_a_2(self, run: Run, fake: Fake) -> None:
        done = run("types", "--namespace", "Team")
        assert done.code == 2
        assert done.err.startswith("error: --namespace: 'Team' is not the name of a namespace: use")
        done = run("types", "--api-key", "my secret")
        assert done.code == 2
        assert done.err.startswith("error: --api-key: the API key is not one")
        assert "my secret" not in done.err

    def test_the_key_is_not_in_the_help(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RAYTASKS_API_KEY", "sesame-open")
        assert "sesame-open" not in run("types", "--help").out


def test_submit_takes_tags(run: Run, fake: Fake) -> None:
    fake.play = lambda request: httpx.Response(202, json={"task_id": "id"})
    assert run("submit", "noop", "{}", "--tag", "a", "--tag", "b", "--key", "k").code == 0
    assert json.loads(fake.requests[0].content)["tags"] == ["a", "b"]
    assert fake.requests[0].headers["idempotency-key"] == "k"


def test_get_shows_tags(run: Run, fake: Fake) -> None:
    shown = task(1, run_at=None, progress=None, result=None, error=None, tags=["a", "b"])
    fake.play = lambda request: httpx.Response(200, json=shown)
    assert ["tags", "a,", "b"] in [line.split() for line in run("get", ID).out.splitlines()]


def test_health_without_a_key(run: Run, fake: Fake) -> None:
    fake.play = lambda request: httpx.Response(200, json={"status": "ok", "version": "1"})
    assert run("health").out == "ok (for more, give --api-key with a key of the scope read)\n"
    fake.play = lambda request: httpx.Response(503, json={"status": "degraded", "version": "1"})
    assert run("health").code == 1


def test_health_tells_the_reasons(run: Run, fake: Fake) -> None:
    reason = {"code": "no_handler", "message": "3 tasks of the type a wait", "fix": "deploy one"}
    report = {"status": "degraded", "version": "1", "tracker": {"ok": True}, "reasons": [reason]}
    fake.play = lambda request: httpx.Response(200, json=report)
    done = run("health")
    assert done.code == 1
    assert "no_handler: 3 tasks of the type a wait; deploy one" in done.out
