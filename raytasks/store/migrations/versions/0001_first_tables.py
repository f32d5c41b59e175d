"""The first tables: tasks, attempts, counts and the tracker's epoch."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables of the first version."""
    op.create_table(
        "attempts",
        sa.Column(
            "task_id",
            sa.String(length=36).with_variant(sa.UUID(as_uuid=False), "postgresql"),
            nullable=False,
        ),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.String(length=9), nullable=False),
        sa.Column("runner_id", sa.String(length=64), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("finished_at", sa.Double(), nullable=False),
        sa.Column("node_id", sa.String(length=64), nullable=True),
        sa.Column("worker_id", sa.String(length=64), nullable=True),
        sa.Column("ray_task_id", sa.String(length=64), nullable=True),
        sa.Column("ray_attempt", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("task_id", "attempt", name=op.f("pk_attempts")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "task_counts",
        sa.Column("task_type", sa.String(length=100), nullable=False),
        sa.Column("state", sa.String(length=9), nullable=False),
        sa.Column("tasks", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("task_type", "state", name=op.f("pk_task_counts")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "tasks",
        sa.Column(
            "task_id",
            sa.String(length=36).with_variant(sa.UUID(as_uuid=False), "postgresql"),
            nullable=False,
        ),
        sa.Column("task_type", sa.String(length=100), nullable=False),
        sa.Column("state", sa.String(length=9), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("checkpoint", sa.Text(), nullable=True),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("rank", sa.Double(), nullable=False),
        sa.Column("ready", sa.Boolean(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("crashes", sa.Integer(), nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("runner_id", sa.String(length=64), nullable=True),
        sa.Column("timeout_seconds", sa.Double(), nullable=True),
        sa.Column("progress_fraction", sa.Double(), nullable=True),
        sa.Column("progress_message", sa.String(length=500), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("run_at", sa.Double(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=True),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.CheckConstraint(
            "(finished_at IS NOT NULL) = (state IN ('COMPLETED', 'FAILED', 'CANCELLED'))",
            name=op.f("ck_tasks_finished_when_final"),
        ),
        sa.CheckConstraint(
            "(runner_id IS NOT NULL) = (state = 'RUNNING')", name=op.f("ck_tasks_held_when_running")
        ),
        sa.CheckConstraint(
            "NOT ready OR state IN ('PENDING', 'RETRYING')",
            name=op.f("ck_tasks_ready_when_waiting"),
        ),
        sa.CheckConstraint(
            "state IN ('PENDING', 'RUNNING', 'RETRYING', 'COMPLETED', 'FAILED', 'CANCELLED')",
            name=op.f("ck_tasks_state_known"),
        ),
        sa.PrimaryKeyConstraint("task_id", name=op.f("pk_tasks")),
    )
    op.create_index(
        "ix_tasks_claim",
        "tasks",
        ["task_type", "rank", "task_id"],
        unique=False,
        sqlite_where=sa.text("ready"),
        postgresql_where=sa.text("ready"),
    )
    op.create_index(
        "ix_tasks_scheduled",
        "tasks",
        ["run_at"],
        unique=False,
        sqlite_where=sa.text("NOT ready AND runner_id IS NULL AND finished_at IS NULL"),
        postgresql_where=sa.text("NOT ready AND runner_id IS NULL AND finished_at IS NULL"),
    )
    op.create_index("ix_tasks_state", "tasks", ["state", "task_id"], unique=False)
    op.create_index("ix_tasks_type", "tasks", ["task_type", "task_id"], unique=False)
    op.create_index("ix_tasks_type_state", "tasks", ["task_type", "state", "task_id"], unique=False)
    op.create_table(
        "tracker_epoch",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("renewed_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tracker_epoch")),
    )
    op.execute("INSERT INTO tracker_epoch (id, epoch, renewed_at) VALUES (1, 0, 0)")
