"""When a task was claimed, large checkpoints, files to remove, snoozes, company, versions."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_ID = sa.String(length=36).with_variant(sa.UUID(as_uuid=False), "postgresql")


def upgrade() -> None:
    """Add what the fourth version keeps. No row of a large table is written for it."""
    op.add_column("tasks", sa.Column("claimed_at", sa.Double(), nullable=True))
    op.add_column("tasks", sa.Column("checkpoint_ref", sa.Text(), nullable=True))
    op.add_column("tasks", sa.Column("has_files", sa.Boolean(), nullable=True))
    op.add_column(
        "tasks", sa.Column("snoozes", sa.Integer(), server_default=sa.text("0"), nullable=False)
    )
    op.add_column("tasks", sa.Column("company", sa.Integer(), nullable=True))
    op.execute(
        "UPDATE tasks SET company = 1 WHERE (suspect OR crashes > 0) AND finished_at IS NULL"
    )
    op.drop_column("tasks", "suspect")
    op.execute("UPDATE tasks SET claimed_at = started_at WHERE state = 'RUNNING'")
    op.create_table(
        "database_identity",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("database_id", sa.String(length=36), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_database_identity")),
    )
    op.create_table(
        "files_to_remove",
        sa.Column("task_id", _ID, nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("due_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("task_id", "name", name=op.f("pk_files_to_remove")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_files_to_remove_due_at", "files_to_remove", ["due_at"])
    op.create_table(
        "handlers_versions",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("generation", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=6), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "state IN ('trial', 'passed', 'failed')",
            name=op.f("ck_handlers_versions_state_known"),
        ),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_handlers_versions")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_handlers_versions_token", "handlers_versions", ["token"], unique=True)
