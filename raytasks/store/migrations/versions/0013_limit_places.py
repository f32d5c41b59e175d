"""The places where the values of limits come from, by task type."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table. Of what waits already, the places are those of the version in force then."""
    op.create_table(
        "limit_places",
        sa.Column("task_type", sa.String(length=100), nullable=False),
        sa.Column("present", sa.Text(), nullable=False),
        sa.Column("former", sa.Text(), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.Column("moved", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("task_type", name=op.f("pk_limit_places")),
        sqlite_with_rowid=False,
    )
