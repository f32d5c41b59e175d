"""The placement of remote tasks, with a cluster and placement groups that a test sets."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import ray

from raytasks.protocol.messages import Demand
from raytasks.runner.demand import (
    NEVER_FITS,
    NO_RESOURCES,
    NODES_COMING,
    RUNNER_STARTING,
    Node,
    Wait,
)
from raytasks.runner.on_ray import placement
from raytasks.runner.on_ray.placement import (
    GROUPS_SECONDS,
    QUEUED,
    QUEUED_WHILE_GROWING,
    RESOURCES_SECONDS,
    Placement,
)
from raytasks.runner.placement_groups import GROUP_PENDING, NO_PLACEMENT_GROUP, GroupView

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {"num_cpus": 2},
    "inside": {"placement_group": "trainers"},
    "first": {"placement_group": "trainers", "placement_group_bundle_index": 0},
    "second": {"placement_group": "trainers", "placement_group_bundle_index": 1},
    "light": {"num_cpus": 0, "placement_group": "trainers"},
    "large": {"num_cpus": 8, "placement_group": "trainers"},
}
ID = "0bed13de76d8a9e1c59708aa84b601000000"


def group(group_id: str = ID, nodes: tuple[str, str] = ("n1", "n1")) -> GroupView:
    return GroupView(group_id, [{"CPU": 1.0}, {"CPU": 1.0}], nodes)


@dataclass
class Cluster:
    """One node of four processors, two of which a group has reserved, if there is one."""

    groups: dict[str, GroupView] = field(default_factory=dict)
    free: dict[str, float] = field(default_factory=dict)
    coming: dict[str, int] = field(default_factory=dict)
    looks: int = 0
    asked_for_coming: int = 0

    def coming_nodes(self) -> dict[str, int]:
        self.asked_for_coming += 1
        return self.coming

    def groups_now(self, requests: Any) -> dict[str, GroupView]:
        self.looks += 1
        asked = {request.name for request in requests}
        return {name: found for name, found in self.groups.items() if name in asked}

    def resources(self) -> dict[str, float]:
        found = {"CPU": 4.0}
        for item in self.groups.values():
            found |= {
                f"CPU_group_{item.group_id}": 2.0,
                f"CPU_group_0_{item.group_id}": 1.0,
                f"CPU_group_1_{item.group_id}": 1.0,
            }
        return found

    def nodes_now(self) -> list[Node]:
        return [Node("n1", {"CPU": 4.0}, dict(self.free))]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    cluster = Cluster()
    monkeypatch.setattr(placement, "groups_now", cluster.groups_now)
    monkeypatch.setattr(placement, "coming_nodes", cluster.coming_nodes)
    monkeypatch.setattr(placement, "nodes_now", cluster.nodes_now)
    monkeypatch.setattr(ray, "cluster_resources", cluster.resources)
    return cluster


def capacities(placed: Placement, **flying: int) -> dict[str, int]:
    return {name: placed.capacity(name, flying.get(name, 0)) for name in OPTIONS}


def by_type(placed: Placement) -> dict[str, Demand]:
    return {demand.task_type: demand for demand in placed.demands}


async def test_without_the_group_only_plain_tasks_are_taken(cluster: Cluster) -> None:
    placed = Placement(OPTIONS, 0.0)
    none = dict.fromkeys(OPTIONS, 0)
    assert capacities(placed) == {**none, "plain": 2 + QUEUED}
    assert placed.is_blocked("inside")
    assert not placed.is_blocked("plain")
    assert placed.group_id("inside") is None
    assert placed.strategy("inside") is None
    assert await placed.look_at_demands([], 7.0)  # news
    assert not await placed.look_at_demands([], 8.0)
    assert by_type(placed).keys() == OPTIONS.keys() - {"plain"}
    told = by_type(placed)["first"]
    assert (told.code, told.count, told.seconds) == (NO_PLACEMENT_GROUP, 0, 8.0)
    assert (told.placement_group, told.bundle, told.resources) == ("trainers", 0, {"CPU": 1.0})


async def test_what_fits_the_group(cluster: Cluster) -> None:
    cluster.groups["trainers"] = group()
    placed = Placement(OPTIONS, 0.0)
    assert capacities(placed, first=1) == {
        "plain": 2 + QUEUED,
        "inside": 2 + QUEUED,
        "first": 0 + QUEUED,
        "second": 1 + QUEUED,
        "light": 16 + QUEUED,  # a process each, so it is counted by the cluster's processors
        "large": 0,
    }
    assert placed.group_id("inside") == ID
    assert placed.group_id("plain") is None
    assert placed.strategy("plain") is None
    strategy = placed.strategy("second")
    assert strategy is not None
    assert strategy.placement_group_bundle_index == 1
    await placed.look_at_demands([], 1.0)
    assert {name: item.code for name, item in by_type(placed).items()} == {"large": NEVER_FITS}


async def test_a_group_that_comes_is_found_by_itself(cluster: Cluster) -> None:
    placed = Placement(OPTIONS, 0.0)
    cluster.groups["trainers"] = group(nodes=("", ""))
    assert not await placed.look(GROUPS_SECONDS)  # not due
    assert await placed.look(GROUPS_SECONDS + 0.1)
    await placed.look_at_demands([], 3.0)
    told = by_type(placed)["inside"]
    assert told.code == GROUP_PENDING
    assert told.seconds == pytest.approx(3.0 - GROUPS_SECONDS - 0.1)
    cluster.groups["trainers"] = group()
    assert await placed.look(2 * GROUPS_SECONDS + 0.2)
    assert capacities(placed)["inside"] == 2 + QUEUED  # the cluster was looked at, too
    assert not await placed.look(4 * GROUPS_SECONDS)
    cluster.groups["trainers"] = group("ff02" * 9)
    assert await placed.look(6 * GROUPS_SECONDS)
    assert placed.group_id("inside") == "ff02" * 9


async def test_a_look_without_an_answer_changes_nothing(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.groups["trainers"] = group()
    placed = Placement(OPTIONS, 0.0)

    def away(_: Any) -> dict[str, GroupView]:
        raise ConnectionError

    monkeypatch.setattr(placement, "groups_now", away)
    with pytest.raises(ConnectionError):
        await placed.look(10.0)
    await placed.look_for_group("inside", ID, 11.0)
    assert placed.group_id("inside") == ID


async def test_who_waits_for_what(cluster: Cluster) -> None:
    cluster.groups["trainers"] = group()
    cluster.free = {f"CPU_group_{ID}": 1.0, f"CPU_group_1_{ID}": 1.0}
    placed = Placement(OPTIONS, 0.0)
    waiting = [Wait("first", 9.0), Wait("plain", 8.0), Wait("second", 7.0), Wait("large", 6.0)]
    assert await placed.look_at_demands(waiting, 9.0)
    found = by_type(placed)
    assert {name: (item.code, item.count) for name, item in found.items()} == {
        "first": (NO_RESOURCES, 1),
        "plain": (NO_RESOURCES, 1),
        "second": (RUNNER_STARTING, 1),
        "large": (NEVER_FITS, 1),
    }
    assert found["first"].resources == {"CPU": 1.0}  # by plain names
    assert (found["plain"].placement_group, found["plain"].bundle) == ("", -1)


async def test_the_first_in_the_row_holds_back_only_what_would_take_its_bundle(
    cluster: Cluster,
) -> None:
    cluster.groups["trainers"] = group()
    placed = Placement(OPTIONS, 0.0)
    await placed.look_at_demands([Wait("first", 9.0)], 9.0)
    held_back = {name for name in OPTIONS if placed.is_held_back(name)}
    assert held_back == {"inside", "large"}
    assert placed.capacity("inside", 0) == 0


async def test_a_lost_group_is_looked_for_at_once(cluster: Cluster) -> None:
    cluster.groups["trainers"] = group()
    placed = Placement(OPTIONS, 0.0)
    del cluster.groups["trainers"]
    await placed.look_for_group("inside", ID, 0.1)
    assert placed.is_blocked("inside")
    assert placed.group_id("inside") is None
    looks = cluster.looks
    await placed.look_for_group("inside", ID, 0.2)  # known to be gone
    assert cluster.looks == looks
    assert await placed.look(0.3)  # the news is not lost


async def test_without_groups_nobody_looks_for_them(cluster: Cluster) -> None:
    placed = Placement({"plain": OPTIONS["plain"]}, 0.0)
    cluster.looks = 0
    assert not await placed.look(GROUPS_SECONDS + RESOURCES_SECONDS)
    assert (cluster.looks, placed.has_groups) == (0, False)


async def test_while_nodes_are_added_nobody_is_held_back_and_more_is_asked_for(
    cluster: Cluster,
) -> None:
    placed = Placement({"plain": {"num_cpus": 2}, "small": {"num_cpus": 1}}, 0.0)
    await placed.look_at_demands([Wait("plain", 5.0)], 0.0)
    assert [item.code for item in placed.demands] == [NO_RESOURCES]
    assert placed.capacity("small", 0) == 0
    cluster.coming = {"cpu": 1}
    assert await placed.look_at_demands([Wait("plain", 6.0)], 1.0)
    assert [item.code for item in placed.demands] == [NODES_COMING]
    assert placed.capacity("plain", 4) == 2 - 4 + QUEUED_WHILE_GROWING
    assert placed.capacity("small", 0) == 4 + QUEUED
    cluster.coming = {"cpu": 2}
    assert await placed.look_at_demands([Wait("plain", 7.0)], 2.0)  # the number is news
    assert not await placed.look_at_demands([Wait("plain", 8.0)], 3.0)


async def test_the_autoscaler_is_asked_only_when_something_has_no_room(cluster: Cluster) -> None:
    placed = Placement(OPTIONS, 0.0)
    await placed.look_at_demands([], 0.0)
    await placed.look_at_demands([Wait("plain", 0.5)], 1.0)
    cluster.free = {"CPU": 4.0}
    await placed.look_at_demands([Wait("plain", 5.0)], 2.0)
    assert cluster.asked_for_coming == 0
    cluster.free = {}
    await placed.look_at_demands([Wait("plain", 6.0)], 3.0)
    assert cluster.asked_for_coming == 1


async def test_new_nodes_help_nobody_who_is_to_run_in_a_group(cluster: Cluster) -> None:
    cluster.groups, cluster.coming = {"trainers": group()}, {"cpu": 1}
    placed = Placement(OPTIONS, 0.0)
    await placed.look_at_demands([Wait("inside", 5.0), Wait("plain", 4.0)], 0.0)
    found = {item.task_type: item.code for item in placed.demands}
    assert found["inside"] == NO_RESOURCES
    assert found["plain"] == NODES_COMING
    assert placed.capacity("inside", 0) == 2 + QUEUED
