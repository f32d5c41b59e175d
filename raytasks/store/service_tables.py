"""The tables of the service: what people did, sums over all tasks, bulk operations, versions.

Those of tasks are in `raytasks.store.schema`.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    Index,
    Integer,
    SmallInteger,
    String,
    Table,
    Text,
    text,
)

from raytasks.store.schema import KEYED, OPEN, Id, index, metadata

# What persons did to the service, the newest last: one row for each command, also for a bulk one.
audit = Table(
    "audit",
    metadata,
    Column("audit_id", Id, primary_key=True),
    Column("at", Double, nullable=False),
    Column("by", String(128), nullable=False),
    Column("action", String(32), nullable=False),
    Column("namespace", String(63)),  # null: the whole service
    Column("target", String(255)),  # a task's id, a bulk operation's, a version's number
    Column("details", Text),  # JSON
    sqlite_with_rowid=False,
)
Index("ix_audit_namespace", audit.c.namespace, audit.c.audit_id)
Index("ix_audit_at", audit.c.at)

# Totals that only grow, by namespace and task type: what was submitted, what ended and how.
totals = Table(
    "totals",
    metadata,
    Column("namespace", String(63), primary_key=True),
    Column("task_type", String(100), primary_key=True),
    Column("name", String(32), primary_key=True),
    Column("value", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# How long tasks waited and ran since ever, as JSON. Saved now and then; see `stats_minutes`.
histograms = Table(
    "histograms",
    metadata,
    Column("namespace", String(63), primary_key=True),
    Column("task_type", String(100), primary_key=True),
    Column("data", Text, nullable=False),
    sqlite_with_rowid=False,
)

# The number of tasks by namespace, type and state, kept exact by every transition. To count a
# million rows for a list's total, or for the size of the backlog, would be slow.
task_counts = Table(
    "task_counts",
    metadata,
    Column("namespace", String(63), primary_key=True),
    Column("task_type", String(100), primary_key=True),
    Column("state", String(9), primary_key=True),
    Column("tasks", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# A retry or a cancel of all tasks that a filter matches, from the newest task to the oldest. Each
# small step is one transaction, with the new `cursor` (the last task looked at).
bulk_operations = Table(
    "bulk_operations",
    metadata,
    Column("bulk_id", Id, primary_key=True),
    Column("namespace", String(63), nullable=False),
    Column("action", String(6), nullable=False),
    # A `TaskFilter` without its namespace, as JSON.
    Column("filter", Text, nullable=False, server_default="{}"),
    Column("cursor", Id, nullable=False),
    Column("matched", BigInteger),  # null: too many to count
    Column("looked_at", BigInteger, nullable=False),
    Column("changed", BigInteger, nullable=False),
    # How many tasks were left as they are, as others hold their unique keys.
    Column("skipped", BigInteger, nullable=False, server_default=text("0")),
    Column("created_at", Double, nullable=False),
    Column("finished_at", Double),
    Column("idempotency_key", String(255)),
    Column("by", String(128)),  # who has begun it; null: unknown, as it is from before 0.3
)
Index("ix_bulk_operations_namespace", bulk_operations.c.namespace, bulk_operations.c.bulk_id)
_of = bulk_operations.c
index(
    "ix_bulk_operations_idempotency_key",
    *(_of.namespace, _of.idempotency_key),
    where=KEYED,
    unique=True,
)
index("ix_bulk_operations_open", _of.bulk_id, where=OPEN)

# The number of attempts and tasks that ended in each minute, and their durations, as JSON.
stats_minutes = Table(
    "stats_minutes",
    metadata,
    Column("minute", BigInteger, primary_key=True),  # since the epoch
    Column("namespace", String(63), primary_key=True),
    Column("task_type", String(100), primary_key=True),
    Column("data", Text, nullable=False),
    sqlite_with_rowid=False,
)

# Files to remove: those of deleted tasks (`name` is empty: all of them), and single ones that were
# replaced. The files are removed after the commit, and then their rows.
files_to_remove = Table(
    "files_to_remove",
    metadata,
    Column("task_id", Id, primary_key=True),
    Column("name", String(255), primary_key=True),
    Column("due_at", Double, nullable=False),  # when removal is tried next
    sqlite_with_rowid=False,
)
Index("ix_files_to_remove_due_at", files_to_remove.c.due_at)

# The versions of the handlers' code, numbered at first sight.
handlers_versions = Table(
    "handlers_versions",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("token", Text, nullable=False),
    Column("generation", Text, nullable=False),
    Column("state", String(6), nullable=False),
    Column("seen_at", Double, nullable=False),
    Column("detail", Text),
    Column("declarations", Text),  # JSON: a digest of the declaration, by task type
    CheckConstraint("state IN ('trial', 'passed', 'failed')", name="state_known"),
    sqlite_autoincrement=True,  # a number is never given out again
)
Index("ix_handlers_versions_token", handlers_versions.c.token, unique=True)

# One row, with the unique id of this database; no row until the first request for it.
database_identity = Table(
    "database_identity",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("database_id", String(36), nullable=False),
)

# One row. Each tick looks for it under a lock, and renews it now and then. A tracker whose epoch is
# no longer there has been replaced, and its ticks fail. The owner is the tracker's actor, the same
# in all its lives.
tracker_epoch = Table(
    "tracker_epoch",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("epoch", BigInteger, nullable=False),
    Column("renewed_at", Double, nullable=False),
    Column("owner", String(64)),
    # Of versions before 0.4; see `pauses`.
    Column("paused_at", Double),
    # Whether all open tasks are in their lanes. Null: an earlier version may have written some.
    Column("in_lanes", Boolean),
)
