"""The outbox: tasks that users commit with their own rows."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import UUID

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_Id = sa.String(length=36).with_variant(UUID(as_uuid=False), "postgresql")

# The id is a UUID of version 7: the time in milliseconds, then chance. A body of this form (BEGIN
# ATOMIC) is bound to the table when it is made, so the caller's search_path does not matter.
_FUNCTION = """
CREATE FUNCTION raytasks_submit_v1(
  task_type text, payload jsonb, options jsonb DEFAULT '{}'::jsonb
) RETURNS uuid LANGUAGE sql VOLATILE
BEGIN ATOMIC
  WITH made AS MATERIALIZED (
    SELECT
      encode(
        set_bit(set_bit(
          overlay(
            uuid_send(gen_random_uuid())
            placing substring(
              int8send(floor(extract(epoch from clock_timestamp()) * 1000)::bigint) from 3
            )
            from 1 for 6
          ), 52, 1), 53, 1),
        'hex'
      )::uuid AS id
  ), stored AS (
    INSERT INTO task_outbox (id, kind, namespace, document, created_at)
    SELECT
      made.id,
      'submit',
      coalesce(options ->> 'namespace', 'default'),
      ((coalesce(options, '{}'::jsonb) - 'namespace')
        || jsonb_build_object('task_type', task_type, 'payload', payload))::text,
      extract(epoch from clock_timestamp())
    FROM made
  )
  SELECT made.id FROM made;
END
"""


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
        op.execute(_FUNCTION)
        # Each row lives for moments only: what is dead has to go soon.
        op.execute(
            "ALTER TABLE task_outbox SET (autovacuum_vacuum_scale_factor = 0, "
            "autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_insert_threshold = -1)"
        )
