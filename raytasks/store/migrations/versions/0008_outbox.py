"""The outbox: tasks that users commit with their own rows."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import UUID

from raytasks.store.outbox_function import FUNCTION

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_Id = sa.String(length=36).with_variant(UUID(as_uuid=False), "postgresql")


def upgrade() -> None:
    """Add the table, and on PostgreSQL the function for triggers and other languages."""
    dialect = op.get_context().dialect.name
    op.create_table(
        "task_outbox",
        sa.Column("id", _Id, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False, server_default="submit"),
        sa.Column("namespace", sa.String(length=63), nullable=False, server_default="default"),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_task_outbox")),
    )
    if dialect == "postgresql":
        op.execute(FUNCTION)
        # Each row lives for moments only: what is dead has to go soon.
        op.execute(
            "ALTER TABLE task_outbox SET (autovacuum_vacuum_scale_factor = 0, "
            "autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_insert_threshold = -1)"
        )
