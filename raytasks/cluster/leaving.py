"""The way of a machine out of the cluster: Ray's drain of its node, and the wait for its end."""

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import psutil
import ray
from ray.core.generated import autoscaler_pb2

from raytasks.cluster import token as ray_token
from raytasks.cluster.processes import ClusterError, RayProcess
from raytasks.model.lines import one_line

_LOOK_SECONDS = 0.1
_ANSWER_SECONDS = 5.0
_WHY = "its `raytasks worker` was told to stop"
_WHY_LEAVE = "`raytasks leave` was called on its machine"


class CannotLeave(ClusterError):
    """Ray could not be asked to drain a node."""


@dataclass(frozen=True)
class NodeHere:
    """A node of Ray on this machine: its id, the address of its control store, and its raylet."""

    node_id: str
    address: str
    raylet: psutil.Process


def leave(ray_process: RayProcess, seconds: float) -> str:
    """Have this machine take no more work, and wait until nothing runs; at most `seconds`.

    Ray's raylet ends by itself when nothing runs there any more. Returns how it went, as a line for
    people.
    """
    below: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        below = psutil.Process(ray_process.process.pid).children(recursive=True)
    node = next(_nodes(below), None)
    node_id = None if node is None else node.node_id
    try:
        return _leave(node_id, ray_process.address, ray_process.alive, seconds, _WHY)
    except CannotLeave as trouble:
        return str(trouble)


def leave_by_node(node_id: str | None, seconds: float) -> str:
    """Have a node of this machine leave, whoever has started it: see `leave`.

    Without an id, or the beginning of one, there must be exactly one. Raises `ClusterError`.
    """
    ray_token.use_token()
    nodes = list(_nodes(psutil.process_iter()))
    found = [node for node in nodes if node_id is None or node.node_id.startswith(node_id)]
    if len(found) != 1:
        here = ", ".join(sorted(node.node_id for node in nodes)) or "none"
        which = "one node" if node_id is None else f"one node whose id begins with {node_id}"
        raise ClusterError(
            f"{which} must run on this machine, and there are {len(found)} (all nodes here: "
            f"{here}); run the command on the machine that is to leave, or name its --node-id"
        )
    [node] = found
    return _leave(node.node_id, node.address, lambda: _runs(node.raylet), seconds, _WHY_LEAVE)


def _leave(
    node_id: str | None, address: str, alive: Callable[[], bool], seconds: float, why: str
) -> str:
    """Have a node leave, and wait for its end. Raises `CannotLeave`."""
    deadline = time.monotonic() + seconds
    trouble = "its raylet is gone" if node_id is None else _ask(node_id, address, seconds, why)
    if trouble is not None:
        raise CannotLeave(
            f"Ray could not be asked to let this machine go ({trouble}): what runs is lost"
        )
    while time.monotonic() < deadline:
        if not alive():
            return "nothing runs here any more"
        time.sleep(_LOOK_SECONDS)  # the end of the raylet is the only signal that it gives
    return "the time is over: what still runs is given back"


def has_left(ray_process: RayProcess) -> bool:
    """Return whether Ray has ended here because somebody had this machine leave."""
    return ray_process.process.poll() == 0


def _ask(node_id: str, address: str, seconds: float, message: str) -> str | None:
    """Ask the control store to drain a node; return why it cannot, None if it does."""
    answers: list[str | None] = []

    def ask() -> None:
        try:
            raylet: Any = ray._raylet
            reasons: Any = autoscaler_pb2
            accepted, why = raylet.GcsClient(address=address).drain_node(
                node_id,
                reasons.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION"),
                message,
                math.ceil((time.time() + seconds) * 1000),
            )
            answers.append(None if accepted else why)
        except Exception as error:
            answers.append(one_line(error))

    asking = threading.Thread(target=ask, daemon=True)  # without a head it would take minutes
    asking.start()
    asking.join(_ANSWER_SECONDS)
    return answers[0] if answers else "the head does not answer"


def _nodes(processes: Iterable[psutil.Process]) -> Iterator[NodeHere]:
    """Return the nodes of Ray among processes. Only a raylet's command line tells.

    A process that a raylet has just forked still has that command line, and is none.
    """
    found = [node for process in processes if (node := _node_of(process)) is not None]
    raylets = {node.raylet.pid for node in found}
    for node in found:
        with contextlib.suppress(psutil.Error):
            if node.raylet.ppid() not in raylets:
                yield node


def _node_of(process: psutil.Process) -> NodeHere | None:
    with contextlib.suppress(psutil.Error):
        if process.name() == "raylet" and _runs(process):
            words = (word.partition("=") for word in process.cmdline())
            given = {name.lstrip("-").replace("-", "_"): value for name, _, value in words}
            if "node_id" in given:
                return NodeHere(given["node_id"], given.get("gcs_address", ""), process)
    return None


def _runs(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
