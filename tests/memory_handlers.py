"""A handler that runs out of memory once, and then says what it got."""

from typing import Any

from pydantic import BaseModel

from raytasks import Context, RetryPolicy, handler
from tests.scripted import hog

MEMORY = 64 * 2**20
"""The bytes that a first attempt asks for."""


class Nothing(BaseModel):
    """An empty payload."""


@handler(
    "hungry",
    retry=RetryPolicy(memory_factor=3, max_memory=2 * MEMORY, other_node=True),
    ray_options={"num_cpus": 0, "memory": MEMORY},
)
def hungry(payload: Nothing, context: Context) -> dict[str, Any]:
    """Take all memory in the first attempt; in a later one, return the resources that it has."""
    import ray

    if context.attempt == 1:
        hog()
    return dict(ray.get_runtime_context().get_assigned_resources())
