"""The rows of what running attempts report: progress, checkpoints and log lines."""

from collections.abc import Sequence
from typing import Any

from raytasks.protocol.messages import AttemptLog, Report


def report_rows(reports: Sequence[Report], now: float) -> list[dict[str, Any]]:
    """Return the parameters of `statements.REPORT`, at the time `now`."""
    return [
        {
            "p_task_id": report.task_id,
            "p_attempt": report.attempt,
            "p_fraction": report.fraction,
            "p_message": report.message,
            "p_checkpoint": report.checkpoint,
            "p_began_at": report.began_at,
            "p_checkpoint_ref": report.checkpoint_ref,
            "p_number": report.number,
            "p_now": now,
        }
        for report in reports
    ]


def log_rows(logs: Sequence[AttemptLog]) -> list[dict[str, Any]]:
    """Return the parameters of `statements.log`."""
    return [
        {
            "p_task_id": log.task_id,
            "p_attempt": log.attempt,
            "p_number": line.number,
            "p_at": line.at,
            "p_level": line.level,
            "p_message": line.message,
        }
        for log in logs
        for line in log.lines
    ]
