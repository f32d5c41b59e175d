"""Handlers for the tests of the test kit."""

import asyncio
from typing import Any

from pydantic import BaseModel, Field

from raytasks import Context, PermanentError, RetryAfter, RetryPolicy, Snooze, handler


class Greeting(BaseModel):
    name: str = Field(min_length=1)


@handler("greet", timeout=10)
def greet(payload: Greeting, context: Context) -> dict[str, Any]:
    """Use everything that a context offers."""
    begun_at = context.last_checkpoint or 0
    context.progress(0.5)
    context.progress(message="half way")
    context.checkpoint({"done": begun_at if isinstance(begun_at, int) else begun_at["done"] + 1})
    path = context.save_artifact("greeting.txt", payload.name.encode())
    context.log.info("greeting %s", payload.name)
    context.log.warning("done")
    return {"hello": payload.name, "attempt": context.attempt, "file": path}


@handler("flaky", retry=RetryPolicy(max_attempts=3, initial_delay_seconds=10, factor=3))
def flaky(payload: dict[str, int], context: Context) -> str:
    """Fail `times` times, then succeed."""
    if context.failures < payload["times"]:
        raise ConnectionError(f"failure {context.failures + 1}")
    return "at last"


@handler("busy")
def busy(payload: dict[str, float], context: Context) -> str:
    """Do what the payload says: come back later, the one way or the other."""
    if "snooze" in payload and context.attempt == 1:
        raise Snooze(payload["snooze"])
    if "retry_after" in payload and context.failures == 0:
        raise RetryAfter(payload["retry_after"])
    if "always" in payload:
        raise Snooze(payload["always"])
    return "done"


@handler("permanent")
def permanent(payload: Any) -> None:
    raise PermanentError("never")


@handler("steps")
def steps(payload: int, context: Context) -> dict[str, int]:
    """Count up to the payload, with a checkpoint for each step."""
    begun_at = context.last_checkpoint or 0
    for step in range(begun_at, payload):
        context.checkpoint(step + 1)
    return {"begun_at": begun_at, "attempt": context.attempt}


@handler("coroutine")
async def coroutine(payload: Any, context: Context) -> Any:
    context.checkpoint(payload)
    await asyncio.sleep(0)
    return payload


@handler("counter", actors=(1, 2))
class Counter:
    """Count the calls of this instance."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, payload: Any) -> int:
        self.calls += 1
        return self.calls


@handler("heavy", ray_options={"num_cpus": 2, "max_retries": 3})
def heavy(payload: Any) -> str:
    return "in this process"
