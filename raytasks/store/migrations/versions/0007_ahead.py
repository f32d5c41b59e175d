"""Unique keys, expiry, callbacks and schedules of tasks."""

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects.postgresql import UUID

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_Id = sa.String(length=36).with_variant(UUID(as_uuid=False), "postgresql")
_EXPIRING = "expires_at IS NOT NULL AND attempt = 0 AND finished_at IS NULL"


def upgrade() -> None:
    """Add the columns and tables.

    On PostgreSQL no index of a large table is built here: see `raytasks.store.online_upgrade`.
    """
    op.add_column("tasks", sa.Column("unique_spec", sa.Text(), nullable=True))
    op.add_column("tasks", sa.Column("expires_at", sa.Double(), nullable=True))
    op.add_column("tasks", sa.Column("callback_url", sa.Text(), nullable=True))
    op.add_column("tasks", sa.Column("schedule", sa.String(length=63), nullable=True))
    op.add_column("tasks", sa.Column("scheduled_for", sa.Double(), nullable=True))
    op.add_column(
        "bulk_operations",
        sa.Column("skipped", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
    )
    if _is_at_once():
        condition = sa.text(_EXPIRING)
        op.create_index(
            "ix_tasks_expires_at",
            "tasks",
            ["expires_at"],
            sqlite_where=condition,
            postgresql_where=condition,
        )
    op.create_table(
        "unique_keys",
        sa.Column("namespace", sa.String(length=63), nullable=False),
        sa.Column("task_type", sa.String(length=100), nullable=False),
        sa.Column("unique_key", sa.String(length=255), nullable=False),
        sa.Column("task_id", _Id, nullable=False),
        sa.Column("until", sa.String(length=8), nullable=False),
        sa.Column("ends_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint(
            "namespace", "task_type", "unique_key", name=op.f("pk_unique_keys")
        ),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_unique_keys_task_id", "unique_keys", ["task_id"])
    op.create_table(
        "schedules",
        sa.Column("namespace", sa.String(length=63), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("next_at", sa.Double(), nullable=False),
        sa.Column("anchor_at", sa.Double(), nullable=False),
        sa.Column("declared", sa.Text(), nullable=True),
        sa.Column("override", sa.Text(), nullable=True),
        sa.Column("changed_at", sa.Double(), nullable=True),
        sa.Column("by", sa.String(length=128), nullable=True),
        sa.Column("paused_at", sa.Double(), nullable=True),
        sa.Column("paused_by", sa.String(length=128), nullable=True),
        sa.Column("last_for", sa.Double(), nullable=True),
        sa.Column("last_at", sa.Double(), nullable=True),
        sa.Column("last_task_id", _Id, nullable=True),
        sa.PrimaryKeyConstraint("namespace", "name", name=op.f("pk_schedules")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "key_aliases",
        sa.Column("namespace", sa.String(length=63), nullable=False),
        sa.Column("idempotency_key", sa.String(length=255), nullable=False),
        sa.Column("task_id", _Id, nullable=False),
        sa.Column("request_digest", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("namespace", "idempotency_key", name=op.f("pk_key_aliases")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_key_aliases_task_id", "key_aliases", ["task_id"])


def _is_at_once() -> bool:
    """Return whether the indexes of tasks are built here: nobody else uses them."""
    if context.is_offline_mode():
        return bool(context.config.attributes["is_new"])
    connection = op.get_bind()
    return (
        connection.dialect.name == "sqlite"
        or connection.execute(sa.text("SELECT 1 FROM tasks LIMIT 1")).first() is None
    )
