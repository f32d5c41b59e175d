"""Facts that Ray gives only by calls that are private or warn. A failure means "unknown".

Measured on Ray 2.60: the error after an actor's restart does not say why the actor died. The public
state API needs the dashboard. No public call lists the children of a task.
"""

import logging
import warnings
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.annotations import RayDeprecationWarning

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Death:
    """The known facts of the end of a process."""

    reason: str
    out_of_memory: bool = False


_WITHOUT_A_WORD = (
    "it ended without a word: by a signal (killed, out of memory, a crash in C) or by os._exit; "
    "Ray does not tell which"
)


def death_of(worker_id: str) -> Death | None:
    """Return why a worker (Ray's id) is gone; None if Ray does not know that it is. Blocks."""
    try:
        worker = _worker(bytes.fromhex(worker_id))
        if worker is not None and not worker.is_alive:
            kind = _generated().common_pb2.WorkerExitType.Name(worker.exit_type)
            detail = worker.exit_detail.partition(" Some common causes")[0]
            if "connection error" in detail:  # Ray says no more of most deaths
                detail = _WITHOUT_A_WORD
            return Death(detail[:300] or kind, kind == "NODE_OUT_OF_MEMORY")
    except Exception as error:
        log.warning("the reason of a worker's death cannot be had: %r", error)
    return None


@dataclass(frozen=True)
class ActorProcess:
    """The present process of an actor. The ids are Ray's."""

    class_name: str
    pid: int
    node_id: bytes
    worker_id: bytes


def process_of(actor_id: ray.ActorID) -> ActorProcess | None:
    """Return the process of an actor; None if there is none or Ray does not say. Blocks."""
    try:
        row = _actor(actor_id)
        if row is not None and row.pid and row.address.worker_id and row.address.node_id:
            place = row.address
            return ActorProcess(row.class_name, row.pid, place.node_id, place.worker_id)
    except Exception as error:
        log.warning("the process of an actor cannot be had: %r", error)
    return None


def has_ended(worker_id: bytes) -> bool:
    """Return whether Ray knows that the process of a worker (Ray's id) is gone. Blocks."""
    try:
        worker = _worker(worker_id)
        return worker is not None and not worker.is_alive
    except Exception as error:
        log.warning("whether a worker has ended cannot be had: %r", error)
        return False


class Connected:
    """The connection of this process to Ray, as it was when this object was made."""

    def __init__(self) -> None:
        self._core = getattr(ray._private.worker.global_worker, "core_worker", None)

    def lost(self) -> str | None:
        """Return why the connection is gone, in words; None if it is still there."""
        worker = ray._private.worker.global_worker
        if getattr(worker, "core_worker", None) is self._core and worker.connected:
            return None
        return "a handler has ended its connection to Ray (ray.shutdown)"


def actor_life(actor_id: ray.ActorID) -> tuple[int, int] | None:
    """Return how often an actor was restarted, and its process id. None if unknown. Blocks."""
    try:
        row = _actor(actor_id)
        return None if row is None else (row.num_restarts, row.pid)
    except Exception as error:
        log.warning("the state of an actor cannot be had: %r", error)
        return None


def is_away(actor_id: ray.ActorID) -> bool:
    """Return whether an actor has no process now: Ray starts it again, or waits for a node. Blocks.

    False also if Ray does not say.
    """
    try:
        row = _actor(actor_id)
        return row is not None and row.state != row.ALIVE
    except Exception as error:
        log.warning("the state of an actor cannot be had: %r", error)
        return False


def children_of(parent: ray.TaskID) -> list[bytes]:
    """Return the ids of the Ray tasks that a task has started and that have not ended yet."""
    try:
        return [child.binary() for child in _core_worker().get_pending_children_task_ids(parent)]
    except Exception as error:
        log.warning("the Ray tasks that an attempt has started cannot be found: %r", error)
        return []


def was_restarted() -> bool:
    """Return whether Ray has started the present actor again. Raises what Ray raises."""
    with warnings.catch_warnings():
        # Ray's property warns of another property, which it uses itself.
        warnings.simplefilter("ignore", RayDeprecationWarning)
        return bool(ray.get_runtime_context().was_current_actor_reconstructed)


def _actor(actor_id: ray.ActorID) -> Any:
    found = _accessor().get_actor_info(actor_id)
    return None if found is None else _generated().gcs_pb2.ActorTableData.FromString(found)


def _worker(worker_id: bytes) -> Any:
    found = _accessor().get_worker_info(ray.WorkerID(worker_id))
    return None if found is None else _generated().gcs_pb2.WorkerTableData.FromString(found)


def _accessor() -> Any:
    from ray._private.state import state

    return state._connect_and_get_accessor()


def _generated() -> Any:
    from ray.core import generated

    return generated


def _core_worker() -> Any:
    worker: Any = ray._private.worker.global_worker
    return worker.core_worker
