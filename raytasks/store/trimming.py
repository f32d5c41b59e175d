"""The trimming of long histories: of tasks that snooze, or are released, again and again."""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Executable

from raytasks.store import statements
from raytasks.store.settlement import Settlement

KEPT_SNOOZES = 20
"""Number of last attempts of which snoozed and released ones stay in a task's history. Earlier ones
are deleted, because a task may snooze without end."""


def trim(
    execute: Callable[[Executable, list[dict[str, Any]]], int], settlements: Sequence[Settlement]
) -> None:
    """Delete old attempts that only snoozed or were released from the history.

    `execute` carries out a statement for each of some sets of parameters.
    """
    bound = [
        {"p_task_id": item.attempt.task_id, "p_attempt": item.attempt.attempt - KEPT_SNOOZES}
        for item in settlements
        if item.puts_off and item.attempt.attempt > KEPT_SNOOZES
    ]
    for statement in statements.TRIM if bound else ():
        execute(statement, bound)
