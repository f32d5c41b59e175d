"""The nodes of the cluster, as Ray's control store reports them."""

import logging

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raytasks.runner.demand import Node

log = logging.getLogger(__name__)

_HEAD = "node:__internal_head__"  # a resource that only the head node has


def nodes_now() -> list[Node]:
    """Return the nodes that are alive, with the free resources of each. Blocks.

    The free resources are as of some hundred milliseconds ago. If Ray does not report them, they
    count as none.
    """
    free: dict[str, dict[str, float]] = {}
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
        if node["Alive"]
    ]


def at_the_head() -> NodeAffinitySchedulingStrategy | None:
    """Return a placement on the head node, or anywhere if that is gone. Blocks.

    The head lives as long as the cluster, while other nodes come and go. Returns None if the head
    is unknown.
    """
    try:
        heads = (node for node in ray.nodes() if node["Alive"] and _HEAD in node["Resources"])
        head = next(heads, None)
    except Exception as error:
        log.warning("the head node cannot be found: %r", error)
        return None
    return None if head is None else NodeAffinitySchedulingStrategy(head["NodeID"], soft=True)
