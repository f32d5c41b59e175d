"""The acts of people: what somebody did to a task, or to the service. Data only.

Times are in seconds since the epoch (UTC).
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from msgspec import Struct, json

from raytasks.model.states import State

UNKNOWN = "unknown"
"""The name of a person who is not known: the act came by a way that does not say."""

BY_SERVE = "serve"
"""The name under which Ray Serve acts, which brings a build by `serve run` or `serve deploy`."""


BY_OUTBOX = "outbox"
"""The name under which rows of the outbox act: nobody knows who has written them."""


class ActionName(StrEnum):
    """The kind of an act."""

    RETRY = "retry"
    CANCEL = "cancel"
    REPLACE = "replace"  # by a submission with the same unique key
    CHANGE = "change"
    DELETE = "delete"
    BULK_RETRY = "bulk_retry"
    BULK_CANCEL = "bulk_cancel"
    BULK_DELETE = "bulk_delete"
    PAUSE = "pause"
    RESUME = "resume"
    DEPLOY = "deploy"
    STOP = "stop"
    SET_LIMIT = "set_limit"
    CLEAR_LIMIT = "clear_limit"
    SET_POOL = "set_pool"
    CLEAR_POOL = "clear_pool"
    SET_NAMESPACE = "set_namespace"
    CLEAR_NAMESPACE = "clear_namespace"
    SET_SCHEDULE = "set_schedule"
    CLEAR_SCHEDULE = "clear_schedule"
    PAUSE_SCHEDULE = "pause_schedule"
    RESUME_SCHEDULE = "resume_schedule"
    RUN_SCHEDULE = "run_schedule"


class TaskAct(Struct, frozen=True, omit_defaults=True):
    """An act that changed a task. `revision` is the one that the task had before.

    `bulk_id` is the bulk operation that the act was a part of, or None.
    """

    task_id: str
    revision: int
    action: ActionName
    at: float
    by: str
    bulk_id: str | None = None


class NewAudit(Struct, frozen=True, omit_defaults=True):
    """An act to be written into the audit.

    - `by`: the name of an API key, `local` where no key is needed, or `user@host`.
    - `namespace`: where it happened; None for the whole service.
    - `target`: the id of a task or of a bulk operation, or the number of a version; or None.
    - `details`: more about it, as a JSON object.
    """

    by: str
    action: ActionName
    namespace: str | None = None
    target: str | None = None
    details: Mapping[str, Any] | None = None


class AuditEntry(Struct, frozen=True, omit_defaults=True):
    """An act as the audit keeps it. `details` is JSON text, or None. See `NewAudit`."""

    audit_id: str
    at: float
    by: str
    action: str
    namespace: str | None = None
    target: str | None = None
    details: str | None = None


class AuditPage(Struct, frozen=True, omit_defaults=True):
    """One page of the audit, the newest first. `next_cursor` is None for the last page."""

    entries: Sequence[AuditEntry]
    next_cursor: str | None = None


def has_acts(state: State, attempt: int, revision: int, *, cancel_requested: bool) -> bool:
    """Return whether a person may have changed a task.

    Each attempt has two changes of state: its beginning and its end. Any other change, and a mark
    to cancel, are a person's, except an expiry.
    """
    return cancel_requested or revision != 2 * attempt - (state is State.RUNNING)


def cancel_reason(by: str, message: str | None) -> str:
    """Return the reason of a cancel that a person asked for, as JSON text."""
    return json.encode({"code": "requested", "message": message, "by": by}).decode()


def duplicate_reason(message: str) -> str:
    """Return the reason of the cancel of a task that another one stands for, as JSON text."""
    return json.encode({"code": "duplicate", "message": message, "by": None}).decode()


EXPIRED = json.encode({"code": "expired", "message": None, "by": None}).decode()
"""The reason of the cancel of a task that expired before it began, as JSON text."""


def canceller(reason: str | None) -> str | None:
    """Return who asked for a cancel, by its reason; None if nobody did."""
    found: str | None = None if reason is None else json.decode(reason)["by"]
    return found
