"""Traces, reasons of cancels, types of errors, hosts, what persons did, totals, histograms."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_ID = sa.String(length=36).with_variant(sa.UUID(as_uuid=False), "postgresql")
# The filter of a bulk operation as JSON, without what it leaves open.
_FILTERS = {
    "postgresql": "json_strip_nulls(json_build_object("
    "'states', CASE WHEN state IS NOT NULL THEN json_build_array(state) END, "
    "'task_type', task_type, 'tag', tag))",
    "sqlite": "json_patch('{}', json_object("
    "'states', json(CASE WHEN state IS NOT NULL THEN json_array(state) END), "
    "'task_type', task_type, 'tag', tag))",
}


def upgrade() -> None:
    """Add what the fifth version keeps. No row of a large table is written for it."""
    op.add_column("tasks", sa.Column("trace_context", sa.Text(), nullable=True))
    op.add_column("tasks", sa.Column("cancel_reason", sa.Text(), nullable=True))
    op.add_column("tasks", sa.Column("error_type", sa.String(length=100), nullable=True))
    op.add_column("attempts", sa.Column("host", sa.String(length=255), nullable=True))
    op.add_column("attempts", sa.Column("pid", sa.Integer(), nullable=True))
    _index_errors()
    op.add_column("bulk_operations", sa.Column("by", sa.String(length=128), nullable=True))
    _put_filters_into_one_column()
    op.create_table(
        "task_actions",
        sa.Column("task_id", _ID, nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("by", sa.String(length=128), nullable=False),
        sa.Column("bulk_id", _ID, nullable=True),
        sa.PrimaryKeyConstraint("task_id", "revision", "action", name=op.f("pk_task_actions")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "audit",
        sa.Column("audit_id", _ID, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("by", sa.String(length=128), nullable=False),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("namespace", sa.String(length=63), nullable=True),
        sa.Column("target", sa.String(length=255), nullable=True),
        sa.Column("details", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("audit_id", name=op.f("pk_audit")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_audit_namespace", "audit", ["namespace", "audit_id"])
    op.create_index("ix_audit_at", "audit", ["at"])
    _make_totals()
    op.create_table(
        "histograms",
        sa.Column("namespace", sa.String(length=63), nullable=False),
        sa.Column("task_type", sa.String(length=100), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("namespace", "task_type", name=op.f("pk_histograms")),
        sqlite_with_rowid=False,
    )


def _index_errors() -> None:
    failing, failed = sa.text("error_type IS NOT NULL"), sa.text("state = 'FAILED'")
    op.create_index(
        "ix_tasks_error_type",
        "tasks",
        ["namespace", "error_type", "task_id"],
        sqlite_where=failing,
        postgresql_where=failing,
    )
    op.create_index(
        "ix_tasks_failed",
        "tasks",
        ["namespace", "task_type", "error_type", "finished_at", "task_id", "state"],
        sqlite_where=failed,
        postgresql_where=failed,
    )


def _put_filters_into_one_column() -> None:
    """Turn the three columns of a bulk operation's filter into JSON. There are few such rows."""
    op.add_column(
        "bulk_operations", sa.Column("filter", sa.Text(), nullable=False, server_default="{}")
    )
    dialect = op.get_context().dialect.name
    filters = sa.table("bulk_operations", sa.column("filter"))
    op.execute(sa.update(filters).values(filter=sa.text(_FILTERS[dialect])))
    for column in ("state", "task_type", "tag"):
        op.drop_column("bulk_operations", column)


def _make_totals() -> None:
    """Begin the totals with the tasks that are there, so that they add up from the beginning."""
    op.create_table(
        "totals",
        sa.Column("namespace", sa.String(length=63), nullable=False),
        sa.Column("task_type", sa.String(length=100), nullable=False),
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("namespace", "task_type", "name", name=op.f("pk_totals")),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO totals (namespace, task_type, name, value) "
        "SELECT namespace, task_type, 'submitted', sum(tasks) FROM task_counts "
        "GROUP BY namespace, task_type"
    )
    op.execute(
        "INSERT INTO totals (namespace, task_type, name, value) "
        "SELECT namespace, task_type, 'finished.' || state, tasks FROM task_counts "
        "WHERE state IN ('COMPLETED', 'FAILED', 'CANCELLED')"
    )
