"""The handlers of the chaos run: what they do is in the payload, what they did in a file.

There are a function handler for the shared pool, a class handler, and two that run as Ray remote
tasks. One of the two has Ray's own retries. Three more functions have limits. The variable
`CHAOS_EFFECTS` of their environment names the file.
"""

import os
import signal
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from raytasks import Context, Limit, PermanentError, RetryPolicy, Snooze, handler
from tests.chaos import effects
from tests.chaos.effects import Phase
from tests.chaos.kinds import BURST, LIMITED_RUNNING, RATE, Kind, Place

SNOOZE_SECONDS = 0.3
SHARD_SECONDS = 0.02


class Chaos(BaseModel):
    """The payload of a task. `token` names its submission, `group` is the key of limits.

    A checkpointing one goes over `shards` shards; its first attempt fails before the shard
    `fails_at`, or dies there with `dies`.
    """

    model_config = ConfigDict(extra="forbid")

    token: str
    kind: Kind
    group: int = 0
    seconds: float = Field(default=0.0, ge=0)
    failures: int = 0
    shards: int = 0
    fails_at: int | None = None
    dies: bool = False


FAST = RetryPolicy(initial_delay_seconds=0.05, max_delay_seconds=0.2)


def perform(task: Chaos, context: Context) -> dict[str, Any]:
    """Run one attempt between its two lines in the effects, and name it in the result."""
    began_at = context.last_checkpoint or 0 if task.kind is Kind.CHECKPOINT else None
    effects.note(context.task_id, context.task_type, context.attempt, Phase.BEGIN, began_at)
    _act(task, context)
    effects.note(context.task_id, context.task_type, context.attempt, Phase.END)
    return {"attempt": context.attempt, "pid": os.getpid()}


def _act(task: Chaos, context: Context) -> None:
    match task.kind:
        case Kind.FLAKY if context.failures < task.failures:
            raise RuntimeError(f"failure {context.failures + 1} of {task.failures}")
        case Kind.PERMANENT:
            raise PermanentError("fails for good")
        case Kind.EXHAUSTED:
            raise RuntimeError("fails each time")
        case Kind.REVIVED if context.attempt == 1:
            raise PermanentError("fails until a person retries it")
        case Kind.SNOOZE if context.attempt == 1:
            raise Snooze(SNOOZE_SECONDS)
        case Kind.POISON:
            _die()
        case Kind.CRASH_ONCE if context.attempt == 1:
            _die()
        case Kind.RAY_RETRIES if _first_here(context):
            _die()
        case Kind.CHECKPOINT:
            _go_over_shards(task, context)
        case Kind.CANCELLED:
            _wait_for_cancel(task.seconds, context)
        case Kind.SLOW:
            time.sleep(task.seconds)


def _go_over_shards(task: Chaos, context: Context) -> None:
    for shard in range(context.last_checkpoint or 0, task.shards):
        if shard == task.fails_at and context.attempt == 1:
            if task.dies:
                _die()
            raise RuntimeError(f"fails at shard {shard}")
        effects.note(context.task_id, context.task_type, context.attempt, Phase.SHARD, shard)
        time.sleep(SHARD_SECONDS)
        context.checkpoint(shard + 1)
        effects.note(context.task_id, context.task_type, context.attempt, Phase.SAVED, shard + 1)


def _wait_for_cancel(seconds: float, context: Context) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        context.raise_if_cancelled()
        time.sleep(0.02)


def _first_here(context: Context) -> bool:
    """Return whether no run of this task was here before; Ray's own attempts look all alike."""
    mark = Path(f"{os.environ[effects.VARIABLE]}.{context.task_id}")
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@handler(Place.FUNCTION, retry=FAST)
def chaos(task: Chaos, context: Context) -> dict[str, Any]:
    """Run in the shared pool of warm runners."""
    return perform(task, context)


@handler(Place.CLASS, retry=FAST, actors=(1, 1))
class ChaosClass:
    """Run in an actor that is loaded once."""

    def __call__(self, task: Chaos, context: Context) -> dict[str, Any]:
        return perform(task, context)


@handler(Place.REMOTE, retry=FAST, ray_options={"num_cpus": 0.5})
def chaos_remote(task: Chaos, context: Context) -> dict[str, Any]:
    """Run as a Ray remote task of its own."""
    return perform(task, context)


@handler(Place.RAY, retry=FAST, ray_options={"num_cpus": 0.5, "max_retries": 2})
def chaos_ray_retries(task: Chaos, context: Context) -> dict[str, Any]:
    """Run as a Ray remote task that Ray itself tries again when its worker dies."""
    return perform(task, context)


@handler(Place.LIMITED, retry=FAST, limits=[Limit("group", running=LIMITED_RUNNING, by="/group")])
def chaos_limited(task: Chaos, context: Context) -> dict[str, Any]:
    """Run at most so many of a group at a time."""
    return perform(task, context)


@handler(
    Place.ORDERED,
    retry=FAST,
    limits=[Limit("in_order", running=1, by="/group", ordered=True)],
)
def chaos_ordered(task: Chaos, context: Context) -> dict[str, Any]:
    """Run one after the other within a group."""
    return perform(task, context)


@handler(Place.RATED, retry=FAST, limits=[Limit("rate", rate=RATE, burst=BURST)])
def chaos_rated(task: Chaos, context: Context) -> dict[str, Any]:
    """Begin not too often."""
    return perform(task, context)
