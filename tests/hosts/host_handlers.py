"""Handlers of the tests on hosts, beside those of the chaos run."""

import time
from typing import Any

from pydantic import BaseModel

from raytasks import Context, RetryPolicy, handler
from tests.chaos_handlers import FAST, Chaos, perform

REMOTE = "hosts_remote"
LARGE = "hosts_large"
BOUNDED = "hosts_bounded"
BOUND_SECONDS = 3.0


class LargeValues(BaseModel):
    """A payload of any size, that asks for a result of `size` characters."""

    filler: str
    size: int


@handler(REMOTE, retry=FAST, ray_options={"num_cpus": 0, "scheduling_strategy": "SPREAD"})
def hosts_remote(task: Chaos, context: Context) -> dict[str, Any]:
    """Run as a Ray remote task that needs nothing, on any host."""
    return perform(task, context)


class Wait(BaseModel):
    """A time to wait, in seconds."""

    seconds: float


@handler(
    BOUNDED,
    timeout=BOUND_SECONDS,
    retry=RetryPolicy(max_attempts=1),
    ray_options={"num_cpus": 0, "scheduling_strategy": "SPREAD"},
)
def hosts_bounded(task: Wait) -> float:
    """Wait as a Ray remote task on any host; after the bound it is timed out."""
    time.sleep(task.seconds)
    return time.time()


@handler(LARGE, retry=FAST)
def hosts_large(task: LargeValues) -> dict[str, Any]:
    """Return the size of the payload's filler, and a text of the size that is asked for."""
    return {"filler": len(task.filler), "text": "x" * task.size}
