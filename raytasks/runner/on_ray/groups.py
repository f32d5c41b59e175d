"""The placement groups of handlers, as Ray's control store has them now."""

from collections.abc import Iterable, Mapping
from typing import Any

from ray import PlacementGroupID
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from raytasks.handling.declaration_checks import GROUP_OPTIONS
from raytasks.runner.identity import RAY_NAMESPACE
from raytasks.runner.placement_groups import ANY_BUNDLE, GroupRequest, GroupView

_REMOVED = "REMOVED"


def request_of(options: Mapping[str, Any]) -> GroupRequest | None:
    """Return what a handler's Ray options ask of a placement group; None if they name none."""
    name, bundle, capture = (options.get(option) for option in GROUP_OPTIONS)
    if name is not None:
        return GroupRequest(name, ANY_BUNDLE if bundle is None else bundle, capture)
    strategy = options.get("scheduling_strategy")
    if not isinstance(strategy, PlacementGroupSchedulingStrategy):
        return None
    return GroupRequest(
        strategy.placement_group.id.hex(),
        strategy.placement_group_bundle_index,
        strategy.placement_group_capture_child_tasks,
        is_id=True,
    )


def groups_now(requests: Iterable[GroupRequest]) -> dict[str, GroupView]:
    """Return the groups that exist, by the name in the requests. Blocks.

    Raises what Ray raises if it does not tell.
    """
    found = {}
    for name, is_id in {(request.name, request.is_id) for request in requests}:
        group = _group(_by_id(name) if is_id else _by_name(name))
        if group is not None:
            found[name] = group
    return found


def strategy_of(request: GroupRequest, group: GroupView) -> PlacementGroupSchedulingStrategy:
    """Return the strategy that places a remote task in the group. Asks Ray nothing."""
    handle = PlacementGroup(
        PlacementGroupID(bytes.fromhex(group.group_id)),
        bundle_cache=[dict(bundle) for bundle in group.bundles],
    )
    return PlacementGroupSchedulingStrategy(handle, request.bundle, request.capture)


def _by_name(name: str) -> Mapping[str, Any] | None:
    # `ray.util.get_placement_group` looks in the namespace of whoever started this actor.
    from ray._private.state import state

    found: Mapping[str, Any] | None = state.get_placement_group_by_name(name, RAY_NAMESPACE)
    return found


def _by_id(group_id: str) -> Mapping[str, Any]:
    from ray._private.state import state

    found: Mapping[str, Any] = state.placement_group_table(
        PlacementGroupID(bytes.fromhex(group_id))
    )
    return found


def _group(row: Mapping[str, Any] | None) -> GroupView | None:
    if not row or row["state"] == _REMOVED:
        return None
    bundles = sorted(row["bundles"].items())
    return GroupView(
        row["placement_group_id"],
        [dict(bundle) for _, bundle in bundles],
        [row["bundles_to_node_id"].get(index) or "" for index, _ in bundles],
    )
