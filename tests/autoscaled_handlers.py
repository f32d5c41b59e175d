"""Handlers for tests of the autoscaler: remote tasks, and a pool, that ask for whole nodes."""

import time
from pathlib import Path

import ray
from pydantic import BaseModel

from raytasks import Pool, handler

WIDE = Pool("wide", runners=(0, 3), ray_options={"num_cpus": 2})


class Stay(BaseModel):
    """How long to stay: until this file exists; None: not at all."""

    until: Path | None = None


def _stay(payload: Stay) -> str:
    while payload.until is not None and not payload.until.exists():
        time.sleep(0.1)
    return ray.get_runtime_context().get_node_id()


@handler("whole_node", ray_options={"num_cpus": 2})
def whole_node(payload: Stay) -> str:
    """Stay on a node with two processors; return its id."""
    return _stay(payload)


@handler("on_a_gpu", ray_options={"num_gpus": 1})
def on_a_gpu(payload: Stay) -> str:
    """Stay on a node with a GPU; return its id."""
    return _stay(payload)


@handler("wide_sleep", pool=WIDE)
def wide_sleep(payload: Stay) -> str:
    """Stay in a warm runner that reserves a node; return the id of its node."""
    return _stay(payload)


@handler("small")
def small(payload: Stay) -> str:
    """Stay in a runner of the shared pool; return the id of its node."""
    return _stay(payload)
