"""The handlers of the benchmarks: one that does nothing, and one that takes its time."""

import time
from typing import Any

from pydantic import BaseModel, Field

from raytasks import handler

NOOP = "bench_noop"
SLEEP = "bench_sleep"

BODY: dict[str, Any] = {"task_type": NOOP, "payload": {}}
"""What is posted to raytasks, and to the no-op server."""


class Sleep(BaseModel):
    """How long to sleep."""

    seconds: float = Field(default=0.005, ge=0, le=10)


@handler(NOOP)
def noop(payload: dict[str, Any]) -> None:
    """Do nothing."""


@handler(SLEEP)
def sleep(payload: Sleep) -> None:
    """Sleep: work that takes no processor."""
    time.sleep(payload.seconds)
