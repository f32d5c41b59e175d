"""The places of attempts, an index without running tasks, and the versions of outposts' calls."""

import sqlalchemy as sa
from alembic import context, op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the places and the versions, and replace the index.

    On PostgreSQL an index of a large table is built and dropped beside the service: see
    `raytasks.store.online_upgrade`.
    """
    op.create_table(
        "attempt_places",
        sa.Column("place_id", sa.Integer(), nullable=False),
        sa.Column("node_id", sa.String(length=64), nullable=True),
        sa.Column("worker_id", sa.String(length=64), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=True),
        sa.Column("pid", sa.Integer(), nullable=True),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("place_id", name=op.f("pk_attempt_places")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_attempt_places_seen_at", "attempt_places", ["seen_at"])
    op.add_column("attempts", sa.Column("place_id", sa.Integer(), nullable=True))
    for name in ("protocol", "needs"):
        column = sa.Column(name, sa.SmallInteger(), nullable=False, server_default=sa.text("0"))
        op.add_column("outpost_calls", column)
    if op.get_context().dialect.name == "postgresql":
        # All of its rows are always read, and soon deleted: figures about them are of no use.
        op.execute("ALTER TABLE count_steps SET (autovacuum_analyze_threshold = 2000000000)")
    if _is_at_once():
        op.drop_index("ix_tasks_uncompleted_type", table_name="tasks")
        at_rest = sa.text("state <> 'COMPLETED' AND state <> 'RUNNING'")
        op.create_index(
            "ix_tasks_at_rest_type",
            "tasks",
            ["namespace", "task_type", "state", "task_id"],
            sqlite_where=at_rest,
            postgresql_where=at_rest,
        )


def _is_at_once() -> bool:
    """Return whether the indexes of tasks are changed here: nobody else uses them."""
    if context.is_offline_mode():
        return bool(context.config.attributes["is_new"])
    connection = op.get_bind()
    return (
        connection.dialect.name == "sqlite"
        or connection.execute(sa.text("SELECT 1 FROM tasks LIMIT 1")).first() is None
    )
