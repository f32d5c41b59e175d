"""The nodes of the cluster, as Ray's control store knows them."""

import logging

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raytasks.runner.demand import Node

log = logging.getLogger(__name__)

_HEAD = "node:__internal_head__"  # a resource that only that node has


def nodes_now() -> list[Node]:
    """Return the nodes that are alive, with what is free on each. Blocks.

    What is free is some hundred milliseconds old. Where Ray does not tell it, nothing is free.
    """
    free: dict[str, dict[str, float]] = {}
    try:
        from ray._private.state import available_resources_per_node

        free = available_resources_per_node()
    except Exception as error:
        log.warning("what is free on the nodes cannot be had: %r", error)
    return [
        Node(node["NodeID"], node["Resources"], free.get(node["NodeID"], {}))
        for node in ray.nodes()
        if node["Alive"]
    ]


def at_the_head() -> NodeAffinitySchedulingStrategy | None:
    """Return a placement on the head node as long as it is there, else anywhere. Blocks.

    The head lives as long as the cluster, while other nodes come and go. None: nobody knows it.
    """
    try:
        heads = (node for node in ray.nodes() if node["Alive"] and _HEAD in node["Resources"])
        head = next(heads, None)
    except Exception as error:
        log.warning("the head node cannot be found: %r", error)
        return None
    return None if head is None else NodeAffinitySchedulingStrategy(head["NodeID"], soft=True)
