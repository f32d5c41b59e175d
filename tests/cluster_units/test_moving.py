"""The tracker on a node that leaves: it goes as soon as there is another place for it."""

import asyncio
import math
from collections.abc import Callable
from typing import Any

import pytest
import ray

from raytasks.pools.departures import Departures
from raytasks.runner.on_ray import nodes
from raytasks.runner.on_ray.nodes import has_another_place
from raytasks.tracker.on_ray import moving
from raytasks.tracker.on_ray.moving import move_when_told

SPOT = {"ray.io/market-type": "spot"}


def node(name: str, *, alive: bool = True, spot: bool = False) -> dict[str, Any]:
    labels = SPOT if spot else {}
    return {"NodeID": name, "Alive": alive, "Resources": {"CPU": 1.0}, "Labels": labels}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that sets the nodes, and which of them leave."""

    def have(*found: dict[str, Any], leaving: tuple[str, ...] = ()) -> None:
        monkeypatch.setattr(ray, "nodes", lambda: list(found))
        monkeypatch.setattr(nodes, "leaving_nodes", lambda: dict.fromkeys(leaving, math.inf))

    return have


def test_a_place_is_on_a_node_that_stays(cluster: Callable[..., None]) -> None:
    cluster(node("here"))
    assert not has_another_place("here")
    cluster(node("here"), node("dead", alive=False), node("leaves"), leaving=("here", "leaves"))
    assert not has_another_place("here")
    cluster(node("here"), node("other"), leaving=("here",))
    assert has_another_place("here")


def test_spot_nodes_are_no_place_but_for_one_that_is_on_such_a_node(
    cluster: Callable[..., None],
) -> None:
    cluster(node("here"), node("other", spot=True))
    assert not has_another_place("here")
    cluster(node("here", spot=True), node("other", spot=True))
    assert has_another_place("here")
    cluster(node("here", spot=True), node("other"))
    assert not has_another_place("here")


class Moving:
    """A tracker on the node `here`; the nodes that leave, and whether it could go, are set."""

    def __init__(self) -> None:
        self.leaving: dict[str, float] = {}
        self.place = False
        self.asked = asyncio.Event()
        self.ended: list[str] = []
        self.departures = Departures(lambda: self.leaving)
        self._loop = asyncio.get_running_loop()
        self.work = asyncio.ensure_future(
            move_when_told(
                self.departures, here="here", has_place=self.has_place, end=self.ended.append
            )
        )

    def has_place(self, here: str) -> bool:
        assert here == "here"
        self._loop.call_soon_threadsafe(self.asked.set)
        return self.place

    async def look(self, *leaving: str) -> None:
        """Look at which nodes leave."""
        self.leaving = dict.fromkeys(leaving, math.inf)
        self.departures._looked_at = -math.inf
        self.departures.look()
        assert self.departures._looking is not None
        await self.departures._looking


async def test_it_goes_when_its_own_node_leaves() -> None:
    tracker = Moving()
    tracker.place = True
    await tracker.look("other")
    await asyncio.sleep(0)
    assert not tracker.asked.is_set()
    await tracker.look("other", "here")
    await asyncio.wait_for(tracker.work, 10)
    assert tracker.ended == ["this node leaves; the tracker goes to another one"]


async def test_it_stays_until_there_is_a_place(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(moving, "LOOK_SECONDS", 0.01)
    tracker = Moving()
    await tracker.look("here")
    for _ in range(3):
        tracker.asked.clear()
        await asyncio.wait_for(tracker.asked.wait(), 10)
    assert tracker.ended == []
    tracker.place = True
    await asyncio.wait_for(tracker.work, 10)
    assert len(tracker.ended) == 1
    assert caplog.text.count("there is no other one for the tracker") == 1
