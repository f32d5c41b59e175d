"""The statement that gives a waiting task what another submission asks for."""

from typing import Any

from msgspec import json
from msgspec.structs import asdict
from sqlalchemy import Connection, Update, update

from raytasks.model.states import State
from raytasks.model.tasks import NewTask, Task
from raytasks.store import files, tag_rows
from raytasks.store.large_checkpoints import GIVEN_UP_SECONDS
from raytasks.store.schema import tasks
from raytasks.store.statements import param

_TAKEN_OVER = (
    *("payload", "payload_ref", "priority", "max_attempts", "timeout_seconds", "run_at", "tags"),
    *("lane", "limit_values", "unique_spec", "expires_at", "callback_url", "trace_context"),
)

_REWRITE: Update = (
    update(tasks)
    .where(
        tasks.c.task_id == param("task_id"),
        tasks.c.state == State.PENDING.value,
        tasks.c.attempt == 0,
    )
    .values(
        {
            **{name: param(name) for name in (*_TAKEN_OVER, "rank", "ready")},
            "revision": tasks.c.revision + 1,
            "updated_at": param("now"),
        }
    )
)


def rewrite(
    connection: Connection, before: Task, new: NewTask, rank: float, now: float, *, ready: bool
) -> int:
    """Give the waiting task `before` all that `new` says; return the number of changed rows.

    `new` has its id. Its namespace and type, the time of its submission, its idempotency key and
    its schedule stay. The number is 0
    if it has begun, or has ended. The file of its former payload is scheduled for removal.
    """
    values = asdict(new)
    bound: dict[str, Any] = {f"p_{name}": values[name] for name in _TAKEN_OVER}
    bound |= {"p_task_id": before.task_id, "p_rank": rank, "p_ready": ready, "p_now": now}
    if before.payload_ref is not None:
        name = json.decode(before.payload_ref)["name"]
        files.mark(connection, [(before.task_id, name)], now + GIVEN_UP_SECONDS)
    tag_rows.untag(connection, tag_rows.tags_of([before]))
    tag_rows.tag(connection, tag_rows.tags_of([new]))
    return connection.execute(_REWRITE, bound).rowcount
