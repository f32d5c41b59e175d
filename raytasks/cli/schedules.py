"""`raytasks schedules`: the schedules with their next times, and what can be set of them."""

from collections.abc import Sequence
from typing import Annotated, cast

import typer
from rich.table import Table

from raytasks.cli import tables
from raytasks.cli.durations import duration_text, seconds_of
from raytasks.cli.options import AtService, UsageError, at_service
from raytasks.cli.task_commands import read_payload
from raytasks.client.schedule_documents import ScheduleDocument, ScheduleSettings, TimesDocument

app = typer.Typer(
    help="Show the schedules, and set, run or pause them.", invoke_without_command=True
)

Name = Annotated[str, typer.Argument(help="The schedule's name.")]


@app.callback()
@at_service()
def schedules(at: AtService, ctx: typer.Context) -> None:
    """Show the schedules of a namespace, with their next times."""
    if ctx.invoked_subcommand is None:
        _list(at)


@app.command("list")
@at_service()
def list_schedules(at: AtService) -> None:
    """Show the schedules of a namespace, with their next times."""
    _list(at)


@app.command("set")
@at_service()
def set_schedule(
    at: AtService,
    name: Name,
    task_type: Annotated[str, typer.Option("--type", help="The type of its tasks.")],
    cron: Annotated[
        str | None, typer.Option(help="Minute, hour, day, month, weekday: '0 9 * * MON-FRI'.")
    ] = None,
    every: Annotated[str | None, typer.Option(help="Instead of --cron: 90s, 10m, 2h.")] = None,
    timezone: Annotated[
        str | None, typer.Option(help="The time zone of --cron. Default: UTC.")
    ] = None,
    payload: Annotated[
        str, typer.Option(help="JSON, @FILE with JSON, or - for standard input.")
    ] = "null",
    catch_up: Annotated[
        str | None, typer.Option(help="For times that were missed: none, last or all.")
    ] = None,
    max_catch_up: Annotated[
        int | None, typer.Option(help="With `--catch-up all`: at most so many.")
    ] = None,
    overlap: Annotated[
        str | None, typer.Option(help="skip: not while its last task is open. Default: allow.")
    ] = None,
    priority: Annotated[int | None, typer.Option(help="The priority of its tasks.")] = None,
    tag: Annotated[
        list[str] | None, typer.Option(help="A tag of its tasks; may be given again.")
    ] = None,
) -> None:
    """Set a schedule, at once and until `delete`: a new one, or instead of that in the code."""
    if (cron is None) == (every is None):
        raise UsageError("give --cron or --every, one of them")
    settings = {
        "task_type": task_type,
        "payload": read_payload(payload),
        "cron": cron,
        "every_seconds": None if every is None else seconds_of(every, "--every"),
        "timezone": timezone,
        "catch_up": catch_up,
        "max_catch_up": max_catch_up,
        "overlap": overlap,
        "priority": priority,
        "tags": tag,
    }
    with at.connect() as client:
        changed = client.set_schedule(name, **cast("ScheduleSettings", settings))
    _print([changed], at)


@app.command("delete")
@at_service()
def delete_schedule(at: AtService, name: Name) -> None:
    """Return to the schedule in the handlers' code; without one, end the schedule."""
    with at.connect() as client:
        left = client.clear_schedule(name)
    if left["in_force"] is None and not at.as_json:
        typer.echo(f"the schedule {name} has ended")
        return
    _print([left], at)


@app.command("run")
@at_service()
def run_schedule(at: AtService, name: Name) -> None:
    """Submit a task of a schedule now, and print its id. The times do not change."""
    with at.connect() as client:
        task = client.run_schedule(name)
    typer.echo(tables.pretty_json(task) if at.as_json else task["task_id"])


@app.command("pause")
@at_service()
def pause_schedule(at: AtService, name: Name) -> None:
    """Let the times of a schedule pass without tasks, until `resume`."""
    with at.connect() as client:
        paused = client.pause_schedule(name)
    _print([paused], at)


@app.command("resume")
@at_service()
def resume_schedule(at: AtService, name: Name) -> None:
    """Let a schedule go on with its next time."""
    with at.connect() as client:
        resumed = client.resume_schedule(name)
    _print([resumed], at)


def schedules_table(found: Sequence[ScheduleDocument]) -> Table:
    """Return a table of schedules."""
    table = Table(box=None, pad_edge=False)
    for name in ("SCHEDULE", "TYPE", "TIMES", "NEXT", "LAST", "SET BY"):
        table.add_column(name)
    for item in found:
        times, override, paused = item["in_force"], item["override"], item["paused"]
        coming = item["next_times"][0] if item["next_times"] else ""
        table.add_row(
            item["name"],
            times["task_type"] if times else "",
            times_text(times) if times else "ended",
            coming if paused is None else f"paused by {paused['by']}",
            item["last_scheduled_for"] or "",
            "" if override is None else override["by"],
        )
    return table


def times_text(times: TimesDocument) -> str:
    """Return the times in words: `0 9 * * * Europe/Berlin`, or `every 10 min`."""
    if times["every_seconds"] is not None:
        return f"every {duration_text(times['every_seconds'])}"
    return f"{times['cron']} {times['timezone']}"


def _list(at: AtService) -> None:
    with at.connect() as client:
        found = client.schedules()
    if at.as_json:
        typer.echo(tables.pretty_json({"schedules": found}))
    elif found:
        tables.console.print(schedules_table(found))
    else:
        typer.echo("there are no schedules")


def _print(found: Sequence[ScheduleDocument], at: AtService) -> None:
    if at.as_json:
        typer.echo(tables.pretty_json(found[0]))
    else:
        tables.console.print(schedules_table(found))
