"""The question of an attempt about another task: a call to the tracker from its thread."""

from typing import Any

import ray

from raytasks.protocol import codec as wire
from raytasks.protocol.queries import TasksById
from raytasks.runner.identity import RAY_NAMESPACE
from raytasks.runner.on_ray.tracker_client import TRACKER_NAME

ANSWER_SECONDS = 30.0
"""How long the tracker may take to answer, in seconds."""


def namespace_of(task_id: str) -> str | None:
    """Return the namespace of a task; None if there is none. It blocks.

    Raises what Ray raises while the tracker is away, and `TimeoutError` after `ANSWER_SECONDS`.
    """
    query = TasksById([task_id])
    tracker: Any = ray.get_actor(TRACKER_NAME, RAY_NAMESPACE)
    # Not `ray.get`: while that waits, Ray lends this task's processors to another one.
    answer: Any = tracker.read.remote(wire.encode(query)).future().result(ANSWER_SECONDS)
    task = wire.answer_of(query, answer).get(task_id)
    return None if task is None else task.namespace
