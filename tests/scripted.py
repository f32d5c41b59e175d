"""Scripted handlers for tests: the payload says what each attempt does.

One function handler for the shared pool, one class handler, one that runs as a Ray remote task.
"""

import asyncio
import ctypes
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from raytasks import Context, PermanentError, RetryAfter, RetryPolicy, Snooze, handler

Step = Literal[
    "succeed", "fail", "permanent", "retry_after", "snooze", "sleep", "spin", "hang_in_c",
    "exit", "kill", "segfault", "checkpoint", "progress", "unserializable", "wait_cancelled",
    "wait_file", "exit_once",
]  # fmt: skip


class Script(BaseModel):
    """What to do. `fail_first` attempts fail before the step is taken.

    `mark`: a file to which each attempt appends a line `attempt pid` when it begins.
    """

    model_config = ConfigDict(extra="forbid")

    step: Step = "succeed"
    seconds: float = Field(default=0.0, ge=0)
    fail_first: int = Field(default=0, ge=0)
    mark: str | None = None
    file: str | None = None
    value: Any = None


FAST = RetryPolicy(initial_delay_seconds=0.05, max_delay_seconds=0.2)


def perform(script: Script, context: Context) -> Any:  # noqa: C901 - a list of steps
    """Do what the script says, and return its value with the attempt's number."""
    if script.mark:
        with Path(script.mark).open("a") as file:
            file.write(f"{context.attempt} {os.getpid()}\n")
    if context.failures < script.fail_first:
        raise RuntimeError(f"scripted failure {context.failures + 1}")
    match script.step:
        case "fail":
            raise RuntimeError("scripted failure")
        case "permanent":
            raise PermanentError("scripted permanent failure")
        case "retry_after":
            if context.failures == 0:
                raise RetryAfter(script.seconds)
        case "snooze":
            if context.attempt == 1:
                raise Snooze(script.seconds)
        case "sleep":
            time.sleep(script.seconds)
        case "hang_in_c":
            ctypes.CDLL(None).sleep(int(script.seconds))
        case "spin":
            end = time.monotonic() + script.seconds
            while time.monotonic() < end:
                time.sleep(0.01)
        case "exit":
            os._exit(3)
        case "exit_once":
            if context.attempt == 1:
                os._exit(3)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "segfault":
            ctypes.string_at(0)
        case "unserializable":
            return object()
        case "wait_cancelled":
            while not context.cancelled:
                time.sleep(0.01)
            context.raise_if_cancelled()
        case "wait_file":
            while not Path(script.file or "").exists():
                context.raise_if_cancelled()
                time.sleep(0.01)
        case "progress":
            for step in range(5):
                context.progress((step + 1) / 5, f"step {step + 1} of 5")
                time.sleep(script.seconds / 5)
        case "checkpoint":
            done = context.last_checkpoint or 0
            for item in range(done, 10):
                if item == 5 and context.attempt == 1:
                    raise RuntimeError("scripted failure in the middle")
                context.checkpoint(item + 1)
            return {"began_at": done, "attempt": context.attempt}
    return {"value": script.value, "attempt": context.attempt, "pid": os.getpid()}


@handler("scripted", retry=FAST)
def scripted(script: Script, context: Context) -> Any:
    """Run a script in the shared pool of warm runners."""
    return perform(script, context)


@handler("scripted_async", retry=FAST)
async def scripted_async(script: Script, context: Context) -> Any:
    """Run a script in the shared pool, as a coroutine; it sleeps as coroutines do."""
    if script.step == "sleep":
        await asyncio.sleep(script.seconds)
        return {"value": script.value, "attempt": context.attempt}
    return perform(script, context)


@handler("scripted_class", retry=FAST, actors=(1, 2))
class ScriptedClass:
    """Run scripts in an actor that is loaded once."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, script: Script, context: Context) -> Any:
        self.calls += 1
        return {**perform(script, context), "calls": self.calls}


@handler("scripted_single", retry=FAST, actors=(1, 1))
class ScriptedSingle(ScriptedClass):
    """Run scripts in the only actor of its pool, so that their order can be told."""


@handler("scripted_remote", retry=FAST, ray_options={"num_cpus": 0.5})
def scripted_remote(script: Script, context: Context) -> Any:
    """Run a script as a Ray remote task of its own."""
    return perform(script, context)


@handler("noop")
def noop(payload: dict[str, Any]) -> None:
    """Do nothing."""


if __name__ == "__main__":
    sys.exit("this is a module of handlers")
