"""The steps of counts and totals, which transactions append."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table.

    An earlier tracker may go on changing the counts themselves meanwhile: what is true is the sum.
    """
    op.create_table(
        "count_steps",
        sa.Column("namespace", sa.String(length=63), nullable=False),
        sa.Column("task_type", sa.String(length=100), nullable=False),
        sa.Column("changes", sa.Text(), nullable=False),
    )
    if op.get_context().dialect.name == "postgresql":
        op.execute(
            "ALTER TABLE count_steps SET "
            "(autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0)"
        )
        # It has no key, and a publication of all tables must not refuse to delete its rows.
        op.execute("ALTER TABLE count_steps REPLICA IDENTITY FULL")
