"""The task types of each version of the handlers."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column. Versions from before have none."""
    op.add_column("handlers_versions", sa.Column("declarations", sa.Text(), nullable=True))
