"""Requests that were accepted before, and would be refused today.

Between two tries of a request its expiry may pass, or a deploy may change the handler. The first
try was accepted, so the second is answered with its tasks. Only a refused request with an
idempotency key is looked up, so that others cost no query.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import uuid_utils
from msgspec import structs
from pydantic import ValidationError

from raytasks.handling.submission import (
    MAX_BATCH_KEY,
    PayloadBounds,
    payload_text,
    request_digest,
    unique_spec_of,
    with_batch_key,
)
from raytasks.handling.submit_request import BatchRequest, SubmitRequest
from raytasks.model.bounds import is_idempotency_key
from raytasks.model.errors import InvalidSubmission
from raytasks.model.tasks import DEFAULT_NAMESPACE, Duplicate, NewTask


def keyed_submission(
    value: Any,
    *,
    idempotency_key: str | None,
    namespace: str = DEFAULT_NAMESPACE,
    bounds: PayloadBounds,
    parsed: bool = False,
) -> list[NewTask]:
    """Return the task of a request with its key and digest, to look it up: it must not be stored.

    Nothing is returned for a request without a valid key, or that can never have been accepted. The
    arguments are those of `check_submission`.
    """
    if idempotency_key is None or not is_idempotency_key(idempotency_key):
        return []
    found = _keyed(value, namespace, bounds, parsed=parsed)
    if found is None:
        return []
    task, digest = found
    return [structs.replace(task, idempotency_key=idempotency_key, request_digest=digest)]


def keyed_batch(
    value: Any,
    *,
    idempotency_key: str | None,
    namespace: str = DEFAULT_NAMESPACE,
    bounds: PayloadBounds,
    parsed: bool = False,
) -> list[NewTask]:
    """Return the tasks of a batch, as `keyed_submission` does; see `check_batch`."""
    if idempotency_key is None or not is_idempotency_key(idempotency_key, MAX_BATCH_KEY):
        return []
    try:
        items = BatchRequest.model_validate(value).tasks
    except ValidationError:
        return []
    tasks, digests = [], []
    for item in items:
        found = _keyed(item, namespace, bounds, parsed=parsed)
        if found is None:
            return []
        tasks.append(found[0])
        digests.append(found[1])
    return with_batch_key(tasks, digests, idempotency_key)


def were_accepted(tasks: Sequence[NewTask], duplicates: Mapping[str, Duplicate]) -> bool:
    """Return whether the same request has made all of the tasks, by what holds their keys."""
    found = [duplicates.get(task.task_id) for task in tasks]
    return bool(found) and all(one is not None and one.same for one in found)


def _keyed(
    value: Any, namespace: str, bounds: PayloadBounds, *, parsed: bool
) -> tuple[NewTask, str] | None:
    """Return a task that only stands for its request, and the digest of the request."""
    try:
        request = SubmitRequest.model_validate(value)
        text = payload_text(request.payload, replace(bounds, max_bytes=sys.maxsize), parsed=parsed)
    except (ValidationError, InvalidSubmission):
        return None
    task = NewTask(
        task_id=str(uuid_utils.uuid7()),
        task_type=request.task_type,
        payload="null",
        priority=request.priority,
        max_attempts=1,
        timeout_seconds=None,
        namespace=namespace,
        unique_spec=unique_spec_of(request.unique),
    )
    return task, request_digest(request, text)
