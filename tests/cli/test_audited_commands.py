"""Every command that changes the service leaves a line in the audit, with a name: none is left out.

A new command is in one of the tables here, or the test fails.
"""

import json
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from raytasks.cli import app
from raytasks.cluster import tracker_calls
from raytasks.model.acts import ActionName
from raytasks.pools.handlers_version import HandlersVersion
from raytasks.pools.versions import DeployAnswer
from raytasks.protocol.person import person_here
from raytasks.settings import Settings
from tests.local_service import LocalService, served

with warnings.catch_warnings():
    # Ray Serve's own, when it is imported.
    warnings.filterwarnings("ignore", "Using extra keyword arguments on `Field`")
    from raytasks import service

Run = Callable[..., Any]

EMPTY = ("--payload", "{}")

BY_API: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("pause", (), "pause"),  # so nothing runs meanwhile
    ("update", ("TASK", "--priority", "1"), "change"),
    ("cancel", ("TASK",), "cancel"),
    ("retry", ("TASK",), "retry"),
    ("bulk cancel", ("--type", "noop", "--yes"), "bulk_cancel"),
    ("bulk retry", ("--state", "cancelled", "--yes"), "bulk_retry"),
    ("cancel", ("TASK",), "cancel"),
    ("delete", ("TASK",), "delete"),
    ("bulk delete", ("--type", "noop", "--yes"), "bulk_delete"),
    ("limits set", ("smtp", "--running", "3"), "set_limit"),
    ("limits clear", ("smtp",), "clear_limit"),
    ("pools set", ("shared", "0", "2"), "set_pool"),
    ("pools clear", ("shared",), "clear_pool"),
    ("namespaces set", ("shop", "--weight", "2"), "set_namespace"),
    ("namespaces clear", ("shop",), "clear_namespace"),
    ("schedules set", ("daily", "--type", "noop", "--every", "2h", *EMPTY), "set_schedule"),
    ("schedules pause", ("daily",), "pause_schedule"),
    ("schedules resume", ("daily",), "resume_schedule"),
    ("schedules run", ("daily",), "run_schedule"),
    ("schedules delete", ("daily",), "clear_schedule"),
    ("resume", (), "resume"),
)
"""Commands that ask the API, in an order in which each changes something. TASK is a task's id."""

BY_RAY = {
    "up": ("deploy", "stop"),
    "down": ("stop",),  # it ends an `up`
    "deploy": ("deploy", "resume"),
    "stop": ("stop",),
    "drain": ("pause",),
}
"""Commands that ask the tracker by Ray, and their acts."""

READS = (
    *("get", "list", "events", "watch", "artifacts", "types", "health", "logs", "stack", "stats"),
    *("errors", "audit", "me", "runners", "nodes", "versions", "outbox", "version"),
    *("schedules list", "schedules show", "bulk show", "db status", "db backup"),
)

UNAUDITED = {
    "init": "it makes files of a new project",
    "env": "it prints",
    "demo": "its service is its own",
    "worker": "it gives Ray a machine, and changes nothing that is set",
    "leave": "it takes a machine from Ray, and changes nothing that is set",
    "keys new": "it prints; the entry counts once it is deployed",
    "keys callback": "it prints; the entry counts once it is deployed",
    "db upgrade": "it makes tables, as every start does",
    "submit": "a task has its own history",
    "submit-many": "a task has its own history",
    **dict.fromkeys(READS, "it reads"),
}
"""The commands without an act, and why."""


def commands_of(command: Any, *names: str) -> Iterator[str]:
    """Yield the names of all commands; a group is one only through what is below it."""
    below = getattr(command, "commands", None)
    if below is None:
        yield " ".join(names)
        return
    for name, one in below.items():
        yield from commands_of(one, *names, name)


def test_each_command_is_known_here() -> None:
    known = {name for name, *_ in BY_API} | BY_RAY.keys() | UNAUDITED.keys()
    assert set(commands_of(typer.main.get_command(app))) == known
    acts = {act for acts in BY_RAY.values() for act in acts} | {act for *_, act in BY_API}
    assert acts | {ActionName.REPLACE} == set(ActionName)  # a submission replaces


def test_each_by_the_api_leaves_a_line(
    run: Run, sqlite_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = shutil.copy(sqlite_template, tmp_path / "tasks.db")
    modules = ("tests.scripted", "tests.flow_handlers")
    local = LocalService(f"sqlite:///{file}", tmp_path, task_modules=modules)
    with served(local) as url:
        monkeypatch.setenv("RAYTASKS_URL", url)

        def asked(name: str, *arguments: str) -> str:
            done = run(*name.split(), *arguments)
            assert done.code == 0, (name, done.err)
            out: str = done.out
            return out

        task_id = asked("submit", "noop", "{}", "--delay", "600").strip()
        for name, arguments, _ in BY_API:
            asked(name, *(task_id if word == "TASK" else word for word in arguments))
        found = [json.loads(line) for line in asked("audit", "--all", "--json").splitlines()]
    acts = [(item["action"], item["by"]) for item in found[::-1]]
    assert acts == [(action, "local") for *_, action in BY_API]


class Tracker:
    """A tracker by Ray that notes what it is asked for, and answers with what it was given."""

    def __init__(self, **answers: Any) -> None:
        self.asked: list[tuple[str, tuple[Any, ...]]] = []
        self._answers = answers

    def __getattr__(self, name: str) -> Any:
        def remote(*arguments: Any) -> Any:
            self.asked.append((name, arguments))
            return self._answers.get(name)

        return SimpleNamespace(remote=remote)


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Play the tracker of a cluster."""

    def begin(tracker: Any) -> None:
        monkeypatch.setattr("ray.get", lambda answer, **_: answer)
        monkeypatch.setattr("ray.wait", lambda calls, **_: (calls, []))
        monkeypatch.setattr("ray.kill", lambda *_, **__: None)
        monkeypatch.setattr("ray.serve.shutdown", lambda: None)
        monkeypatch.setattr("ray.serve.delete", lambda _: None)
        monkeypatch.setattr("ray.serve.run", lambda *_, **__: None)
        monkeypatch.setattr("ray.get_actor", lambda *_: tracker)
        monkeypatch.setattr(service, "check_version", lambda _: None)
        monkeypatch.setattr(service, "_app_name", lambda: "raytasks")
        monkeypatch.setattr(service, "application", lambda _: None)

    return begin


def test_each_by_ray_says_who_asks(play: Callable[[Any], None]) -> None:
    me, version = person_here(), HandlersVersion("token", "print", (), Settings(_env_file=None))
    tracker = Tracker(stop=2, drain=1, deploy=DeployAnswer(1, None, 1, {}))
    play(tracker)
    assert service.stop_service(3.0) == 2
    assert service.leave_cluster(4.0) == 2
    assert tracker_calls.drain(5.0) == 1
    service.redeploy(version)
    assert tracker.asked == [
        ("stop", (3.0, me)),
        ("stop", (4.0, me)),
        ("drain", (5.0, me)),
        ("deploy", (version, me)),
        ("end_drain", (me,)),
    ]


def test_a_tracker_of_an_earlier_version_can_be_stopped(play: Callable[[Any], None]) -> None:
    def stop(seconds: float) -> int:
        return int(seconds)

    play(SimpleNamespace(stop=SimpleNamespace(remote=stop)))
    assert service.leave_cluster(4.0) == 4
