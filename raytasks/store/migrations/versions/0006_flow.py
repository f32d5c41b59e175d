"""Lanes, settings of limits, pools and namespaces, pauses."""

import sqlalchemy as sa
from alembic import op

from raytasks.model.lanes import lane_of

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the lanes, and the tables of what people set."""
    op.add_column(
        "tasks",
        sa.Column("lane", sa.String(length=16), nullable=False, server_default=sa.text("''")),
    )
    op.add_column("tasks", sa.Column("limit_values", sa.Text(), nullable=True))
    _put_into_lanes()
    op.create_table(
        "limit_settings",
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("running", sa.Integer(), nullable=True),
        sa.Column("rate", sa.Double(), nullable=True),
        sa.Column("per_seconds", sa.Double(), nullable=False),
        sa.Column("burst", sa.Integer(), nullable=True),
        sa.Column("changed_at", sa.Double(), nullable=False),
        sa.Column("by", sa.String(length=128), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_limit_settings")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "pool_settings",
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("least", sa.Integer(), nullable=False),
        sa.Column("most", sa.Integer(), nullable=False),
        sa.Column("changed_at", sa.Double(), nullable=False),
        sa.Column("by", sa.String(length=128), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_pool_settings")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "namespace_settings",
        sa.Column("namespace", sa.String(length=63), nullable=False),
        sa.Column("weight", sa.Double(), nullable=False),
        sa.Column("max_backlog", sa.BigInteger(), nullable=True),
        sa.Column("changed_at", sa.Double(), nullable=False),
        sa.Column("by", sa.String(length=128), nullable=False),
        sa.PrimaryKeyConstraint("namespace", name=op.f("pk_namespace_settings")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "pauses",
        sa.Column("namespace", sa.String(length=63), nullable=False),
        sa.Column("task_type", sa.String(length=100), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.Column("until", sa.Double(), nullable=True),
        sa.Column("by", sa.String(length=128), nullable=False),
        sa.Column("drain", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("namespace", "task_type", name=op.f("pk_pauses")),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO pauses (namespace, task_type, since, until, by, drain) "
        "SELECT '', '', paused_at, NULL, 'unknown', TRUE FROM tracker_epoch "
        "WHERE paused_at IS NOT NULL"
    )
    _make_the_index_anew()


def _put_into_lanes() -> None:
    """Put the tasks of all namespaces but the default one into their lanes."""
    connection = op.get_bind()
    names = connection.execute(sa.text("SELECT DISTINCT namespace FROM task_counts")).scalars()
    for namespace in names.all():
        if lane := lane_of(namespace, None):
            connection.execute(
                sa.text("UPDATE tasks SET lane = :lane WHERE namespace = :namespace"),
                {"lane": lane, "namespace": namespace},
            )


def _make_the_index_anew() -> None:
    ready = sa.text("ready")
    op.drop_index("ix_tasks_claim", table_name="tasks")
    op.create_index(
        "ix_tasks_claim",
        "tasks",
        ["task_type", "lane", "rank", "task_id"],
        sqlite_where=ready,
        postgresql_where=ready,
    )
