"""A task of the outbox before it is inserted: its id, and the statement that inserts it."""

import os
import re
import time
import uuid
from dataclasses import dataclass
from typing import Any, Unpack

from raytasks.client.api_errors import BadArgument
from raytasks.client.bodies import encode_body, submission_body
from raytasks.client.documents import SubmissionDocument, SubmitOptions
from raytasks.client.requests import checked_key, checked_namespace
from raytasks.handling.declaration import spec_on
from raytasks.handling.handler_types import Called, Payload
from raytasks.model.errors import FieldError, InvalidSubmission
from raytasks.model.outbox_documents import (
    IDEMPOTENCY_KEY,
    OUTBOX_TABLE,
    SUBMIT_KIND,
    TRACE_PARENT,
)
from raytasks.model.trace_context import headers_of, present_context

_SCHEMA = re.compile(r"[^\x00\"]{1,63}")
_COLUMNS = ("id", "kind", "namespace", "document", "created_at")


@dataclass(frozen=True)
class PreparedTask:
    """A task that is not inserted yet.

    - `document`: the body of `POST /tasks/`, as JSON text.
    - `created_at`: in seconds since the epoch.
    - `schema`: the schema of raytasks' tables in the database; None if the connection finds them.
    """

    task_id: str
    namespace: str
    document: str
    created_at: float
    schema: str | None = None

    @property
    def table(self) -> str:
        """The name of the table in SQL."""
        return OUTBOX_TABLE if self.schema is None else f'"{self.schema}".{OUTBOX_TABLE}'

    @property
    def sql(self) -> str:
        """The statement with `%s` for each parameter: for psycopg, and for cursors of Django."""
        places = ", ".join(["%s"] * len(_COLUMNS))
        return f"INSERT INTO {self.table} ({', '.join(_COLUMNS)}) VALUES ({places})"  # noqa: S608 - names of ours, and a quoted schema

    @property
    def parameters(self) -> tuple[str, str, str, str, float]:
        """The parameters of the statement, in order."""
        return self.task_id, SUBMIT_KIND, self.namespace, self.document, self.created_at

    @property
    def values(self) -> dict[str, Any]:
        """The parameters by the names of their columns."""
        return dict(zip(_COLUMNS, self.parameters, strict=True))


def prepare(
    task_type: Called[Payload],
    payload: Payload,
    *,
    namespace: str = "default",
    idempotency_key: str | None = None,
    schema: str | None = None,
    **options: Unpack[SubmitOptions],
) -> PreparedTask:
    """Return a task that is not inserted yet, with its id and its statement.

    The first argument is the function or class of the handler, or the name of its type. A payload
    for a function or class is checked by its model; else the service checks it later. The `options`
    are those of `POST /tasks/`. What does not fit becomes a FAILED task with the reason.

    Raises `BadArgument` for what cannot be written at all. Raises `HandlerError` for a function
    without `@handler`, and `InvalidSubmission` for a payload that does not fit its model.
    """
    if unknown := sorted(options.keys() - SubmitOptions.__annotations__.keys()):
        known = ", ".join(sorted(SubmitOptions.__annotations__))
        raise BadArgument(f"there is no option {unknown[0]!r}; the options are: {known}")
    if options.get("run_at") is not None and options.get("delay_seconds") is not None:
        raise BadArgument("give delay_seconds or run_at, not both")
    if options.get("expires_at") is not None and options.get("expires_seconds") is not None:
        raise BadArgument("give expires_seconds or expires_at, not both")
    if schema is not None and not _SCHEMA.fullmatch(schema):
        raise BadArgument(f"{schema[:100]!r} is not the name of a schema")
    submission: SubmissionDocument = {"task_type": task_type, "payload": payload, **options}
    body = submission_body(submission)
    body.setdefault("payload", None)
    _check(task_type, body["payload"])
    if idempotency_key is not None:
        body[IDEMPOTENCY_KEY] = checked_key(idempotency_key)
    if parent := headers_of(present_context()).get("traceparent"):
        body[TRACE_PARENT] = parent
    return PreparedTask(
        task_id=_new_id(),
        namespace=checked_namespace(namespace),
        document=encode_body(body).decode(),
        created_at=time.time(),
        schema=schema,
    )


def _check(task_type: Any, payload: Any) -> None:
    """Check a payload by the model of its handler, if the handler itself is given."""
    spec = None if isinstance(task_type, str) else spec_on(task_type)
    if spec is None:
        return
    from raytasks.handling.payload_checks import PayloadRefused, check_payload
    from raytasks.model.json_places import pointer

    try:
        check_payload(spec.payload, encode_body({"payload": payload})[len(b'{"payload":') : -1])
    except PayloadRefused as refusal:
        raise InvalidSubmission(
            f"the payload does not fit {spec.task_type}",
            [FieldError(pointer("payload", *place), message) for place, message in refusal.details],
        ) from None


def _new_id() -> str:
    """Return a new UUID of version 7: the time in milliseconds, then chance."""
    number = (time.time_ns() // 1_000_000 & (1 << 48) - 1) << 80
    number |= int.from_bytes(os.urandom(10), "big")
    number = number & ~(0xF << 76) | 7 << 76
    return str(uuid.UUID(int=number & ~(0b11 << 62) | 0b10 << 62))
