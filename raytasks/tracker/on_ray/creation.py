"""The creation of the tracker's actor: once in a cluster, at the right place."""

from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raytasks.runner.on_ray.nodes import at_the_head
from raytasks.runner.on_ray.tracker_client import TRACKER_NAME, lasting
from raytasks.settings import Settings
from raytasks.tracker.on_ray.actor import TrackerActor


def get_or_create_tracker(settings: Settings) -> Any:
    """Return the handle of the cluster's tracker; create it if there is none.

    With SQLite the tracker is bound to this node, where the file is. Otherwise it prefers the head
    node, and is on no spot node. Safe to call from many places.
    """
    if settings.uses_sqlite:
        here = ray.get_runtime_context().get_node_id()
        place = {"scheduling_strategy": NodeAffinitySchedulingStrategy(here, soft=False)}
    else:
        place = at_the_head()
    return ray.remote(TrackerActor).options(**lasting(TRACKER_NAME), **place).remote(settings)
