"""Handlers for the benchmark of batches and concurrency: a small model, and a wait."""

import asyncio
import time

from pydantic import BaseModel

from raytasks import Batch, handler

ONE_BY_ONE = "bench_model"
BATCHED = "bench_model_batched"
WAITING = "bench_wait"
BATCH = 100
WAITS = 1000


class Load(BaseModel):
    """The load of one task: items for the model, or seconds to wait."""

    items: int = 1
    seconds: float = 1.0


def _work(items: int) -> None:
    """Take 2 ms for a call and 0.1 ms for each item, as a small model does."""
    time.sleep(0.002 + 0.0001 * items)


@handler(ONE_BY_ONE, actors=(1, 1))
class Model:
    """The model, called for each payload."""

    def __call__(self, payload: Load) -> int:
        _work(payload.items)
        return 1


@handler(BATCHED, actors=(1, 1), batch=Batch(BATCH))
class BatchedModel:
    """The same model, called for batches."""

    def __call__(self, payloads: list[Load]) -> list[int]:
        _work(sum(payload.items for payload in payloads))
        return [len(payloads)] * len(payloads)


@handler(WAITING, concurrency=WAITS)
async def wait(payload: Load) -> None:
    """Wait, as for a slow service."""
    await asyncio.sleep(payload.seconds)
