"""`raytasks pools`, `runners`, `nodes`, `versions`, and how silence and progress are shown."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from rich.console import Console

from raytasks.cli import tables
from raytasks.cli.look import versions_table
from raytasks.cli.watch_board import Board
from tests.cli.test_service_commands import Fake, fake, task

Run = Callable[..., Any]
__all__ = ["fake"]


def ago(seconds: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()


HELD = {
    "task_id": "id-1", "task_type": "train", "namespace": "default", "attempt": 2, "begun": True,
    "seconds": 900.0, "timeout_seconds": 1020.0, "last_sign_at": None,
}  # fmt: skip
RUNNER = {
    "name": "runner.shared.1@abc", "pool": "shared", "state": "busy", "host": "machine",
    "pid": 4711, "node_id": "n1", "since": None, "last_seen_at": None, "version": 3,
    "generation": "abc", "way": "socket", "waits_for": None, "running_count": 7,
    "running": [HELD] * 7,
}  # fmt: skip
POOL = {
    "name": "shared", "task_types": ["noop", "train"], "min_runners": 1, "max_runners": 4,
    "declared": {"runners": [1, 2]}, "override": {"runners": [1, 4], "by": "anna"},
    "runners": 2, "states": {"starting": 0, "idle": 1, "busy": 1, "leaving": 0}, "backlog": 1234,
    "oldest_due_seconds": 7500.0, "resources": {"CPU": 1.0}, "failing": None,
}  # fmt: skip
NODE = {
    "node_id": "0123456789abcdef", "host": "machine", "address": "10.0.0.1", "alive": True,
    "head": True, "leaving": False, "labels": {}, "runners": ["runner.shared.1@abc"],
    "resources": {"CPU": {"total": 4.0, "free": 1.5}, "memory": {"total": 8e9, "free": None}},
}  # fmt: skip
VERSION = {
    "number": 4, "generation": "def", "state": "failed", "seen_at": "2030-01-02T03:04:05Z",
    "in_force": False, "error": "no module named torch", "task_types": None,
    "changes": {"since": 3, "added": ["embed", "train"], "gone": [], "changed": ["noop"]},
}  # fmt: skip


@pytest.mark.parametrize(
    ("command", "item", "words"),
    [
        ("pools", POOL, ("shared", "1-4", "1-2", "anna", "1 idle, 1 busy", "1,234",
                         "2 h 5 min", "train")),
        ("runners", RUNNER, ("busy", "machine", "4711", "socket", "id-1 train attempt 2",
                             "for 15 min", "time-out in 2 min", "no sign of life for 10 min",
                             "and 2 more")),
        ("nodes", NODE, ("machine", "0123456789ab", "alive, head", "CPU 1.5 of 4",
                         "memory ? of 8.0 GB")),
        ("nodes", {**NODE, "head": False, "leaving": True}, ("leaving",)),
        ("versions", VERSION, ("4", "failed", "2030-01-02 03:04:05", "no module named torch",
                              "added: embed, train; changed: noop")),
    ],
)  # fmt: skip
def test_what_is_shown(
    run: Run, fake: Fake, monkeypatch: pytest.MonkeyPatch, command: str, item: Any, words: Any
) -> None:
    monkeypatch.setattr(tables, "console", Console(width=250, highlight=False))
    if command == "runners":
        item = {**item, "running": [{**HELD, "last_sign_at": ago(600)}] * 7}
    fake.play = lambda request: httpx.Response(200, json={command: [item]})
    done = run(command)
    assert done.code == 0, done.err
    for word in words:
        assert word in done.out
    assert fake.requests[0].url.path == f"/{command}"
    coming: dict[str, Any] = {"nodes_coming": {}} if command == "nodes" else {}
    assert json.loads(run(command, "--json").out) == {command: [item], **coming}


def test_nodes_that_are_coming(run: Run, fake: Fake) -> None:
    coming = {"gpu": 2, "[cpu]": 1}
    answer = {"nodes": [NODE], "nodes_coming": coming}
    fake.play = lambda request: httpx.Response(200, json=answer)
    assert "is adding nodes: 1 of type [cpu], 2 of type gpu" in " ".join(run("nodes").out.split())
    assert json.loads(run("nodes", "--json").out) == answer
    assert [request.url.path for request in fake.requests] == ["/nodes"] * 2


def test_an_attempt_that_has_not_begun(run: Run, fake: Fake) -> None:
    runner = {**RUNNER, "running": [{**HELD, "begun": False}], "running_count": 1, "version": None}
    fake.play = lambda request: httpx.Response(200, json={"runners": [runner]})
    done = " ".join(run("runners").out.split())
    assert "has not begun" in done
    assert "more" not in done


def attempt(**changes: Any) -> dict[str, Any]:
    return {
        "attempt": 1, "outcome": None, "started_at": ago(1200), "finished_at": None,
        "host": "machine", "pid": 4711, "error": None, "last_sign_at": ago(600), **changes,
    }  # fmt: skip


def running(**changes: Any) -> dict[str, Any]:
    return task(
        1, "RUNNING", run_at=None, result=None, error=None, claimed_at=None, waiting_for=None,
        **{"progress": None, "attempts": [attempt()], **changes},
    ) | {"started_at": ago(1200)}  # fmt: skip


def test_get_shows_silence_process_and_time_left(run: Run, fake: Fake) -> None:
    fake.play = lambda request: httpx.Response(200, json=running())
    out = run("get", "id").out
    assert "no sign of life for 10 min" in out
    assert "machine" in out
    assert "4711" in out
    progress = {"fraction": 0.25, "message": "step 5"}
    silent = [attempt(last_sign_at=ago(0))]
    shown = running(progress=progress, attempts=silent)
    fake.play = lambda request: httpx.Response(200, json=shown)
    assert "25% step 5, about 1 h left" in run("get", "id").out  # 20 min for a quarter


def test_get_shows_a_bar_in_a_terminal(
    run: Run, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Console(width=120, force_terminal=True, highlight=False)
    monkeypatch.setattr(tables, "console", terminal)
    shown = running(progress={"fraction": 0.5, "message": None})
    fake.play = lambda request: httpx.Response(200, json=shown)
    out = run("get", "id").out
    assert "━" in out
    assert "50%" in out


def test_the_reasons_with_their_age_and_the_end_of_a_log(run: Run, fake: Fake) -> None:
    reason = {
        "code": "runners_cannot_start", "message": "they end", "fix": "mend them", "count": 3,
        "since": datetime.now(UTC).timestamp() - 600, "log": ["Traceback", "No module \x1b[1mx"],
    }  # fmt: skip
    report = {"status": "degraded", "version": "1", "tracker": {"ok": True}, "reasons": [reason]}
    fake.play = lambda request: httpx.Response(200, json=report)
    done = run("health")
    assert done.code == 1
    assert "runners_cannot_start: they end (for 10 min); mend them" in done.out
    assert "    Traceback" in done.out
    assert "\x1b" not in done.out


class TestBoard:
    """The words of `raytasks watch` about an attempt beside its progress."""

    def board(self, monkeypatch: pytest.MonkeyPatch) -> tuple[Board, list[float]]:
        now = [1000.0]
        monkeypatch.setattr("raytasks.cli.watch_board.time.monotonic", lambda: now[0])
        board = Board(only=("a",))
        board.change(
            {"task_id": "a", "task_type": "t", "namespace": "default", "state": "RUNNING",
             "attempt": 1, "revision": 1, "at": None, "by": None, "action": None}
        )  # fmt: skip
        return board, now

    def test_the_time_that_is_left(self, monkeypatch: pytest.MonkeyPatch) -> None:
        board, now = self.board(monkeypatch)
        board.progress("a", {"attempt": 1, "fraction": 0.5, "message": None})
        assert board.rows["a"].outlook(now[0]) == ""  # one report gives no rate
        now[0] += 60
        board.progress("a", {"attempt": 1, "fraction": 0.75, "message": None})
        assert board.rows["a"].outlook(now[0]) == "about 1 min left"
        now[0] += 20
        assert board.rows["a"].outlook(now[0]) == "about 40 s left"

    def test_silence_until_a_line_comes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        board, now = self.board(monkeypatch)
        now[0] += 600
        assert board.rows["a"].outlook(now[0]) == "no sign of life for 10 min"
        board.sign("a")
        assert board.rows["a"].outlook(now[0]) == ""

    def test_an_earlier_silence_is_known(self, monkeypatch: pytest.MonkeyPatch) -> None:
        board, now = self.board(monkeypatch)
        seen: Any = {
            "task_id": "a", "task_type": "t", "state": "RUNNING", "attempt": 1, "revision": 1,
            "progress": None, "attempts": [attempt(last_sign_at=ago(300))],
        }  # fmt: skip
        board.look(seen)
        assert board.rows["a"].outlook(now[0]) == "no sign of life for 5 min"


def test_the_panels(run: Run) -> None:
    out = run("--help").out
    places = [
        out.index(f"─ {name} ─") for name in ("Run", "Tasks", "Control", "Inspect", "Database")
    ]
    assert places == sorted(places)
    assert " pools " in out[places[2] : places[3]]
    for command in ("runners", "nodes", "versions"):
        assert f" {command} " in out[places[3] :]


def test_a_version_without_changes_says_so() -> None:
    none = {"since": 3, "added": [], "gone": [], "changed": []}
    for changes, text in ((none, "declares the same as 3"), (None, "")):
        version: Any = {**VERSION, "error": None, "task_types": ["noop"], "changes": changes}
        assert list(versions_table([version]).columns[5].cells) == [text]
    earlier: Any = {name: value for name, value in VERSION.items() if name != "changes"}
    assert list(versions_table([earlier]).columns[5].cells) == [""]
