"""The statistics over time, as lines of bars: `raytasks stats --over`."""

from collections.abc import Callable, Sequence
from enum import StrEnum

from rich.table import Table

from raytasks.cli.error_table import sparkline
from raytasks.client.inspection_documents import StatsSeriesDocument

MAX_BARS = 60
"""Maximum number of bars in a line."""

_Value = float | None


class Span(StrEnum):
    """A span of time before now."""

    HOUR = "hour"
    DAY = "day"


SECONDS = {Span.HOUR: 3600, Span.DAY: 86_400}


def series_table(found: StatsSeriesDocument, span: Span) -> Table:
    """Return a line for each number: what it was over time, in all, at most, and at last."""
    table = Table(box=None, pad_edge=False)
    table.add_column(found["task_type"] or "ALL TYPES")
    table.add_column(f"THE LAST {span.upper()}", no_wrap=True)
    for name in ("IN ALL", "MAX", "NOW"):
        table.add_column(name, justify="right")
    numbers: dict[str, Sequence[int]] = {
        "submitted": found["submitted"],
        "completed": found["completed"],
        "failed": found["failed"],
    }
    for name, counts in numbers.items():
        table.add_row(name, _bars(counts, sum), f"{sum(counts):,}", *_ends(counts, _number))
    table.add_row("backlog", _bars(found["backlog"], max), "", *_ends(found["backlog"], _number))
    for task_type, backlog in found["backlog_by_type"].items():
        if len(found["backlog_by_type"]) > 1:
            table.add_row(f"  {task_type}", _bars(backlog, max), "", *_ends(backlog, _number))
    for name, percentiles in (
        ("wait p95", found["queue_wait"]["p95"]),
        ("run p95", found["run_time"]["p95"]),
    ):
        table.add_row(name, _bars(percentiles, max), "", *_ends(percentiles, _seconds))
    return table


def _bars(values: Sequence[_Value], joined: Callable[[list[float]], float]) -> str:
    """Return values as bars, several together in one where there are too many."""
    each = -(-len(values) // MAX_BARS)
    groups = [values[at : at + each] for at in range(0, len(values), each)]
    known = [[value for value in group if value is not None] for group in groups]
    return sparkline([joined(group) if group else 0 for group in known])


def _ends(values: Sequence[_Value], text: Callable[[float], str]) -> tuple[str, str]:
    """Return the largest value and the last one as texts."""
    known = [value for value in values if value is not None]
    last = values[-1] if values else None
    return text(max(known)) if known else "", "" if last is None else text(last)


def _number(value: float) -> str:
    return f"{value:,}"


def _seconds(value: float) -> str:
    return f"{value * 1000:.3g} ms" if value < 1 else f"{value:.3g} s"
