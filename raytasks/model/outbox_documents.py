"""The rows of the outbox as data, and what their documents hold beside a submission."""

from msgspec import Struct

OUTBOX_TABLE = "task_outbox"
"""The name of the table. It is promised to stay."""

SUBMIT_KIND = "submit"
"""The kind of a row that submits one task."""

IDEMPOTENCY_KEY = "idempotency_key"
TRACE_PARENT = "traceparent"
"""The members of a document that are headers of a request, not members of its body."""


class OutboxRow(Struct, frozen=True):
    """A committed row of the outbox.

    - `row_id`: the id of the task that it becomes.
    - `document`: the JSON text of the body of `POST /tasks/`; it may have the `idempotency_key` and
      the `traceparent` as well. It is None if it is longer than the service reads.
    - `created_at`: when it was written, in seconds since the epoch, by the clock of the writer.
    """

    row_id: str
    kind: str
    namespace: str
    document: str | None
    created_at: float
