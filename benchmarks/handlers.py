"""The handlers of the benchmarks: one that does nothing, and one that takes its time."""

import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from raytasks import Limit, handler

NOOP = "bench_noop"
SLEEP = "bench_sleep"
BLOB = "bench_blob"
KEYED = "bench_keyed"

BODY: dict[str, Any] = {"task_type": NOOP, "payload": {}}
"""The body that is posted to raytasks, and to the no-op server."""


@handler(KEYED, limits=[Limit("key", running=2, by="/key")])
def keyed(payload: dict[str, Any]) -> None:
    """Do nothing, at most twice at a time for each key."""


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


class Blob(BaseModel):
    """A file to wait for, and the size of the result in bytes."""

    gate: str
    size: int = Field(ge=1, le=100_000)


@handler(BLOB)
def blob(payload: Blob) -> str:
    """Return a large result, once the file is there."""
    while not Path(payload.gate).exists():
        time.sleep(0.005)
    return "x" * payload.size
