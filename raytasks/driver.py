"""For driver scripts: submit a task, and get its result with `ray.get`."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import ray

from raytasks import wire
from raytasks.models import Duplicate, KeyConflict, NewTask, RaytasksError, StoreUnavailable
from raytasks.offload import LargeValues, is_longer
from raytasks.registry import Registry
from raytasks.runner.link import NAMESPACE, TRACKER_NAME
from raytasks.settings import load_settings
from raytasks.submission import check_submission
from raytasks.tracker.results import get_or_create_results


class NoService(RaytasksError):
    """No raytasks service runs in the Ray cluster that this driver is connected to."""


@dataclass(frozen=True)
class SubmittedTask:
    """A task that is on disk. `ray.get(task.ref)` waits for its end and returns its result.

    `ray.get` raises `TaskFailed`, with the remote error in its text, if the task did not complete.
    """

    id: str
    ref: Any


def submit(
    task_type: str,
    payload: Mapping[str, Any],
    *,
    idempotency_key: str | None = None,
    **options: Any,
) -> SubmittedTask:
    """Submit a task to the raytasks service of the Ray cluster that this driver has joined.

    `options` are those of `POST /tasks/`: `priority`, `max_attempts`, `timeout_seconds`,
    `delay_seconds` or `run_at`. On return the task is on disk; if another submission with the same
    `idempotency_key` came first, it is that one's task. Raises `InvalidSubmission` for an unknown
    type or a bad payload, `KeyConflict` if that other submission asked for something else,
    `BacklogFull`, `StoreUnavailable`, and `NoService`.
    """
    tracker = _tracker()
    request = {"task_type": task_type, "payload": payload, **options}
    task = check_submission(request, _registry(), idempotency_key=idempotency_key)
    duplicates = _submit(tracker, task)
    duplicate = duplicates.get(task.task_id, Duplicate(task.task_id, same=True))
    if not duplicate.same:
        raise KeyConflict(f"the idempotency key is that of another task, {duplicate.task_id}")
    return SubmittedTask(duplicate.task_id, _ref(duplicate.task_id))


def result(task_id: str) -> Any:
    """Return a Ray object reference to the result of any task, by its id; see `SubmittedTask`.

    Raises `NoService`.
    """
    _tracker()
    return _ref(task_id)


def _submit(tracker: Any, task: NewTask) -> dict[str, Duplicate]:
    """Submit a task; its payload goes to the artifact store first, if it is large.

    Where that store is, the service says: this process may have another environment.
    """
    if not is_longer(task.payload, _offload_bytes()):
        return _sent(tracker, task)
    values: LargeValues = ray.get(tracker.large_values.remote())
    [kept] = values.keep_payloads([task])
    try:
        duplicates = _sent(tracker, kept)
    except StoreUnavailable:  # it may be stored all the same
        raise
    except RaytasksError:
        values.forget([kept], stored=ray.get(tracker.tasks.remote([kept.task_id])))
        raise
    if kept.task_id in duplicates:
        values.forget([kept])
    return duplicates


def _sent(tracker: Any, task: NewTask) -> dict[str, Duplicate]:
    return wire.duplicates_of(ray.get(tracker.submit.remote(wire.encode([task]))))


def _ref(task_id: str) -> Any:
    return get_or_create_results().result.remote(task_id)


def _tracker() -> Any:
    try:
        return ray.get_actor(TRACKER_NAME, NAMESPACE)
    except ValueError:
        raise NoService(
            "no raytasks service runs in this Ray cluster; start one with 'raytasks up' "
            "or 'serve run raytasks.serve_app:app'"
        ) from None


@cache
def _offload_bytes() -> int:
    return load_settings().offload_bytes


@cache
def _registry() -> Registry:
    return Registry.load(load_settings().task_modules, os.getcwd())
