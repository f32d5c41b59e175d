"""The tables of tasks. Migrations create all tables; a test fails if the two differ.

Times are seconds since the epoch, as doubles. JSON is kept as text, exactly as it came.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TextClause,
    text,
)
from sqlalchemy.dialects.postgresql import UUID

from raytasks.model.states import FINAL, WAITING, State
from raytasks.model.tasks import DEFAULT_NAMESPACE

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Id = String(36).with_variant(UUID(as_uuid=False), "postgresql")
"""The type of ids of tasks, and of others of their form."""


def _listed(states: frozenset[State]) -> str:
    return ", ".join(f"'{state}'" for state in State if state in states)


tasks = Table(
    "tasks",
    metadata,
    Column("task_id", Id, primary_key=True),
    Column("task_type", String(100), nullable=False),
    Column("state", String(9), nullable=False),
    Column("payload", Text, nullable=False),
    Column("result", Text),
    Column("error", Text),
    Column("checkpoint", Text),
    Column("priority", Integer, nullable=False),
    # The order of claims: due time minus priority x a fixed number of seconds.
    Column("rank", Double, nullable=False),
    # Waiting and due. A task that is not due is not ready, whatever its rank.
    Column("ready", Boolean, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("max_attempts", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("crashes", Integer, nullable=False),
    Column("cancel_requested", Boolean, nullable=False),
    Column("runner_id", String(64)),
    Column("timeout_seconds", Double),
    Column("progress_fraction", Double),
    Column("progress_message", String(500)),
    Column("created_at", Double, nullable=False),
    Column("run_at", Double, nullable=False),
    Column("started_at", Double),
    Column("finished_at", Double),
    Column("updated_at", Double, nullable=False),
    Column("idempotency_key", String(255)),
    Column("request_digest", String(64)),
    Column("namespace", String(63), nullable=False, server_default=DEFAULT_NAMESPACE),
    # A JSON list of texts. A task's tags are in `task_tags` as well.
    Column("tags", Text),
    # Grows by one at each change of state.
    Column("revision", Integer, nullable=False, server_default=text("0")),
    # The reference of a payload or result that is too large for here, as JSON; else null.
    Column("payload_ref", Text),
    Column("result_ref", Text),
    # When a runner was given the task; its attempt may begin later.
    Column("claimed_at", Double),
    # The reference of a checkpoint that is too large for here, as JSON; else null.
    Column("checkpoint_ref", Text),
    # Whether the task has files: large values, or artifacts. Null: unknown, as it was submitted to
    # an earlier version.
    Column("has_files", Boolean),
    # How often the task was snoozed or released, in all its life.
    Column("snoozes", Integer, nullable=False, server_default=text("0")),
    # For a suspect: with how many suspects, itself included, it may share a process when it runs
    # again. A suspect was lost, and may have killed its runner. Null: no suspect.
    Column("company", Integer),
    # The W3C trace context of the submission, as JSON: `traceparent`, and `tracestate` if given.
    Column("trace_context", Text),
    # Why the task was cancelled, or is to be: {code, message, by}, as JSON.
    Column("cancel_reason", Text),
    # The type of the last attempt's error, for the groups of failures; null without an error.
    Column("error_type", String(100)),
    # A digest of its namespace and limit values: see `raytasks.model.lane_names`.
    Column("lane", String(16), nullable=False, server_default=text("''")),
    # The values of its keyed limits by the limit's name, as JSON; null without such limits.
    Column("limit_values", Text),
    Column("checkpoint_number", BigInteger),  # its report's number in the present attempt
    # Its unique key, as JSON; see `raytasks.model.uniqueness`. Who holds a key is in `unique_keys`.
    Column("unique_spec", Text),
    # If no attempt of it has been claimed by then, it is cancelled.
    Column("expires_at", Double),
    # Who hears of its end.
    Column("callback_url", Text),
    # The schedule that made it, and the time in the schedule for which it was made.
    Column("schedule", String(63)),
    Column("scheduled_for", Double),
    CheckConstraint(f"state IN ({_listed(frozenset(State))})", name="state_known"),
    CheckConstraint(
        f"(finished_at IS NOT NULL) = (state IN ({_listed(FINAL)}))", name="finished_when_final"
    ),
    CheckConstraint(f"NOT ready OR state IN ({_listed(WAITING)})", name="ready_when_waiting"),
    CheckConstraint("(runner_id IS NOT NULL) = (state = 'RUNNING')", name="held_when_running"),
)

# As text, so that a query words it exactly as the partial index does. Otherwise SQLite does not use
# the index.
READY = text("ready")
# Waiting but not ready, worded without `state`, as the checks above make both the same.
SCHEDULED = text("NOT ready AND runner_id IS NULL AND finished_at IS NULL")
RUNNING = text("state = 'RUNNING'")
KEYED = text("idempotency_key IS NOT NULL")
ENDED = text("finished_at IS NOT NULL")
OPEN = text("finished_at IS NULL")
FAILING = text("error_type IS NOT NULL")
FAILED = text("state = 'FAILED'")
COMPLETED = text("state = 'COMPLETED'")
UNCOMPLETED = text("state <> 'COMPLETED'")
AT_REST = text("state <> 'COMPLETED' AND state <> 'RUNNING'")
EXPIRING = text("expires_at IS NOT NULL AND attempt = 0 AND finished_at IS NULL")


def index(
    name: str, *columns: Column[Any], where: TextClause | None = None, unique: bool = False
) -> None:
    """Declare an index; with `where` it has only the rows of which that is true."""
    Index(name, *columns, unique=unique, sqlite_where=where, postgresql_where=where)


_of, _typed = tasks.c, (tasks.c.namespace, tasks.c.task_type)
index("ix_tasks_ready", _of.task_type, _of.lane, _of.rank, _of.task_id, where=READY)
index("ix_tasks_scheduled", _of.run_at, where=SCHEDULED)
index("ix_tasks_idempotency_key", _of.namespace, _of.idempotency_key, where=KEYED, unique=True)
index("ix_tasks_finished_at", _of.finished_at, where=ENDED)
index("ix_tasks_expires_at", _of.expires_at, where=EXPIRING)
# For lists. A row's change costs an entry in each index that has the row. Most tasks are COMPLETED;
# so these have indexes that get an entry only once. Those that run are few, and each task is one of
# them: it has no entry by its type then.
index("ix_tasks_uncompleted", _of.namespace, _of.state, _of.task_id, where=UNCOMPLETED)
index("ix_tasks_at_rest_type", *_typed, _of.state, _of.task_id, where=AT_REST)
index("ix_tasks_completed", _of.namespace, _of.task_id, where=COMPLETED)
index("ix_tasks_completed_type", *_typed, _of.task_id, where=COMPLETED)
# For lists by the class of the last error, and for the groups of failures.
index("ix_tasks_error_type", _of.namespace, _of.error_type, _of.task_id, where=FAILING)
index(
    "ix_tasks_failed",
    *(*_typed, _of.error_type, _of.finished_at, _of.task_id),
    _of.state,  # always the same; SQLite reads the row to check it otherwise
    where=FAILED,
)

task_tags = Table(
    "task_tags",
    metadata,
    Column("namespace", String(63), primary_key=True),
    Column("tag", String(64), primary_key=True),
    Column("task_id", Id, primary_key=True),
    sqlite_with_rowid=False,
)

# The unique keys that are held, each by one open task: see `raytasks.model.uniqueness`.
unique_keys = Table(
    "unique_keys",
    metadata,
    Column("namespace", String(63), primary_key=True),
    Column("task_type", String(100), primary_key=True),
    Column("unique_key", String(255), primary_key=True),
    Column("task_id", Id, nullable=False),
    Column("until", String(8), nullable=False),
    Column("ends_at", Double),  # null: only with its task
    sqlite_with_rowid=False,
)
Index("ix_unique_keys_task_id", unique_keys.c.task_id)

# The idempotency keys of submissions that were answered with the holder of their unique key.
key_aliases = Table(
    "key_aliases",
    metadata,
    Column("namespace", String(63), primary_key=True),
    Column("idempotency_key", String(255), primary_key=True),
    Column("task_id", Id, nullable=False),
    Column("request_digest", String(64)),
    sqlite_with_rowid=False,
)
Index("ix_key_aliases_task_id", key_aliases.c.task_id)

# The log lines of handlers, numbered from 1 in each attempt.
task_logs = Table(
    "task_logs",
    metadata,
    Column("task_id", Id, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("at", Double, nullable=False),
    Column("level", String(10), nullable=False),
    Column("message", Text, nullable=False),
    sqlite_with_rowid=False,
)

attempts = Table(
    "attempts",
    metadata,
    Column("task_id", Id, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("outcome", String(16), nullable=False),
    Column("runner_id", String(64), nullable=False),
    Column("started_at", Double, nullable=False),
    Column("finished_at", Double, nullable=False),
    Column("node_id", String(64)),
    Column("worker_id", String(64)),
    Column("ray_task_id", String(64)),
    Column("ray_attempt", Integer),
    Column("error", Text),
    # The outcome that the runner reported after the attempt was given up as lost.
    Column("late_outcome", String(16)),
    Column("late_at", Double),
    # The task's state by this outcome, and the revision of that change. The revision before it was
    # the beginning of the attempt.
    Column("state", String(9)),
    Column("revision", Integer),
    # The machine's name, and the process's id there.
    Column("host", String(255)),
    Column("pid", Integer),
    # Where a warm runner ran it, instead of its own `node_id`, `worker_id`, `host` and `pid`.
    Column("place_id", Integer),
    sqlite_with_rowid=False,
)

# What persons did to a task: each act that changed it, at the revision that the task had before.
task_actions = Table(
    "task_actions",
    metadata,
    Column("task_id", Id, primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("action", String(32), primary_key=True),
    Column("at", Double, nullable=False),
    Column("by", String(128), nullable=False),
    Column("bulk_id", Id),  # the bulk operation that it was a part of
    sqlite_with_rowid=False,
)
