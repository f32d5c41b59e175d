"""The nodes of the cluster, as Ray's control store knows them."""

import logging

import ray

from raytasks.runner.demand import Node

log = logging.getLogger(__name__)


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
