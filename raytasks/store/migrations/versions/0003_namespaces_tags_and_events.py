"""Namespaces, tags, revisions, logs, large values elsewhere, bulk operations, statistics."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_ID = sa.String(length=36).with_variant(sa.UUID(as_uuid=False), "postgresql")


def upgrade() -> None:
    """Add what the third version keeps. What is there already is in the namespace `default`."""
    op.add_column("tasks", _namespace(server_default="default"))
    op.add_column("tasks", sa.Column("tags", sa.Text(), nullable=True))
    op.add_column(
        "tasks", sa.Column("revision", sa.Integer(), server_default=sa.text("0"), nullable=False)
    )
    op.add_column("tasks", sa.Column("payload_ref", sa.Text(), nullable=True))
    op.add_column("tasks", sa.Column("result_ref", sa.Text(), nullable=True))
    op.add_column("attempts", sa.Column("state", sa.String(length=9), nullable=True))
    op.add_column("attempts", sa.Column("revision", sa.Integer(), nullable=True))
    _make_indexes()
    _move_counts()
    op.create_table(
        "task_tags",
        _namespace(),
        sa.Column("tag", sa.String(length=64), nullable=False),
        sa.Column("task_id", _ID, nullable=False),
        sa.PrimaryKeyConstraint("namespace", "tag", "task_id", name=op.f("pk_task_tags")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "task_logs",
        sa.Column("task_id", _ID, nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("level", sa.String(length=10), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("task_id", "attempt", "number", name=op.f("pk_task_logs")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "bulk_operations",
        sa.Column("bulk_id", _ID, nullable=False),
        _namespace(),
        sa.Column("action", sa.String(length=6), nullable=False),
        sa.Column("state", sa.String(length=9), nullable=True),
        sa.Column("task_type", sa.String(length=100), nullable=True),
        sa.Column("tag", sa.String(length=64), nullable=True),
        sa.Column("cursor", _ID, nullable=False),
        sa.Column("matched", sa.BigInteger(), nullable=True),
        sa.Column("looked_at", sa.BigInteger(), nullable=False),
        sa.Column("changed", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.Column("idempotency_key", sa.String(length=255), nullable=True),
        sa.PrimaryKeyConstraint("bulk_id", name=op.f("pk_bulk_operations")),
    )
    op.create_index("ix_bulk_operations_namespace", "bulk_operations", ["namespace", "bulk_id"])
    op.create_index(
        "ix_bulk_operations_idempotency_key",
        "bulk_operations",
        ["namespace", "idempotency_key"],
        unique=True,
        sqlite_where=sa.text("idempotency_key IS NOT NULL"),
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )
    op.create_index(
        "ix_bulk_operations_open",
        "bulk_operations",
        ["bulk_id"],
        sqlite_where=sa.text("finished_at IS NULL"),
        postgresql_where=sa.text("finished_at IS NULL"),
    )
    op.create_table(
        "stats_minutes",
        sa.Column("minute", sa.BigInteger(), nullable=False),
        _namespace(),
        sa.Column("task_type", sa.String(length=100), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("minute", "namespace", "task_type", name=op.f("pk_stats_minutes")),
        sqlite_with_rowid=False,
    )


def _namespace(server_default: str | None = None) -> sa.Column[str]:
    return sa.Column(
        "namespace", sa.String(length=63), server_default=server_default, nullable=False
    )


def _make_indexes() -> None:
    for name in ("ix_tasks_state", "ix_tasks_type", "ix_tasks_type_state"):
        op.drop_index(name, "tasks")
    op.drop_index("ix_tasks_idempotency_key", "tasks")
    op.create_index("ix_tasks_namespace", "tasks", ["namespace", "task_id"])
    op.create_index("ix_tasks_state", "tasks", ["namespace", "state", "task_id"])
    op.create_index("ix_tasks_type", "tasks", ["namespace", "task_type", "task_id"])
    op.create_index("ix_tasks_type_state", "tasks", ["namespace", "task_type", "state", "task_id"])
    op.create_index(
        "ix_tasks_idempotency_key",
        "tasks",
        ["namespace", "idempotency_key"],
        unique=True,
        sqlite_where=sa.text("idempotency_key IS NOT NULL"),
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )


def _move_counts() -> None:
    op.execute("CREATE TEMPORARY TABLE former_counts AS SELECT * FROM task_counts")
    op.drop_table("task_counts")
    op.create_table(
        "task_counts",
        _namespace(),
        sa.Column("task_type", sa.String(length=100), nullable=False),
        sa.Column("state", sa.String(length=9), nullable=False),
        sa.Column("tasks", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("namespace", "task_type", "state", name=op.f("pk_task_counts")),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO task_counts (namespace, task_type, state, tasks) "
        "SELECT 'default', task_type, state, tasks FROM former_counts"
    )
    op.execute("DROP TABLE former_counts")
