"""`raytasks events`: the past and new events of a task, line by line."""

from typing import Annotated

import typer
from pydantic_core import to_json

from raytasks.cli import tables
from raytasks.cli.options import TASK_FAILED, AtService, TaskId, at_service
from raytasks.client import EndEvent, LogEvent, ProgressEvent, StateEvent, TaskEvent

_NAMES = {StateEvent: "state", LogEvent: "log", ProgressEvent: "progress", EndEvent: "end"}


@at_service(json="Print each event as JSON.")
def events(
    at: AtService,
    task_id: TaskId,
    last_event_id: Annotated[
        str | None, typer.Option(help="Begin after this event; --json tells the ids.")
    ] = None,
    types: Annotated[
        list[str] | None,
        typer.Option("--type", help="Only these: state, log, progress; may be given again."),
    ] = None,
    level: Annotated[
        str | None, typer.Option(help="Only log lines of this level or a higher one.")
    ] = None,
    logs: Annotated[bool, typer.Option(help="Show log lines.")] = True,
) -> None:
    """Follow a task until it has ended: changes of state, log lines, progress."""
    state = ""
    with at.connect() as client:
        wanted = client.events(
            task_id,
            last_event_id,
            types=types,
            level=level.upper() if level else None,
            logs=None if logs else False,
        )
        for event in wanted:
            if isinstance(event, EndEvent):
                state = event.data["state"]
            if at.as_json:
                typer.echo(to_json(as_document(event)))
            elif text := line_of(event):
                tables.console.print(text, soft_wrap=True)
    if state != "COMPLETED":
        raise typer.Exit(TASK_FAILED)


def as_document(event: TaskEvent) -> dict[str, object]:
    """Return an event as JSON."""
    event_id = event.id if isinstance(event, StateEvent | LogEvent) else None
    return {"event": _NAMES[type(event)], "id": event_id, "data": event.data}


def line_of(event: TaskEvent) -> str:
    """Return an event as a line for people. The end gives none, as a state event has told it."""
    match event:
        case StateEvent(data=data):
            reason = data.get("error")
            error = f": {tables.error_text(reason)}" if reason else ""
            number = f" attempt {data['attempt']}" if data["attempt"] else ""
            person = f" {data['action']} by {tables.plain(data['by'])}" if data.get("by") else ""
            return f"{_clock(data['at'])} {data['state']:9}{number}{person}{error}"
        case LogEvent(data=line):
            return f"{_clock(line['at'])} {line['level'].lower():9} {tables.plain(line['message'])}"
        case ProgressEvent(data=progress):
            return f"{'':12} progress  {progress_text(progress['fraction'], progress['message'])}"
        case EndEvent():
            return ""


def progress_text(fraction: float | None, message: str | None) -> str:
    """Return the progress of an attempt: percent and message, if it has them."""
    percent = "" if fraction is None else f"{fraction:.0%}"
    return " ".join(part for part in (percent, tables.plain(message or "")) if part)


def _clock(at: str | None) -> str:
    return at[11:23] if at else " " * 12
