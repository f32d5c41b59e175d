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
    "wait_file", "exit_once", "ray_get", "ray_leave", "ring_error", "ring_exit", "hog", "shards",
    "large",
]  # fmt: skip

FUSE_FILE = os.environ.get("SCRIPTED_FUSE_FILE", "")
if Path(os.environ.get("SCRIPTED_FUSE", "")).is_file():  # a folder, and so is no name at all
    Path(os.environ["SCRIPTED_FUSE"]).unlink()
    os._exit(1)


class Script(BaseModel):
    """The payload of a task: what to do. `fail_first` attempts fail before the step is taken.

    First of all, so many `lines` are logged, from `line 1` on. To the file `mark` each attempt
    appends a line `attempt pid` when it begins. The step `large` returns a text of `seconds`
    characters.
    """

    model_config = ConfigDict(extra="forbid")

    step: Step = "succeed"
    seconds: float = Field(default=0.0, ge=0)
    fail_first: int = Field(default=0, ge=0)
    lines: int = Field(default=0, ge=0)
    mark: str | None = None
    file: str | None = None
    value: Any = None


FAST = RetryPolicy(initial_delay_seconds=0.05, max_delay_seconds=0.2)


def with_child(script: Script, context: Context) -> None:
    """Start a Ray task that writes its process id into `file`, and wait for it, or for a stop."""
    import ray

    @ray.remote(num_cpus=0.5)
    def child(file: str) -> None:
        Path(file).write_text(str(os.getpid()))
        while True:
            time.sleep(0.01)

    @ray.remote(num_cpus=0)
    class Slow:
        def __init__(self) -> None:
            time.sleep(3600)

    assert script.file is not None
    started = child.remote(script.file)
    slow = Slow.remote()  # type: ignore[attr-defined]  # it is still being made when the attempt is stopped
    if script.step == "ray_get":
        ray.get(started)
    while not context.cancelled:
        time.sleep(0.01)
    del slow
    context.raise_if_cancelled()


def ring(script: Script, context: Context) -> Any:
    """Fail as Ray retries it, in the first `seconds` tries; `mark` has a line for each try."""
    tries = len(Path(script.mark or "").read_text().splitlines())
    if tries > script.seconds:
        return {"tries": tries, "attempt": context.attempt}
    if script.step == "ring_exit":
        os._exit(3)
    raise ConnectionError(f"scripted trouble {tries}")


def hog() -> None:
    """Take memory until somebody ends this process."""
    taken = []
    while True:
        taken.append(bytearray(100 * 2**20))
        time.sleep(0.01)


def shards(script: Script, context: Context) -> Any:
    """Work through 5,000 shards with a checkpoint for each hundred; die once at 4,900."""
    began_at = context.last_checkpoint or 0
    for shard in range(began_at, 5000):
        if shard % 100 == 0:
            context.checkpoint(shard)
            context.progress(shard / 5000, f"shard {shard}")
        if shard == 4900 and context.attempt == 1:
            os.kill(os.getpid(), signal.SIGKILL)
    return {"began_at": began_at, "attempt": context.attempt}


def perform(script: Script, context: Context) -> Any:  # noqa: C901 - a list of steps
    """Do what the script says, and return its value with the attempt's number."""
    if script.mark:
        with Path(script.mark).open("a") as file:
            file.write(f"{context.attempt} {os.getpid()}\n")
    for number in range(1, script.lines + 1):
        context.log.info("line %d", number)
    if context.failures < script.fail_first:
        raise RuntimeError(f"scripted failure {context.failures + 1}")
    match script.step:
        case "ray_get" | "ray_leave":
            with_child(script, context)
        case "ring_error" | "ring_exit":
            return ring(script, context)
        case "hog":
            hog()
        case "shards":
            return shards(script, context)
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
        case "large":
            return "x" * int(script.seconds)
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


@handler("scripted_single", retry=FAST, actors=(0, 1))
class ScriptedSingle(ScriptedClass):
    """Run scripts in the only actor of its pool, so that their order can be told."""


@handler("scripted_remote", retry=FAST, ray_options={"num_cpus": 0.5})
def scripted_remote(script: Script, context: Context) -> Any:
    """Run a script as a Ray remote task of its own."""
    return perform(script, context)


@handler(
    "scripted_ring",
    retry=FAST,
    ray_options={"num_cpus": 0.5, "max_retries": 2, "retry_exceptions": [ConnectionError]},
)
def scripted_ring(script: Script, context: Context) -> Any:
    """Run a script as a Ray remote task that Ray itself retries."""
    return perform(script, context)


@handler(
    "scripted_fused",
    retry=FAST,
    ray_options={"num_cpus": 0.5, "runtime_env": {"env_vars": {"SCRIPTED_FUSE": FUSE_FILE}}},
)
def scripted_fused(script: Script, context: Context) -> Any:
    """Run a script in a process that died at its start, if there was a file with this name."""
    return perform(script, context)


@handler("scripted_large", ray_options={"num_cpus": 4})
def scripted_large(script: Script, context: Context) -> Any:
    """Run a script as a Ray remote task that takes four processors."""
    return perform(script, context)


@handler("scripted_huge", ray_options={"num_cpus": 1000})
def scripted_huge(script: Script, context: Context) -> Any:
    """Run a script as a Ray remote task that fits nowhere."""
    return perform(script, context)


@handler("scripted_elsewhere", retry=FAST, ray_options={"resources": {"elsewhere": 1}})
def scripted_elsewhere(script: Script, context: Context) -> Any:
    """Run a script as a Ray remote task on a node that has this resource."""
    return perform(script, context)


@handler(
    "scripted_class_elsewhere",
    retry=FAST,
    actors=(0, 1),
    ray_options={"num_cpus": 0, "resources": {"elsewhere": 1}},
)
class ScriptedClassElsewhere(ScriptedClass):
    """Run scripts in an actor on a node that has this resource."""


@handler("noop")
def noop(payload: dict[str, Any]) -> None:
    """Do nothing."""


if __name__ == "__main__":
    sys.exit("this is a module of handlers")
