"""The reigns of clusters that share the database, and the calls of superseded ones."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "reigns",
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("seat", sa.String(length=36), nullable=True),
        sa.Column("beat", sa.BigInteger(), nullable=False),
        sa.Column("renewed_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("owner", name=op.f("pk_reigns")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "outpost_calls",
        sa.Column("seat", sa.String(length=36), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("method", sa.String(length=32), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("seat", "number", name=op.f("pk_outpost_calls")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "outpost_answers",
        sa.Column("seat", sa.String(length=36), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=True),
        sa.Column("error", sa.String(length=100), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("seat", "number", name=op.f("pk_outpost_answers")),
        sqlite_with_rowid=False,
    )
