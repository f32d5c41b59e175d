"""The pools as data, and the nodes as last seen: without a cluster."""

import threading
import time
from typing import Any

import pytest

from raytasks.model.callbacks import CALLBACK_POOL
from raytasks.model.controls import Pool
from raytasks.model.handler_info import HandlerInfo, HandlerKind
from raytasks.model.steering import PoolSetting
from raytasks.pools import cluster_sight
from raytasks.pools.cluster_sight import ClusterSight
from raytasks.pools.cluster_view import ClusterNode, Stage
from raytasks.pools.handlers_version import HandlersVersion
from raytasks.pools.roster import PooledRunner
from raytasks.pools.start_failures import StartFailures
from raytasks.pools.viewing import pool_views
from raytasks.settings import Settings

HANDLERS = (
    HandlerInfo("short", HandlerKind.FUNCTION, (0, 0)),
    HandlerInfo("long", HandlerKind.FUNCTION, (0, 0)),
    HandlerInfo("model", HandlerKind.CLASS, (1, 2), ray_options={"num_gpus": 1}),
)


def runner(name: str, **changes: Any) -> PooledRunner:
    return PooledRunner(name, None, active_at=time.monotonic() - 5.0, **changes)


def test_the_pools_of_a_version_and_those_that_leave() -> None:
    version = HandlersVersion("token", "fingerprint", HANDLERS, Settings(_env_file=None))
    runners = [
        runner("runner.class.model.1@g", basic=False),
        runner("runner.shared.2@g", alive=True),
        runner("runner.shared.1@g", alive=True, up=True),
        runner("runner.class.gone.1@old", up=True, retiring_since=time.monotonic()),
    ]
    failures = StartFailures()
    for _ in range(2):
        failures.record("class.model", "no driver", ("the last line",))
    found = pool_views(version, runners, {"shared": (1, 4)}, {}, failures)
    gone, model, callbacks, shared = found
    assert (callbacks.name, callbacks.runners) == (CALLBACK_POOL, ())
    assert (gone.name, gone.task_types, gone.runners[0].stage) == ("class.gone", (), Stage.LEAVING)
    assert (shared.task_types, shared.min_runners, shared.max_runners) == (("short", "long"), 1, 4)
    assert [place.stage for place in shared.runners] == [Stage.UP, Stage.STARTING]
    assert [place.placed for place in shared.runners] == [True, True]
    assert shared.resources == {"CPU": 1.0}
    assert (shared.runners[0].resources, shared.failing) == ({}, None)
    assert (model.min_runners, model.resources["GPU"]) == (None, 1.0)
    [place] = model.runners
    assert (place.placed, place.resources["GPU"]) == (False, 1.0)
    assert place.seconds >= 5.0
    assert model.failing is not None
    assert (model.failing.count, model.failing.log) == (2, ("the last line",))


def test_what_a_person_has_set_is_beside_what_is_declared() -> None:
    handlers = (
        *HANDLERS,
        HandlerInfo("mail", HandlerKind.FUNCTION, (0, 0), own_pool=Pool("mail", (0, 3))),
        HandlerInfo("far", HandlerKind.REMOTE, (0, 0)),
    )
    version = HandlersVersion("token", "fingerprint", handlers, Settings(_env_file=None))
    setting = PoolSetting("mail", 2, 6, 1.0, "ops")
    former = PoolSetting("former", 1, 1, 2.0, "ops")
    declared = {"mail": (0, 3), "shared": (1, 4), "remote": (1, 1), "earlier": (1, 1)}
    found = pool_views(version, [], declared, {"mail": setting, "former": former}, StartFailures())
    shown = {view.name: (view.declared, view.min_runners, view.max_runners) for view in found}
    assert shown == {
        "class.model": (None, None, None),
        "mail": ((0, 3), 2, 6),
        CALLBACK_POOL: (None, None, None),
        "remote": (None, 1, 1),
        "shared": ((1, 4), 1, 4),
    }


class TestSight:
    @pytest.fixture(autouse=True)
    def growing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The autoscaler is adding a node."""
        monkeypatch.setattr(cluster_sight, "coming_nodes", lambda: {"gpu": 1})

    async def test_it_is_fresh_for_a_while(self, monkeypatch: pytest.MonkeyPatch) -> None:
        looks = 0

        def look() -> list[ClusterNode]:
            nonlocal looks
            looks += 1
            free = {"CPU": 1.0}
            return [
                ClusterNode("n1", "a", "10.0.0.1", True, True, {"CPU": 2.0}, free, {}),
                ClusterNode("n2", "b", "10.0.0.2", False, False, {"CPU": 8.0}, None, {}),
            ]

        monkeypatch.setattr(cluster_sight, "cluster_nodes", look)
        sight = ClusterSight()
        assert sight.nodes is None
        assert await sight.fresh(10.0)
        assert await sight.fresh(0.0)
        assert looks == 1
        assert sight.coming == {"gpu": 1}
        assert sight.health(is_fresh=True) == {
            "ok": True,
            "nodes": 1,
            "nodes_coming": {"gpu": 1},
            "resources": {"CPU": 2.0},
            "available": {"CPU": 1.0},
        }

    async def test_nobody_waits_for_a_control_store_that_is_away(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        there = threading.Event()

        def look() -> list[ClusterNode]:
            there.wait(20)
            return []

        monkeypatch.setattr(cluster_sight, "cluster_nodes", look)
        sight = ClusterSight()
        assert not await sight.fresh(0.01)
        assert not sight.health(is_fresh=False)["ok"]
        there.set()
        assert await sight.fresh(10.0)  # the same look has ended

    async def test_a_look_that_fails(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def look() -> list[ClusterNode]:
            raise ConnectionError("no control store")

        monkeypatch.setattr(cluster_sight, "cluster_nodes", look)
        sight = ClusterSight()
        assert not await sight.fresh(10.0)
        assert sight.nodes is None
