"""Ctrl-C at a command that waits: it says in one line what was accepted, or stays so."""

import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from raytasks.client import Client
from raytasks.cluster import processes
from raytasks.pools.handlers_version import HandlersVersion
from raytasks.pools.versions import DeployAnswer
from raytasks.settings import Settings

with warnings.catch_warnings():
    # Ray Serve's own, when it is imported.
    warnings.filterwarnings("ignore", "Using extra keyword arguments on `Field`")
    from raytasks import service
    from raytasks.api.on_ray import deployment

Run = Callable[..., Any]


def interrupt(*_: object, **__: object) -> NoReturn:
    """Do what Ctrl-C does while a command waits."""
    raise KeyboardInterrupt


class Asked:
    """A tracker that takes each call; Ctrl-C comes while a person waits for the answer of one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: str = "") -> None:
        self.calls: list[str] = []
        self._at = at
        self._answers = {"deploy": DeployAnswer(7, None, 7, {}), "drain": 0}
        monkeypatch.setattr("ray.get", self.get)
        monkeypatch.setattr("ray.get_actor", lambda *_: self)
        monkeypatch.setattr("ray.serve.delete", lambda _: None)
        monkeypatch.setattr(processes, "connect", lambda _: None)
        monkeypatch.setattr(service, "check_version", lambda _: None)
        monkeypatch.setattr(service, "_app_name", lambda: "raytasks")
        monkeypatch.setattr(service, "application", lambda _: None)
        version = HandlersVersion("token", "print", (), Settings(_env_file=None))
        monkeypatch.setattr(deployment, "present_version", lambda _: version)

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=lambda *_: name)

    def get(self, name: str, **_: object) -> Any:
        self.calls.append(name)
        if name == self._at:
            raise KeyboardInterrupt
        return self._answers.get(name)


def test_a_task_that_is_awaited_is_named(
    run: Run, service_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Client, "wait", interrupt)
    done = run("submit", "noop", "{}", "--tag", "stopped", "--wait", "--url", service_url)
    with Client(service_url) as client:
        [task_id] = [task["task_id"] for task in client.tasks(tag="stopped")]
    assert done.code == 130
    said = f"stopped; the task {task_id} was accepted; see 'raytasks get {task_id}'\n"
    assert done.err == said


def test_a_bulk_operation_is_named(
    run: Run, service_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Client, "bulk_wait", interrupt)
    done = run("bulk", "cancel", "--tag", "none", "--yes", "--url", service_url)
    with Client(service_url) as client:
        name = client.bulks()[0]["bulk_id"]
    assert done.code == 130
    said = f"stopped; the operation {name} goes on by itself; see 'raytasks bulk show {name}'\n"
    assert done.err == said


def test_a_drained_service_stays_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = Asked(monkeypatch, at="drain")
    done = run("drain")
    assert tracker.calls == ["drain"]
    assert done.code == 130
    assert done.err == "stopped; the service stays drained, until 'raytasks resume'\n"


def test_nothing_was_drained_before_the_tracker_was_asked(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    Asked(monkeypatch)
    monkeypatch.setattr(processes, "connect", interrupt)
    done = run("drain")
    assert (done.code, done.err.strip()) == (130, "")


@pytest.mark.parametrize(
    ("at", "said"),
    [
        ("deploy", "the version may still come into force: see 'raytasks versions'"),
        ("end_drain", "version 7 is deployed, and its runners take the tasks, but the API may"),
        ("serve", "version 7 is deployed, and its runners take the tasks, but the API may"),
    ],
)
def test_a_deployment_says_how_far_it_came(
    run: Run, at: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Asked(monkeypatch, at)
    monkeypatch.setattr("ray.serve.run", interrupt)
    done = run("deploy")
    assert done.code == 130
    [line] = done.err.splitlines()
    assert line.startswith(f"stopped; {said}")


def test_a_stop_says_what_to_do(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Asked(monkeypatch)
    monkeypatch.setattr(service, "_stop_tracker", interrupt)
    done = run("stop")
    assert done.code == 130
    said = "stopped; the service may be stopped in part: run 'raytasks stop' again\n"
    assert done.err == said
