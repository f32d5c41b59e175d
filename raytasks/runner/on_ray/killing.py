"""The kill of an actor's process that also works if the process has been frozen for long.

Measured on Ray 2.60: `ray.kill` asks the process to end. After 100 ms, Ray ends it by a signal. But
Ray gives up connecting to a frozen process after 20 s. From then on the request fails at once, the
signal is not sent either, and no error is raised.
"""

import asyncio
import contextlib
import logging
import os
import signal
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raytasks.runner.on_ray.ray_internals import ActorProcess, has_ended, process_of

log = logging.getLogger(__name__)

_LOOKS_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.5)
"""The pauses between the checks whether Ray has ended a process: 3 s in all."""

_SIGNAL_SECONDS = 30.0


async def kill(actor: Any, *, no_restart: bool) -> None:
    """End the process of an actor. Without `no_restart`, Ray starts it again.

    Returns when the process is known to be gone, or when nothing more can be done from here. Raises
    what `ray.kill` raises.
    """
    process = await asyncio.to_thread(process_of, actor._actor_id)
    await asyncio.to_thread(ray.kill, actor, no_restart=no_restart)
    if process is None:
        return
    for seconds in _LOOKS_SECONDS:
        await asyncio.sleep(seconds)  # Ray sends no notice; a look at its table is cheap
        if await asyncio.to_thread(has_ended, process.worker_id):
            return
    await _signal(process)


async def _signal(process: ActorProcess) -> None:
    """End a process by a signal that a Ray task sends on its node."""
    name = f"process {process.pid} ({process.class_name})"
    log.warning("Ray has not ended %s; it is done from its node", name)
    there = NodeAffinitySchedulingStrategy(process.node_id.hex(), soft=False)
    task = _END.options(num_cpus=0, max_retries=0, scheduling_strategy=there)
    try:
        async with asyncio.timeout(_SIGNAL_SECONDS):
            await task.remote(process.pid, process.class_name)
    except Exception as error:
        log.warning("%s could not be ended from its node: %r", name, error)


def end_process(pid: int, class_name: str) -> bool:
    """End a process of this node if it is an actor of this class; return whether it was ended."""
    with contextlib.suppress(OSError):
        title = Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[0].decode()
        if title.startswith(f"ray::{class_name}"):
            os.kill(pid, signal.SIGKILL)
            return True
    return False


_END = ray.remote(end_process)
