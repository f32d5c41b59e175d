"""`raytasks stats`: how many tasks there are, how fast they go, how many fail."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import typer
from rich.table import Table

from raytasks.cli import tables
from raytasks.cli.options import AtService, UsageError, at_service
from raytasks.cli.stats_over_time import SECONDS, Span, series_table
from raytasks.client import Stats
from raytasks.client.inspection_documents import Percentiles, WindowDocument
from raytasks.model.states import State

_WINDOWS = ("minute", "hour", "day")


Over = Annotated[
    Span | None, typer.Option("--over", help="Show how they were over the last hour or day.")
]
OfType = Annotated[str | None, typer.Option("--type", help="Only this type; with --over.")]


@at_service()
def stats(at: AtService, over: Over = None, task_type: OfType = None) -> None:
    """Show the figures: tasks by type and state; throughput, failures, times."""
    if over is None and task_type is not None:
        raise UsageError("--type: give --over, too; without it all types are shown")
    if over is not None:
        _show_over_time(at, over, task_type)
        return
    with at.connect() as client:
        figures = client.stats()
    if at.as_json:
        typer.echo(tables.pretty_json(figures))
        return
    tables.console.print(counts_table(figures))
    tables.console.print()
    tables.console.print(windows_table(figures))


def _show_over_time(at: AtService, over: Span, task_type: str | None) -> None:
    with at.connect() as client:
        found = client.stats_series(SECONDS[over], task_type)
    if at.as_json:
        typer.echo(tables.pretty_json(found))
    else:
        tables.console.print(series_table(found, over))


def counts_table(figures: Stats) -> Table:
    """Return the number of tasks of each type, by state."""
    table = Table(box=None, pad_edge=False)
    table.add_column("TYPE")
    for state in State:
        table.add_column(tables.state_text(state), justify="right")
    counts = figures["counts"]
    for task_type, by_state in sorted(counts["by_type"].items()):
        table.add_row(task_type, *_numbers(by_state))
    table.add_row("all", *_numbers(counts["by_state"]), style="bold")
    return table


def windows_table(figures: Stats) -> Table:
    """Return statistics of the last minute, hour and day: of all types, and of each."""
    table = Table(box=None, pad_edge=False)
    for name in ("TYPE", "LAST"):
        table.add_column(name)
    for name in ("COMPLETED", "FAILED", "FAIL RATE", "PER SECOND"):
        table.add_column(name, justify="right")
    for name in ("WAIT p50/p95/p99", "RUN p50/p95/p99"):
        table.add_column(name, justify="right", no_wrap=True)
    groups = {"all": figures["windows"], **dict(sorted(figures["by_type"].items()))}
    for task_type, windows in groups.items():
        by_name: Mapping[str, WindowDocument] = {
            "minute": windows["minute"],
            "hour": windows["hour"],
            "day": windows["day"],
        }
        for name in _WINDOWS:
            first = task_type if name == _WINDOWS[0] else ""
            table.add_row(first, name, *_window(by_name[name]))
    return table


def _numbers(by_state: Mapping[str, int]) -> Sequence[str]:
    return [f"{by_state.get(state, 0):,}" for state in State]


def _window(window: WindowDocument) -> Sequence[str]:
    rate = window["failure_rate"]
    return (
        f"{window['completed']:,}",
        f"{window['failed']:,}",
        "" if rate is None else f"{rate:.1%}",
        f"{window['per_second']:.4g}",
        _percentiles(window["queue_wait"]),
        _percentiles(window["run_time"]),
    )


def _percentiles(found: Percentiles | None) -> str:
    if found is None:
        return ""
    return " / ".join(_seconds(value) for value in (found["p50"], found["p95"], found["p99"]))


def _seconds(value: float) -> str:
    """Return a duration for people, with three digits."""
    return f"{value * 1000:.3g} ms" if value < 1 else f"{value:.3g} s"
