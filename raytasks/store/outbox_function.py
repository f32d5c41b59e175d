"""PostgreSQL's function `raytasks_submit_v1`: the outbox for triggers and other languages.

A backup of the tables alone, as `pg_dump --table` makes it, lacks the function. So it is made again
where it is missing.
"""

import logging

from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

from raytasks.model.lines import one_line

log = logging.getLogger(__name__)

# The id is a UUID of version 7: the time in milliseconds, then chance. A body of this form (BEGIN
# ATOMIC) is bound to the table when it is made, so the caller's search_path does not matter.
FUNCTION = """
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
"""The statement that makes it. What has this name never changes."""

_IS_THERE = text("SELECT to_regprocedure('raytasks_submit_v1(text, jsonb, jsonb)') IS NOT NULL")


def is_there(connection: Connection) -> bool:
    """Return whether the function is where the tables are."""
    return bool(connection.execute(_IS_THERE).scalar())


def complete(connection: Connection) -> None:
    """Make the function if it is missing. If we may not, the service works all the same."""
    if is_there(connection):
        return
    try:
        with connection.begin_nested():
            connection.execute(text(FUNCTION))
    except ProgrammingError as error:
        log.warning(
            "the function raytasks_submit_v1 is missing, and cannot be made: %s; "
            "have the tables' owner run what 'raytasks db upgrade --sql' prints",
            one_line(error),
        )
