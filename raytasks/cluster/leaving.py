"""The way of a machine out of the cluster: Ray's drain of its node, and the wait for its end."""

import contextlib
import math
import threading
import time
from typing import Any

import psutil
import ray
from ray.core.generated import autoscaler_pb2

from raytasks.cluster.processes import RayProcess
from raytasks.model.lines import one_line

_LOOK_SECONDS = 0.1
_ANSWER_SECONDS = 5.0
_WHY = "its `raytasks worker` was told to stop"


def leave(ray_process: RayProcess, seconds: float) -> str:
    """Have this machine take no more work, and wait until nothing runs; at most `seconds`.

    Ray's raylet ends by itself when nothing runs there any more. Returns how it went, as a line for
    people.
    """
    deadline = time.monotonic() + seconds
    trouble = _ask(ray_process, seconds)
    if trouble is not None:
        return f"Ray could not be asked to let this machine go ({trouble}): what runs is lost"
    while time.monotonic() < deadline:
        if not ray_process.alive():
            return "nothing runs here any more"
        time.sleep(_LOOK_SECONDS)  # the end of the raylet is the only signal that it gives
    return "the time is over: what still runs is given back"


def has_left(ray_process: RayProcess) -> bool:
    """Return whether Ray has ended here because somebody had this machine leave."""
    return ray_process.process.poll() == 0


def _ask(ray_process: RayProcess, seconds: float) -> str | None:
    """Ask the control store to drain the node here; return why it cannot, None if it does."""
    node_id = _node_id(ray_process)
    if node_id is None:
        return "its raylet is gone"
    answers: list[str | None] = []

    def ask() -> None:
        try:
            raylet: Any = ray._raylet
            reasons: Any = autoscaler_pb2
            accepted, why = raylet.GcsClient(address=ray_process.address).drain_node(
                node_id,
                reasons.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION"),
                _WHY,
                math.ceil((time.time() + seconds) * 1000),
            )
            answers.append(None if accepted else why)
        except Exception as error:
            answers.append(one_line(error))

    asking = threading.Thread(target=ask, daemon=True)  # without a head it would take minutes
    asking.start()
    asking.join(_ANSWER_SECONDS)
    return answers[0] if answers else "the head does not answer"


def _node_id(ray_process: RayProcess) -> str | None:
    """Return Ray's id of the node here. Only the raylet's command line has it."""
    with contextlib.suppress(psutil.Error):
        for process in psutil.Process(ray_process.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if process.name() == "raylet":
                    for word in process.cmdline():
                        name, _, value = word.partition("=")
                        if name.replace("_", "-") == "--node-id":
                            return value
    return None
