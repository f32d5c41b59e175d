"""The rows of the outbox as data, and what their documents hold beside a submission."""

from msgspec import Struct

OUTBOX_TABLE = "task_outbox"
"""The name of the table. It is promised to stay."""

SUBMIT_KIND = "submit"
"""The kind of a row that submits one task."""

IDEMPOTENCY_KEY = "idempotency_key"
TRACE_PARENT = "traceparent"
"""The members of a document that are headers of a request, not members of its body."""


def sound_time(created_at: float, now: float) -> float:
    """Return when a row was written: as it says, or `now` if that is no time, or in the future.

    All are seconds since the epoch. The clock of a writer, or its unit, may be wrong.
    """
    return created_at if 0.0 < created_at <= now else now


class OutboxRow(Struct, frozen=True):
    """A committed row of the outbox.

    On SQLite its columns may hold anything. What a column cannot have is left out, and `mistyped`
    tells it.

    - `row_id`: the id of the task that it becomes; of a row without such an id, its place.
    - `document`: the JSON text of the body of `POST /tasks/`; it may have the `idempotency_key` and
      the `traceparent` as well. It is None if it is longer than the service reads.
    - `created_at`: when it was written, in seconds since the epoch, by the clock of the writer.
      It is 0.0 if that is no time.
    - `wrong_id`: the beginning of what stands in the place of an id, as text; None if it is one.
    - `mistyped`: the columns with values of wrong types, each with its type.
    """

    row_id: str
    kind: str
    namespace: str
    document: str | None
    created_at: float
    wrong_id: str | None = None
    mistyped: dict[str, str] = {}
