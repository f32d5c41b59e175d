"""The placement groups that handlers ask for, and those of Ray's control store."""

from typing import Any

import pytest
from ray import PlacementGroupID
from ray._private.state import state
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import (
    NodeAffinitySchedulingStrategy,
    PlacementGroupSchedulingStrategy,
)

from raytasks.runner.on_ray.groups import groups_now, request_of, strategy_of
from raytasks.runner.placement_groups import GroupRequest, GroupView

ID = "0bed13de76d8a9e1c59708aa84b601000000"


def row(**changes: Any) -> dict[str, Any]:
    return {
        "placement_group_id": ID,
        "name": "trainers",
        "bundles": {1: {"GPU": 1.0}, 0: {"CPU": 1.0}},
        "bundles_to_node_id": {0: "n1", 1: ""},
        "state": "CREATED",
        **changes,
    }


def by_object(index: int = -1) -> PlacementGroupSchedulingStrategy:
    group = PlacementGroup(PlacementGroupID(bytes.fromhex(ID)))
    return PlacementGroupSchedulingStrategy(group, index, True)


@pytest.mark.parametrize(
    ("options", "request_"),
    [
        ({}, None),
        ({"num_cpus": 1, "scheduling_strategy": "SPREAD"}, None),
        ({"scheduling_strategy": NodeAffinitySchedulingStrategy("ab" * 28, soft=True)}, None),
        ({"placement_group": "trainers"}, GroupRequest("trainers")),
        (
            {
                "placement_group": "trainers",
                "placement_group_bundle_index": 0,
                "placement_group_capture_child_tasks": False,
            },
            GroupRequest("trainers", 0, False),
        ),
        ({"scheduling_strategy": by_object(1)}, GroupRequest(ID, 1, True, is_id=True)),
    ],
)
def test_what_options_ask_for(options: dict[str, Any], request_: GroupRequest | None) -> None:
    assert request_of(options) == request_


def test_the_groups_that_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def by_name(name: str, namespace: str) -> dict[str, Any] | None:
        asked.append((name, namespace))
        return {"trainers": row(), "removed": row(state="REMOVED")}.get(name)

    monkeypatch.setattr(state, "get_placement_group_by_name", by_name)
    names = ("trainers", "removed", "unknown")
    requests = [GroupRequest(name, bundle) for name in names for bundle in (-1, 0)]
    assert groups_now(requests) == {
        "trainers": GroupView(ID, [{"CPU": 1.0}, {"GPU": 1.0}], ["n1", ""])
    }
    assert sorted(asked) == sorted((name, "raytasks") for name in names)  # each of them once


@pytest.mark.parametrize(("found", "exists"), [(row(), True), (row(state="REMOVED"), False)])
def test_a_group_by_its_id(
    monkeypatch: pytest.MonkeyPatch, found: dict[str, Any], exists: bool
) -> None:
    rows = {bytes.fromhex(ID): found}
    monkeypatch.setattr(state, "placement_group_table", lambda id_: rows.get(id_.binary(), {}))
    assert (ID in groups_now([GroupRequest(ID, is_id=True)])) is exists
    assert groups_now([GroupRequest(ID.replace("0b", "0c"), is_id=True)]) == {}


def test_a_strategy_asks_nothing_of_ray() -> None:
    group = GroupView(ID, [{"CPU": 1.0}, {"GPU": 1.0}], ["n1", "n2"])
    strategy = strategy_of(GroupRequest("trainers", 1, True), group)
    assert strategy.placement_group.id.hex() == ID
    assert strategy.placement_group.bundle_specs == [{"CPU": 1.0}, {"GPU": 1.0}]
    assert strategy.placement_group_bundle_index == 1
    assert strategy.placement_group_capture_child_tasks is True
