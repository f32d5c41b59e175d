"""The room for remote tasks, with nodes that a test makes: what is handed to Ray, what waits."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from raytasks.runner.demand import NO_RESOURCES, NODES_COMING, Node
from raytasks.runner.on_ray import cluster_room
from raytasks.runner.on_ray.cluster_room import QUEUED, QUEUED_WHILE_GROWING, ClusterRoom

OPTIONS = {"big": {"num_cpus": 2}, "small": {"num_cpus": 1}}


@dataclass
class Cluster:
    """A cluster of one node with four processors."""

    free: float = 0.0
    coming: Mapping[str, int] = field(default_factory=dict)
    asked: int = 0

    def nodes(self) -> list[Node]:
        return [Node("n1", {"CPU": 4.0}, {"CPU": self.free})]

    def coming_nodes(self) -> Mapping[str, int]:
        self.asked += 1
        return self.coming


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """The cluster that a room sees."""
    cluster = Cluster()
    monkeypatch.setattr(cluster_room, "nodes_now", cluster.nodes)
    monkeypatch.setattr(cluster_room, "coming_nodes", cluster.coming_nodes)
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 4.0})
    return cluster


async def test_what_fits_and_a_little_more_is_handed_to_ray(cluster: Cluster) -> None:
    room = ClusterRoom(OPTIONS)
    assert not await room.look([("big", 0.5)], 0.0)
    held = Counter({"big": 1})
    assert room.capacity_by_type(held) == {"big": 2 - 1 + QUEUED, "small": 4 + QUEUED}


async def test_who_waits_long_holds_others_back(cluster: Cluster) -> None:
    room = ClusterRoom(OPTIONS)
    assert await room.look([("big", 5.0)], 0.0)
    assert [item.code for item in room.demands] == [NO_RESOURCES]
    assert room.capacity_by_type(Counter())["small"] == 0


async def test_while_nodes_are_added_nobody_is_held_back_and_more_is_asked_for(
    cluster: Cluster,
) -> None:
    room = ClusterRoom(OPTIONS)
    await room.look([("big", 5.0)], 0.0)
    cluster.coming = {"cpu": 1}
    assert await room.look([("big", 6.0)], 1.0)
    assert [item.code for item in room.demands] == [NODES_COMING]
    found = room.capacity_by_type(Counter({"big": 4}))
    assert found == {"big": 2 - 4 + QUEUED_WHILE_GROWING, "small": 4 + QUEUED}
    cluster.coming = {"cpu": 2}
    assert await room.look([("big", 7.0)], 2.0)  # the number is news
    assert not await room.look([("big", 8.0)], 3.0)


async def test_the_autoscaler_is_asked_only_when_something_has_no_room(cluster: Cluster) -> None:
    room = ClusterRoom(OPTIONS)
    await room.look([], 0.0)
    await room.look([("big", 0.5)], 1.0)
    cluster.free = 4.0
    await room.look([("big", 5.0)], 2.0)
    assert cluster.asked == 0
    cluster.free = 0.0
    await room.look([("big", 6.0)], 3.0)
    assert cluster.asked == 1
