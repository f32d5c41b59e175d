"""Whether Serve ends this replica: no public call tells it before the last request has ended."""

from typing import Any

import ray
from ray._private.worker import global_worker


def replica_ends() -> bool:
    """Return whether Serve has begun to end the replica in this process.

    False if this version of Ray does not show it. Then Serve calls `__del__` later.
    """
    if not ray.is_initialized():
        return False
    actor: Any = global_worker.actors.get(global_worker.actor_id)
    replica = getattr(actor, "_replica_impl", None)
    return bool(getattr(replica, "_shutting_down", False))
