"""Enqueue in your own transaction: a task exists exactly if your transaction commits.

`submit` inserts a row beside yours, into the table `task_outbox` of raytasks' tables, by your own
connection. The service takes the row after your commit. The task's id is known at once.

- `submit` takes a connection or session of SQLAlchemy, or a connection of psycopg 3.
- `prepare` makes the statement for any other one, such as an async connection or Django's.
- `nudge` tells the service to look at once. Without it, it looks each second.
- In SQL, and so in triggers, it is `select raytasks_submit_v1('type', '{"a": 1}')`.

Nothing here needs Ray or SQLAlchemy: it is in the package raytasks-client.
"""

from typing import Any, Unpack

from raytasks.client.documents import SubmitOptions
from raytasks.handling.handler_types import Called, Payload
from raytasks.outbox.connections import insert
from raytasks.outbox.nudges import nudge
from raytasks.outbox.prepared import PreparedTask, prepare

__all__ = ["PreparedTask", "nudge", "prepare", "submit"]


def submit(
    connection: Any,
    task_type: Called[Payload],
    payload: Payload,
    *,
    namespace: str = "default",
    idempotency_key: str | None = None,
    schema: str | None = None,
    nudges: bool = True,
    **options: Unpack[SubmitOptions],
) -> str:
    """Insert a task into the outbox with the transaction of `connection`; return the task's id.

    The connection is a `Connection` or `Session` of SQLAlchemy, or a `Connection` or `Cursor` of
    psycopg 3. With SQLAlchemy, the service is nudged after each commit, unless `nudges` is false.
    With psycopg, call `nudge` yourself after the commit. The other arguments are those of
    `prepare`. Raises `BadArgument`, `HandlerError`, `InvalidSubmission`, `TypeError` for any other
    connection, and the errors of the driver.
    """
    prepared = prepare(
        task_type,
        payload,
        namespace=namespace,
        idempotency_key=idempotency_key,
        schema=schema,
        **options,
    )
    insert(connection, prepared, nudges=nudges)
    return prepared.task_id
