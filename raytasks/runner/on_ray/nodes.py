"""The nodes of the cluster, as Ray's control store reports them."""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import ray

from raytasks.runner.demand import Node
from raytasks.runner.on_ray.growth import growth_now

log = logging.getLogger(__name__)

_HEAD = "node:__internal_head__"  # a resource that only the head node has
_NODE_ID = "ray.io/node-id"  # a label that Ray gives to every node
_MARKET = "ray.io/market-type"  # a label that clouds' nodes have: `spot` or `on-demand`
_SPOT = "spot"
_PLACES = {"label_selector", "fallback_strategy", "scheduling_strategy"}


def nodes_now() -> list[Node]:
    """Return the nodes that take work, with the free resources of each. Blocks.

    The free resources are as of some hundred milliseconds ago. If Ray does not report them, they
    count as none.
    """
    free: dict[str, dict[str, float]] = {}
    leaving = leaving_nodes()
    try:
        from ray._private.state import available_resources_per_node

        free = available_resources_per_node()
    except Exception as error:
        log.warning("what is free on the nodes cannot be had: %r", error)
    return [
        Node(
            node["NodeID"],
            node["Resources"],
            free.get(node["NodeID"], {}),
            dict(node.get("Labels") or {}),
        )
        for node in ray.nodes()
        if node["Alive"] and node["NodeID"] not in leaving
    ]


def has_another_place(node_id: str) -> bool:
    """Return whether what is near the head could go to another node from this one. Blocks.

    Spot nodes count only if this one is such a node: see `near_the_head`.
    """
    nodes = ray.nodes()
    is_spot = any(_is_spot(node) for node in nodes if node["NodeID"] == node_id)
    leaving = {node_id, *leaving_nodes()}
    return any(
        node["Alive"] and node["NodeID"] not in leaving and _is_spot(node) == is_spot
        for node in nodes
    )


def _is_spot(node: Mapping[str, Any]) -> bool:
    return (node.get("Labels") or {}).get(_MARKET) == _SPOT


def leaving_nodes() -> dict[str, float]:
    """Return the nodes that were told to leave (Ray's drain), and when they will be gone. Blocks.

    The times are in seconds since the epoch, infinite where nobody has named one. Empty if Ray does
    not tell.
    """
    try:
        from ray._private.state import state  # no public call tells

        found: dict[str, int] = state.get_draining_nodes()
    except Exception as error:
        log.warning("which nodes leave cannot be had: %r", error)
        return {}
    return {node: at / 1000 if at > 0 else math.inf for node, at in found.items()}


def at_the_head() -> dict[str, Any]:
    """Return the Ray options that place something on the head node. Blocks. See `near_the_head`."""
    try:
        return near_the_head(ray.nodes())
    except Exception as error:
        log.warning("the head node cannot be found: %r", error)
        return {}


def off_passing_nodes(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return Ray options with a place on the head, where an autoscaler ends idle nodes. Blocks.

    It never ends a node with an actor, even one that reserves nothing. So an actor that is always
    there would keep a node for ever. Options that name a place themselves stay as they are.
    """
    if _PLACES & options.keys() or not growth_now().is_there:
        return dict(options)
    return {**options, **at_the_head()}


def near_the_head(nodes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the Ray options of a place on the head, or elsewhere if that is gone.

    `nodes` are as Ray's `nodes()` has them. The head lives as long as the cluster, while other
    nodes come and go. A spot node goes soonest, so none is used, unless the head is one itself. The
    options are empty if the head is unknown.
    """
    heads = (node for node in nodes if node["Alive"] and _HEAD in node["Resources"])
    head = next(heads, None)
    if head is None:
        return {}
    elsewhere = {_MARKET: _SPOT if _is_spot(head) else f"!{_SPOT}"}
    return {
        "label_selector": {_NODE_ID: head["NodeID"]},
        "fallback_strategy": [{"label_selector": elsewhere}],
    }
