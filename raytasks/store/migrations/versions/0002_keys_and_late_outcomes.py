"""Idempotency keys, retention, suspects, late outcomes, pauses, and whose the epoch is."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what the second version keeps."""
    op.add_column(
        "tasks", sa.Column("suspect", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
    op.add_column("tasks", sa.Column("idempotency_key", sa.String(length=255), nullable=True))
    op.add_column("tasks", sa.Column("request_digest", sa.String(length=64), nullable=True))
    op.create_index(
        "ix_tasks_idempotency_key",
        "tasks",
        ["idempotency_key"],
        unique=True,
        sqlite_where=sa.text("idempotency_key IS NOT NULL"),
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )
    op.create_index(
        "ix_tasks_finished_at",
        "tasks",
        ["finished_at"],
        unique=False,
        sqlite_where=sa.text("finished_at IS NOT NULL"),
        postgresql_where=sa.text("finished_at IS NOT NULL"),
    )
    with op.batch_alter_table("attempts", table_kwargs={"sqlite_with_rowid": False}) as attempts:
        attempts.add_column(sa.Column("late_outcome", sa.String(length=16), nullable=True))
        attempts.add_column(sa.Column("late_at", sa.Double(), nullable=True))
        attempts.alter_column("outcome", existing_nullable=False, type_=sa.String(length=16))
    op.add_column("tracker_epoch", sa.Column("owner", sa.String(length=64), nullable=True))
    op.add_column("tracker_epoch", sa.Column("paused_at", sa.Double(), nullable=True))
