"""The judge of where attempts ran: each of a warm runner names a place that is stored."""

import sqlite3
from collections.abc import Callable

_STRAY = """
SELECT attempts.task_id, attempts.attempt, attempts.runner_id, attempt_places.worker_id
FROM attempts LEFT JOIN attempt_places ON attempts.place_id = attempt_places.place_id
WHERE attempts.place_id IS NOT NULL AND attempts.runner_id IS NOT attempt_places.worker_id
"""
# In the simulation the id of a runner's process is the runner's own.


def look_at_places(reader: sqlite3.Connection, fail: Callable[[str], None]) -> None:
    """See that the place of each attempt is there, and is that of its runner."""
    for task_id, attempt, runner_id, worker_id in reader.execute(_STRAY):
        fail(f"attempt {attempt} of {task_id} ran in {runner_id}, and its place is {worker_id}")
