"""`up`, `deploy` and `worker` beside a service of another version, which others play."""

import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

import raytasks
from raytasks.cli import joining, up
from raytasks.cluster import leaving, runs, tracker_calls
from raytasks.cluster import processes as cluster
from raytasks.pools.versions import DeployAnswer

with warnings.catch_warnings():
    # Ray Serve's own, when it is imported.
    warnings.filterwarnings("ignore", "Using extra keyword arguments on `Field`")
    from raytasks import service

Run = Callable[..., Any]
LINE = (
    "error: the service in this cluster is raytasks {}, and this is {}: install {} here, or end "
    "the service ('raytasks stop') and start it with {} (docs/upgrading.md)\n"
)


def method(answer: Any) -> Any:
    """Return a method of an actor that answers so; `ray.get` is played, too."""
    return SimpleNamespace(remote=lambda *_: answer)


class Cluster:
    """A cluster whose service is of some version; it notes what it is asked for."""

    def __init__(self, version: str | None) -> None:
        self.asked: list[str] = []
        self._version = version

    def __getattr__(self, name: str) -> Any:
        if name == "version" and self._version is None:
            raise AttributeError(name)
        self.asked.append(name)
        match name:
            case "version":
                return method(self._version)
            case "deploy":
                return method(DeployAnswer(3, None, 3, {}))
            case _:
                return method(None)

    def let_go(self, *_: Any) -> str:
        """Play the wait for what runs on a machine that leaves."""
        self.asked.append("let go")
        return "nothing runs here any more"


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Callable[[str | None], Cluster]:
    """Play a cluster whose service is of a version; None: it does not say which one."""

    def begin(version: str | None) -> Cluster:
        played = Cluster(version)
        ray_process = SimpleNamespace(stop=lambda: played.asked.append("leave"))
        monkeypatch.setattr("ray.get", lambda answer, **_: answer)
        monkeypatch.setattr("ray.get_actor", lambda *_: played)
        monkeypatch.setattr(service, "get_or_create_tracker", lambda _: played)
        monkeypatch.setattr(service, "stop_service", lambda _: played.asked.append("stop"))
        monkeypatch.setattr("ray.serve.run", lambda *_, **__: played.asked.append("roll"))
        monkeypatch.setattr(service, "application", lambda _: None)
        monkeypatch.setattr(service, "_app_name", lambda: "raytasks")
        monkeypatch.setattr(cluster, "connect", lambda _: None)
        monkeypatch.setattr(cluster, "disconnect", lambda: None)
        monkeypatch.setattr(cluster, "start_worker", lambda *_, **__: ray_process)
        monkeypatch.setattr(up, "_tell_what_is_lacking", lambda _: None)
        monkeypatch.setattr(up, "_take_ports", lambda *_: None)
        for command in (up, joining):
            monkeypatch.setattr(command, "wait_for_signal", lambda *_: None)
            monkeypatch.setattr(command, "stop_signals", lambda: None)
        monkeypatch.setattr(leaving, "leave", played.let_go)
        monkeypatch.setattr(runs, "folder", lambda: tmp_path)
        monkeypatch.setenv("TASK_MODULES", "raytasks.builtin.text_processing")
        return played

    return begin


@pytest.mark.parametrize("theirs", ["0.0.9", None])
@pytest.mark.parametrize(
    ("command", "left_alone"),
    [
        (("up", "--address", "127.0.0.1:1"), ["version"]),
        (("deploy",), ["version"]),
        (("worker", "--address", "127.0.0.1:1"), ["version", "leave"]),
    ],
)
def test_another_version_is_one_line(
    run: Run,
    play: Callable[[str | None], Cluster],
    command: tuple[str, ...],
    left_alone: list[str],
    theirs: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tracker_calls, "__version__", "9.9.9")
    played = play(theirs)
    done = run(*command)
    shown = theirs or "0.1"
    assert (done.code, done.err) == (2, LINE.format(shown, "9.9.9", shown, "9.9.9"))
    assert played.asked == (left_alone if theirs else left_alone[1:])


def test_the_same_version_goes_on(run: Run, play: Callable[[str | None], Cluster]) -> None:
    played = play(raytasks.__version__)
    assert run("deploy").code == 0
    assert played.asked == ["version", "deploy", "end_drain", "roll"]
    played = play(raytasks.__version__)
    assert run("worker", "--address", "127.0.0.1:1").code == 0
    assert played.asked == ["version", "let go", "leave"]


def test_a_cluster_without_a_service_is_joined(
    run: Run, play: Callable[[str | None], Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    played = play(None)

    def nothing(*_: str) -> Any:
        raise ValueError("there is no such actor")

    monkeypatch.setattr("ray.get_actor", nothing)
    assert run("worker", "--address", "127.0.0.1:1", "--stop-grace", "0").code == 0
    assert played.asked == ["leave"]
