"""The stop of a service: its tracker answers, or has no process any more."""

import warnings
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import GetTimeoutError

from raytasks.cluster.tracker_calls import NoServiceHere

with warnings.catch_warnings():
    # Ray Serve's own, when it is imported.
    warnings.filterwarnings("ignore", "Using extra keyword arguments on `Field`")
    from raytasks import service

GRACE = 10.0


@dataclass
class Cluster:
    """A cluster with a tracker that answers after some seconds, if at all, and one runner.

    `away` are the times between which the tracker has no process, in seconds from the beginning.
    """

    answers_at: float | None = None
    away: tuple[float, float] = (0.0, 0.0)
    now: float = 0.0
    killed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        stop = SimpleNamespace(remote=lambda *_: "call")
        self.tracker = SimpleNamespace(name="tracker", stop=stop, _actor_id="id")

    def wait(self, calls: list[Any], timeout: float) -> tuple[list[Any], list[Any]]:
        at, end = self.answers_at, self.now + timeout
        if at is not None and at <= end:
            self.now = max(self.now, at)
            return calls, []
        self.now = end
        return [], calls

    def is_away(self, actor_id: str) -> bool:
        assert actor_id == "id"
        return self.away[0] <= self.now < self.away[1]

    def kill(self, actor: Any, *, no_restart: bool) -> None:
        assert no_restart
        self.killed.append(actor.name)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    cluster = Cluster()
    runners = {"runner": SimpleNamespace(name="runner")}
    monkeypatch.setattr("ray.serve.shutdown", lambda: None)
    monkeypatch.setattr("ray.get", lambda call: 3)
    monkeypatch.setattr("ray.wait", cluster.wait)
    monkeypatch.setattr("ray.kill", cluster.kill)
    monkeypatch.setattr(service, "time", SimpleNamespace(monotonic=lambda: cluster.now))
    monkeypatch.setattr(service, "tracker_here", lambda: cluster.tracker)
    monkeypatch.setattr(service, "is_away", cluster.is_away)
    monkeypatch.setattr(service, "runners_present", lambda: (runners, True))
    return cluster


def test_a_tracker_that_takes_its_time(cluster: Cluster) -> None:
    cluster.answers_at = 35.0
    assert service.stop_service(GRACE) == 3
    assert (cluster.now, cluster.killed) == (35.0, ["tracker"])


def test_a_tracker_that_comes_back(cluster: Cluster) -> None:
    cluster.answers_at, cluster.away = 19.0, (0.0, 17.0)
    assert service.stop_service(GRACE) == 3


def test_a_tracker_without_a_node_is_not_waited_for(cluster: Cluster) -> None:
    cluster.away = (5.0, 1000.0)
    assert service.stop_service(GRACE) is None
    assert cluster.now < 30
    assert cluster.killed == ["tracker", "runner"]


def test_a_service_that_somebody_else_has_stopped(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> None:
        raise NoServiceHere("none")

    monkeypatch.setattr(service, "tracker_here", none)
    assert service.stop_service(GRACE) == 0


def test_a_tracker_that_hangs_is_waited_for_and_stays(cluster: Cluster) -> None:
    assert service.stop_service(GRACE) is None
    assert (cluster.now, cluster.killed) == (GRACE + 31, [])
    with pytest.raises(GetTimeoutError, match="has not stopped within 40 seconds"):
        service._stop_tracker(cluster.tracker, GRACE)
