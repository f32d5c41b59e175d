"""The place of this replica of the API: its rank on its node, and the hosts there are."""

import ray
from ray import serve

from raytasks.runner.on_ray.nodes import leaving_nodes


def rank_here() -> int:
    """Return the number of this replica among those on its node, from 0."""
    rank: int = serve.get_replica_context().rank.local_rank
    return rank


def hosts_now() -> frozenset[str]:
    """Return the addresses of the hosts in the cluster that do not leave it. Blocks.

    Two nodes of one host count once.
    """
    leaving = leaving_nodes()
    return frozenset(
        node["NodeManagerAddress"]
        for node in ray.nodes()
        if node["Alive"] and node["NodeID"] not in leaving
    )
