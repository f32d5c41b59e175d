"""Handlers in pools of their own, for tests of pools."""

import asyncio
import os
import time

from pydantic import BaseModel

from raytasks import Pool, handler

BURST = Pool("burst", (0, 4), {"num_cpus": 0})


class Rest(BaseModel):
    """How long to sleep, in seconds."""

    seconds: float = 0.0


@handler("pooled_sleep", pool=BURST)
def pooled_sleep(payload: Rest) -> int:
    """Sleep, and return the id of the process."""
    time.sleep(payload.seconds)
    return os.getpid()


@handler("pooled_wait", pool=BURST)
async def pooled_wait(payload: Rest) -> int:
    """Wait on the event loop, and return the id of the process."""
    await asyncio.sleep(payload.seconds)
    return os.getpid()


@handler("pooled_class", pool=BURST)
class PooledClass:
    """A class whose instances stay in the pool's processes."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, payload: Rest) -> list[int]:
        """Return the id of the process, and how often this instance was called."""
        self.calls += 1
        time.sleep(payload.seconds)
        return [os.getpid(), self.calls]


@handler("apart", ray_options={"num_cpus": 0.5})
def apart(payload: Rest) -> int:
    """Sleep in a Ray remote task of its own."""
    time.sleep(payload.seconds)
    return os.getpid()
