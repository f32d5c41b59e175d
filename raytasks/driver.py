"""For driver scripts: submit a task, and get its result with `ray.get`."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import ray

from raytasks.models import RaytasksError
from raytasks.registry import Registry
from raytasks.runner.link import NAMESPACE, TRACKER_NAME
from raytasks.settings import load_settings
from raytasks.submission import check_submission


class NoService(RaytasksError):
    """No raytasks service runs in the Ray cluster that this driver is connected to."""


@dataclass(frozen=True)
class SubmittedTask:
    """A task that is on disk. `ray.get(task.ref)` waits for its end and returns its result.

    `ray.get` raises `TaskFailed`, with the remote error in its text, if the task did not complete.
    """

    id: str
    ref: Any


def submit(task_type: str, payload: Mapping[str, Any], **options: Any) -> SubmittedTask:
    """Submit a task to the raytasks service of the Ray cluster that this driver has joined.

    `options` are those of `POST /tasks/`: `priority`, `max_attempts`, `timeout_seconds`,
    `delay_seconds` or `run_at`. On return the task is on disk. Raises `InvalidSubmission` for an
    unknown type or a bad payload, `BacklogFull`, `StoreUnavailable`, and `NoService`.
    """
    tracker = _tracker()
    request = {"task_type": task_type, "payload": payload, **options}
    task = check_submission(request, _registry())
    ray.get(tracker.submit.remote([task]))
    return SubmittedTask(task.task_id, tracker.result.remote(task.task_id))


def result(task_id: str) -> Any:
    """Return a Ray object reference to the result of any task, by its id; see `SubmittedTask`."""
    return _tracker().result.remote(task_id)


def _tracker() -> Any:
    try:
        return ray.get_actor(TRACKER_NAME, NAMESPACE)
    except ValueError:
        raise NoService(
            "no raytasks service runs in this Ray cluster; start one with 'raytasks up' "
            "or 'serve run serve_app:app'"
        ) from None


@cache
def _registry() -> Registry:
    return Registry.load(load_settings().task_modules)
