"""`raytasks schedules`: the schedules with their next times, and what can be set of them."""

from collections.abc import Iterator, Sequence
from typing import Annotated, cast

import typer
from pydantic_core import to_json
from rich.table import Table

from raytasks.cli import tables
from raytasks.cli.durations import exact_text, seconds_of
from raytasks.cli.limit_values import limit_values_of
from raytasks.cli.options import REFUSED, AtService, UsageError, at_service
from raytasks.cli.output import keeping
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


@app.command("show")
@at_service()
def show_schedule(at: AtService, name: Name) -> None:
    """Show one schedule: what it submits, its next five times, its last task."""
    with at.connect() as client:
        found = client.schedules(name=name)
    if not found:
        typer.echo(f"there is no schedule {name!r}; `raytasks schedules` lists them", err=True)
        raise typer.Exit(REFUSED)
    if at.as_json:
        typer.echo(tables.pretty_json(found[0]))
    else:
        tables.console.print(schedule_details(found[0]))


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
    max_attempts: Annotated[int | None, typer.Option(help="How often a task may fail.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds for each attempt.")] = None,
    limit_value: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VALUE: the value of a limit by a value; may be given again."),
    ] = None,
    expires: Annotated[
        float | None,
        typer.Option(help="Seconds after which a task is cancelled, if it has not begun."),
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
        "max_attempts": max_attempts,
        "timeout_seconds": timeout,
        "limit_values": limit_values_of(limit_value),
        "expires_seconds": expires,
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
    with keeping(f"the task {task['task_id']} was accepted"):
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
        if error := item.get("error"):  # a service before 0.6 tells none
            coming = f"stands still: {error}"
        table.add_row(
            item["name"],
            times["task_type"] if times else "",
            times_text(times) if times else "ended",
            tables.plain(coming if paused is None else f"paused by {paused['by']}"),
            item["last_scheduled_for"] or "",
            "" if override is None else override["by"],
        )
    return table


def schedule_details(item: ScheduleDocument) -> Table:
    """Return a schedule in full: what is in force, who has set it, and its next times."""
    table = Table.grid(padding=(0, 2))
    table.add_row("name", item["name"])
    table.add_row("namespace", item["namespace"])
    times, override, paused = item["in_force"], item["override"], item["paused"]
    if times is not None:
        table.add_row("type", times["task_type"])
        table.add_row("times", times_text(times))
        table.add_row("payload", tables.plain(to_json(times["payload"]).decode()))
        catch_up = times["catch_up"]
        most = f", at most {times['max_catch_up']}" if catch_up == "all" else ""
        table.add_row("catch up", f"{catch_up}{most}")
        table.add_row("overlap", times["overlap"])
        for name, value in _options(times):
            table.add_row(name, tables.plain(value))
    if override is not None:
        table.add_row("set by", tables.plain(f"{override['by']} at {override['changed_at']}"))
        table.add_row("in the code", times_text(item["declared"]) if item["declared"] else "no")
    if paused is not None:
        table.add_row("paused by", tables.plain(f"{paused['by']} at {paused['since']}"))
    if error := item.get("error"):
        table.add_row("stands still", tables.plain(f"{error}; it is tried again each minute"))
    for place, at in enumerate(item["next_times"]):
        table.add_row("" if place else "next times", at)
    if item["last_scheduled_for"]:
        table.add_row("last", f"{item['last_scheduled_for']}, task {item['last_task_id']}")
    return table


def _options(times: TimesDocument) -> Iterator[tuple[str, str]]:
    """Yield the options of the tasks that are not the usual ones, as rows."""
    if times["priority"]:
        yield "priority", str(times["priority"])
    yield "max attempts", str(times["max_attempts"])
    if times["timeout_seconds"] is not None:
        yield "timeout", exact_text(times["timeout_seconds"])
    if times["tags"]:
        yield "tags", ", ".join(times["tags"])
    if times["limit_values"]:
        yield "limit values", to_json(times["limit_values"]).decode()
    if times["expires_seconds"] is not None:
        yield "expires after", exact_text(times["expires_seconds"])


def times_text(times: TimesDocument) -> str:
    """Return the times in words: `0 9 * * * Europe/Berlin`, or `every 10 min`."""
    if times["every_seconds"] is not None:
        return f"every {exact_text(times['every_seconds'])}"
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
