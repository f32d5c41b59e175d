"""Concurrent handlers for the tests of a cluster; the payload says what each attempt does."""

import asyncio
import ctypes
import os
import signal
import time
from pathlib import Path

from pydantic import BaseModel

from raytasks import Batch, Context, RetryPolicy, handler


class Work(BaseModel):
    """The script of an attempt: it waits so many seconds, or kills its process.

    To the file `mark` an attempt that may get stuck appends its process's id, and whether the
    process of the line before is gone.
    """

    seconds: float = 0.0
    kills: bool = False
    mark: str = ""


@handler("many_waits", concurrency=1000)
async def many_waits(payload: Work) -> float:
    """Wait on the event loop."""
    if payload.kills:
        os.kill(os.getpid(), signal.SIGKILL)
    await asyncio.sleep(payload.seconds)
    return payload.seconds


class Marked(BaseModel):
    """An attempt that waits so long, or until the file `gate` exists.

    To the file `mark` it appends its task's id and its number.
    """

    seconds: float
    mark: str
    gate: str = ""


@handler("marked_wait", concurrency=1000)
async def marked_wait(payload: Marked, context: Context) -> int:
    """Say that it begins, and wait on the event loop."""
    with Path(payload.mark).open("a") as file:  # noqa: ASYNC230 - a line is quick
        file.write(f"{context.task_id} {context.attempt}\n")
    ends = time.monotonic() + payload.seconds
    gate = Path(payload.gate or payload.mark + ".none")
    while (left := ends - time.monotonic()) > 0 and not gate.exists():  # noqa: ASYNC110, ASYNC240
        await asyncio.sleep(min(left, 0.2))
    return context.attempt


@handler("model_batch", batch=Batch(100))
def model_batch(payloads: list[Work]) -> list[int]:
    """Take 2 ms for a call and 0.1 ms for each payload, as a small model does."""
    if any(payload.kills for payload in payloads):
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.002 + 0.0001 * len(payloads))
    return [len(payloads)] * len(payloads)


@handler("stuck_once", concurrency=4, retry=RetryPolicy(initial_delay_seconds=0.0))
def stuck_once(payload: Work, context: Context) -> None:
    """Wait in C in the first attempt, where no interrupt can reach it."""
    mark = Path(payload.mark)
    before = mark.read_text().split() if mark.exists() else []
    alone = not before or not Path(f"/proc/{before[0]}").exists()
    with mark.open("a") as file:
        file.write(f"{os.getpid()} {'alone' if alone else 'beside'}\n")
    if context.attempt == 1:
        ctypes.CDLL(None).sleep(int(payload.seconds))
