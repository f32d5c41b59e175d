"""The files of large checkpoints: those that nobody needs any more are scheduled for removal."""

from collections.abc import Iterable, Sequence

from pydantic_core import from_json
from sqlalchemy import Connection

from raytasks.protocol.messages import Report
from raytasks.store import files, statements

GIVEN_UP_SECONDS = 3600.0
"""Seconds that the file of a checkpoint stays after it was replaced, or its task has completed."""


def give_up_all(connection: Connection, task_ids: Sequence[str], now: float) -> None:
    """Schedule the removal of the large checkpoints of tasks that complete."""
    present = _present(connection, task_ids)
    _give_up(connection, [(task_id, ref) for (task_id, _), (ref, _) in present.items()], now)


def give_up_replaced(connection: Connection, reports: Sequence[Report], now: float) -> None:
    """Schedule the removal of large checkpoints that others replace, or that come too late."""
    reports = [report for report in reports if report.checkpoint is not None]
    present = _present(connection, [report.task_id for report in reports])
    for report in reports:
        key, new = (report.task_id, report.attempt), report.checkpoint_ref
        known, number = present.get(key, (None, -1))
        if known is None or known == new:
            continue
        if report.number <= number:
            if new is not None:
                _give_up(connection, [(report.task_id, new)], now)
            continue
        _give_up(connection, [(report.task_id, known)], now)
        del present[key]
        if new is not None:
            present[key] = new, report.number


def _give_up(connection: Connection, refs: Iterable[tuple[str, str]], now: float) -> None:
    """Schedule the removal of files (task id, reference), late enough for present readers."""
    keys = [(task_id, from_json(ref)["name"]) for task_id, ref in refs]
    files.mark(connection, keys, now + GIVEN_UP_SECONDS)


def _present(
    connection: Connection, task_ids: Iterable[str]
) -> dict[tuple[str, int], tuple[str, int]]:
    """Return the references of large checkpoints, and the numbers of their reports.

    They are by task and its present attempt.
    """
    ids = sorted(set(task_ids))
    if not ids:
        return {}
    rows = connection.execute(statements.LARGE_CHECKPOINTS, {"p_task_ids": ids})
    return {
        (row.task_id, row.attempt): (row.checkpoint_ref, row.checkpoint_number or 0) for row in rows
    }
