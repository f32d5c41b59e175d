"""The proof that tasks can be written, for a transaction that has no task to write."""

from sqlalchemy import Connection, false, update

from raytasks.store.schema import tasks

_TOUCH = update(tasks).where(false()).values(revision=tasks.c.revision)


def touch_tasks(connection: Connection) -> None:
    """Take the lock and the rights that a write of tasks needs, and change nothing.

    Raises what such a write raises where the table is locked, is missing, or may not be written.
    """
    connection.execute(_TOUCH)
