"""Lanes, settings of limits, pools and namespaces, pauses."""

import sqlalchemy as sa
from alembic import context, op

from raytasks.model.lane_names import lane_of

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the lanes, and the tables of what people set.

    On PostgreSQL no row of a large table is written, and no index of one is built: see
    `raytasks.store.online_upgrade`.
    """
    op.add_column(
        "tasks",
        sa.Column("lane", sa.String(length=16), nullable=False, server_default=sa.text("''")),
    )
    op.add_column("tasks", sa.Column("limit_values", sa.Text(), nullable=True))
    op.add_column("tasks", sa.Column("checkpoint_number", sa.BigInteger(), nullable=True))
    op.add_column("tracker_epoch", sa.Column("in_lanes", sa.Boolean(), nullable=True))
    if op.get_context().dialect.name == "postgresql":
        _set_storage()
    if _is_at_once():
        if not context.is_offline_mode():  # a new database has no tasks
            _put_into_lanes()
        _make_indexes()
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


def _is_at_once() -> bool:
    """Return whether the rows and indexes of tasks are changed here: nobody else uses them."""
    if context.is_offline_mode():
        return bool(context.config.attributes["is_new"])
    connection = op.get_bind()
    return (
        connection.dialect.name == "sqlite"
        or connection.execute(sa.text("SELECT 1 FROM tasks LIMIT 1")).first() is None
    )


def _set_storage() -> None:
    """Leave space in pages for changed rows, and remove old versions of rows soon."""
    for table, fill in (("tasks", 85), ("task_counts", 50), ("totals", 50), ("tracker_epoch", 10)):
        op.execute(
            f"ALTER TABLE {table} SET (fillfactor = {fill}, "
            "autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0)"
        )


def _put_into_lanes() -> None:
    """Put the open tasks of all namespaces but the default one into their lanes."""
    connection = op.get_bind()
    names = connection.execute(sa.text("SELECT DISTINCT namespace FROM task_counts")).scalars()
    for namespace in names.all():
        if lane := lane_of(namespace, None):
            connection.execute(
                sa.text(
                    "UPDATE tasks SET lane = :lane "
                    "WHERE namespace = :namespace AND finished_at IS NULL"
                ),
                {"lane": lane, "namespace": namespace},
            )


def _make_indexes() -> None:
    for name in (
        "ix_tasks_claim",
        "ix_tasks_namespace",
        "ix_tasks_state",
        "ix_tasks_type",
        "ix_tasks_type_state",
    ):
        op.drop_index(name, table_name="tasks")
    _make_index("ix_tasks_ready", ["task_type", "lane", "rank", "task_id"], "ready")
    uncompleted, completed = "state <> 'COMPLETED'", "state = 'COMPLETED'"
    _make_index("ix_tasks_uncompleted", ["namespace", "state", "task_id"], uncompleted)
    columns = ["namespace", "task_type", "state", "task_id"]
    _make_index("ix_tasks_uncompleted_type", columns, uncompleted)
    _make_index("ix_tasks_completed", ["namespace", "task_id"], completed)
    _make_index("ix_tasks_completed_type", ["namespace", "task_type", "task_id"], completed)


def _make_index(name: str, columns: list[str], where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, "tasks", columns, sqlite_where=condition, postgresql_where=condition)
