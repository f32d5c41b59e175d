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
    _give_up(connection, [(task_id, ref) for (task_id, _), ref in present.items()], now)


def give_up_replaced(connection: Connection, reports: Sequence[Report], now: float) -> None:
    """Schedule the removal of large checkpoints that others replace."""
    reports = [report for report in reports if report.checkpoint is not None]
    present = _present(connection, [report.task_id for report in reports])
    for report in reports:
        key = report.task_id, report.attempt
        known, new = present.get(key), report.checkpoint_ref
        if known is not None and known != new:
            _give_up(connection, [(report.task_id, known)], now)
            del present[key]
            if new is not None:
                present[key] = new


def _give_up(connection: Connection, refs: Iterable[tuple[str, str]], now: float) -> None:
    """Schedule the removal of files (task id, reference), late enough for present readers."""
    keys = [(task_id, from_json(ref)["name"]) for task_id, ref in refs]
    files.mark(connection, keys, now + GIVEN_UP_SECONDS)


def _present(connection: Connection, task_ids: Iterable[str]) -> dict[tuple[str, int], str]:
    """Return the references of large checkpoints, by task and its present attempt."""
    ids = sorted(set(task_ids))
    if not ids:
        return {}
    rows = connection.execute(statements.LARGE_CHECKPOINTS, {"p_task_ids": ids})
    return {(row.task_id, row.attempt): row.checkpoint_ref for row in rows}
