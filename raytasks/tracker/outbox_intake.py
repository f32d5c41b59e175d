"""The check of what the outbox holds: each row becomes a task, or a task that fails at once.

The tracker has no code of handlers. It checks the type, the sizes, the options and the keys; the
payload is checked by the runner. All is pure: rows in, entries out.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import uuid_utils
from msgspec.structs import replace
from pydantic import ValidationError
from pydantic_core import to_json

from raytasks.handling.callback_terms import NO_CALLBACKS, CallbackTerms
from raytasks.handling.submission import (
    PayloadBounds,
    TypeTerms,
    check_key,
    field_errors,
    new_task,
    payload_text,
    signed,
    unknown_type,
    with_key,
)
from raytasks.handling.submit_request import SubmitRequest
from raytasks.model.acts import BY_OUTBOX
from raytasks.model.errors import FieldError, InvalidSubmission
from raytasks.model.handler_info import HandlerInfo
from raytasks.model.lane_names import lane_of, limit_values_again
from raytasks.model.outbox_documents import (
    IDEMPOTENCY_KEY,
    SUBMIT_KIND,
    TRACE_PARENT,
    OutboxRow,
    sound_time,
)
from raytasks.model.strict_json import is_deeper, parse_json
from raytasks.model.task_filter import is_reserved
from raytasks.model.tasks import DEFAULT_NAMESPACE, NewTask, is_namespace
from raytasks.model.trace_context import trace_context
from raytasks.store.refusals import error_name, error_text

UNREADABLE_TYPE = "unreadable"
"""The type of a task whose row does not tell a type that it can have."""

_LIST_OF_OPTIONS = (
    "the third argument of raytasks_submit_v1, its options, must be a JSON object and no list, "
    """e.g. '{"priority": 5}'"""
)
_MAX_TYPE = 100  # characters, as in the table
_SPARE_BYTES = 65_536


@dataclass(frozen=True)
class OutboxTerms:
    """The service's settings for the rows of the outbox."""

    bounds: PayloadBounds = field(default_factory=PayloadBounds)
    callbacks: CallbackTerms = NO_CALLBACKS

    @property
    def max_document_bytes(self) -> int:
        """The longest document that is read: its JSON may have spaces and escapes."""
        return 2 * self.bounds.max_bytes + _SPARE_BYTES


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """A row of the outbox as a command: its task, and why it cannot be (JSON text), or None."""

    row_id: str
    task: NewTask
    refusal: str | None = None

    def stamped(self, now: float) -> "OutboxEntry":
        """Return the entry with its task as accepted at `now`."""
        return OutboxEntry(self.row_id, self.task.stamped(now), self.refusal)


def entry_of(
    row: OutboxRow, handlers: Mapping[str, HandlerInfo], terms: OutboxTerms, now: float
) -> OutboxEntry:
    """Return the entry of a row. What does not fit is a refusal, never an error.

    Times in the document are judged as of the moment when the row was written.
    """
    written_at = sound_time(row.created_at, now)
    value: Any = None
    try:
        value = _read(row, terms)
        task = _task(row, value, handlers, terms, written_at)
    except InvalidSubmission as error:
        refused = _refused(row, value, handlers, terms)
        return OutboxEntry(row.row_id, refused, error_json(error))
    return OutboxEntry(row.row_id, replace(task, task_id=row.row_id))


def failed_entry(
    row: OutboxRow,
    handlers: Mapping[str, HandlerInfo],
    terms: OutboxTerms,
    error: Exception,
    *,
    bare: bool,
) -> OutboxEntry:
    """Return the entry of a row that the database refuses: a task that fails with the reason.

    A `bare` one has nothing of the row but its id and its namespace.
    """
    reason = _wrong(f"it cannot be stored: {error_name(error)}: {error_text(error)}", "")
    value: Any = None
    if not bare:
        with suppress(InvalidSubmission):
            value = _read(row, terms)
    return OutboxEntry(row.row_id, _refused(row, value, handlers, terms), error_json(reason))


def error_json(error: Exception) -> str:
    """Return an error as a task keeps it, as JSON text."""
    kind = type(error).__name__
    shown = {"type": kind, "message": str(error), "retryable": False, "traceback": None}
    return to_json(shown).decode()


def _read(row: OutboxRow, terms: OutboxTerms) -> Any:
    """Return the document of a row. Raises `InvalidSubmission`."""
    if row.wrong_id is not None:
        raise _wrong(f"the id {row.wrong_id} is no UUID in lower case, with dashes", "id")
    if row.mistyped:
        told = ", ".join(f"{name} ({kind})" for name, kind in row.mistyped.items())
        raise _wrong(f"the row has columns of a wrong type: {told}", next(iter(row.mistyped)))
    if row.kind != SUBMIT_KIND:
        raise _wrong(
            f"this version of raytasks knows no rows of the kind {row.kind[:100]!r}", "kind"
        )
    if not is_namespace(row.namespace):
        raise _wrong(
            f"{row.namespace[:100]!r} is no namespace: "
            "use 1 to 63 small letters, digits and dashes",
            "namespace",
        )
    if row.document is None:
        most = terms.max_document_bytes
        raise _wrong(f"the document has more than {most} bytes; see RAYTASKS_MAX_PAYLOAD_BYTES", "")
    try:
        value = parse_json(row.document.encode())
    except ValueError as error:
        raise _wrong(f"the document is no JSON: {error}", "") from None
    if not isinstance(value, dict):
        text = "the document must be a JSON object, as in POST /tasks/"
        if isinstance(value, list) and value and _is_of_function(value[-1]):
            text = _LIST_OF_OPTIONS
        raise _wrong(text, "")
    if is_deeper(value, terms.bounds.max_depth):
        raise _wrong(
            f"it is nested deeper than {terms.bounds.max_depth} levels (RAYTASKS_MAX_DEPTH)", ""
        )
    return value


def _is_of_function(value: Any) -> bool:
    """Return whether it is what `raytasks_submit_v1` adds to the options."""
    return isinstance(value, dict) and value.keys() == {"task_type", "payload"}


def _task(
    row: OutboxRow,
    value: Mapping[str, Any],
    handlers: Mapping[str, HandlerInfo],
    terms: OutboxTerms,
    written_at: float,
) -> NewTask:
    """Return the task that a document asks for. Raises `InvalidSubmission`."""
    body = {name: item for name, item in value.items() if name not in _HEADERS}
    try:
        request = SubmitRequest.model_validate(body)
    except ValidationError as error:
        raise InvalidSubmission("the request is not valid", field_errors(error)) from None
    info = None if is_reserved(request.task_type) else handlers.get(request.task_type)
    if info is None:
        known = sorted(name for name in handlers if not is_reserved(name))
        raise unknown_type(request.task_type, known)
    terms.callbacks.check(request.callback_url, row.namespace)
    payload = payload_text(request.payload, terms.bounds, parsed=True)
    declared = TypeTerms(info.task_type, info.max_attempts, info.timeout_seconds, info.limits)
    task = new_task(request, declared, payload, row.namespace, written_at)
    parent = value.get(TRACE_PARENT)
    if isinstance(parent, str):
        task = replace(task, trace_context=trace_context(parent))
    [task] = signed([task], BY_OUTBOX)
    key = value.get(IDEMPOTENCY_KEY)
    if key is None:
        return task
    check_key(key)
    return with_key(task, request, key)


_HEADERS = (IDEMPOTENCY_KEY, TRACE_PARENT)


def _refused(
    row: OutboxRow, value: Any, handlers: Mapping[str, HandlerInfo], terms: OutboxTerms
) -> NewTask:
    """Return the task that stands for a row that does not fit, with what can be kept of it.

    A person may retry it. Then it has a place among the limits of its type, as others have.
    """
    given = value if isinstance(value, dict) else {}
    task_type = given.get("task_type")
    if not isinstance(task_type, str) or not _can_be_shown(task_type):
        task_type = UNREADABLE_TYPE
    try:
        payload = payload_text(given.get("payload"), terms.bounds, parsed=True).decode()
    except InvalidSubmission:
        payload = "null"
    namespace = row.namespace if is_namespace(row.namespace) else DEFAULT_NAMESPACE
    info = handlers.get(task_type)
    values = None if info is None else limit_values_again(payload, None, info.limits)
    return NewTask(
        task_id=row.row_id if row.wrong_id is None else str(uuid_utils.uuid7()),
        task_type=task_type,
        payload=payload,
        priority=0,
        max_attempts=1,
        timeout_seconds=None,
        namespace=namespace,
        lane=lane_of(namespace, values),
        limit_values=values,
    )


def _can_be_shown(task_type: str) -> bool:
    return (
        0 < len(task_type) <= _MAX_TYPE and task_type.isprintable() and not is_reserved(task_type)
    )


def closed(task: NewTask) -> NewTask:
    """Return a task without all that could let it run, hold a key, expire, or call back."""
    return replace(
        task,
        idempotency_key=None,
        request_digest=None,
        unique_spec=None,
        expires_at=None,
        expires_seconds=None,
        callback_url=None,
    )


def _wrong(message: str, name: str) -> InvalidSubmission:
    place = f"/{name}" if name else ""
    return InvalidSubmission("the row of the outbox cannot be taken", [FieldError(place, message)])
