"""`raytasks logs`: the lines of one task, or the log of the service."""

from typing import Annotated

import typer
from pydantic_core import to_json

from raytasks.cli import tables
from raytasks.cli.events import as_document, line_of
from raytasks.cli.options import AtService, UsageError, at_service
from raytasks.client import (
    Client,
    EndEvent,
    GapEvent,
    LogEvent,
    ProgressEvent,
    ServiceLogEvent,
)

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
"""The levels, the lowest first."""

_MAX_LINES = 1000
_COLORS = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "red"}
_GAP = "(lines are gone here: the tracker was started again, or it keeps no older ones)"

Follow = Annotated[
    bool, typer.Option("--follow", "-f", help="Go on with new lines, until Ctrl-C or the end.")
]
OfLevel = Annotated[str | None, typer.Option("--level", help="Only this level and above.")]


@at_service(json="Print each line as JSON.")
def logs(
    at: AtService,
    task_id: Annotated[
        str | None, typer.Argument(help="Only this task: its lines and changes of state.")
    ] = None,
    follow: Follow = False,
    task_type: Annotated[str | None, typer.Option("--type", help="Only this type.")] = None,
    level: OfLevel = None,
    lines: Annotated[
        int, typer.Option("--lines", "-n", help="So many of the newest.", min=0, max=_MAX_LINES)
    ] = 200,
) -> None:
    """Show the service's log: attempts, runners, versions, outages. With an id: of that task.

    The service's log needs a key of the scope operate; the log of a task needs read.
    """
    lowest = _level(level)
    with at.connect() as client:
        if task_id is None:
            _service_log(client, follow, task_type, lowest, lines, at.as_json)
        elif task_type is not None:
            raise UsageError("--type is for the service's log: a task has one type")
        else:
            _task_log(client, task_id, follow, lowest, at.as_json)


def service_line(event: ServiceLogEvent) -> str:
    """Return a line of the service's log for people."""
    data = event.data
    fields = "".join(f" {name}={_value(value)}" for name, value in data["fields"].items())
    return f"{data['at'][:23]}Z {data['level']:7} {data['message']}{fields}"


def _service_log(
    client: Client,
    follow: bool,
    task_type: str | None,
    level: str | None,
    lines: int,
    as_json: bool,
) -> None:
    for event in client.logs(follow=follow, lines=lines, level=level, task_type=task_type):
        if isinstance(event, GapEvent):
            if not as_json:
                tables.console.print(_GAP, style="dim")
        elif as_json:
            typer.echo(to_json(event.data))
        else:
            style = _COLORS.get(event.data["level"])
            tables.console.print(tables.plain(service_line(event)), style=style, soft_wrap=True)


def _task_log(client: Client, task_id: str, follow: bool, level: str | None, as_json: bool) -> None:
    """Print what is kept of a task. Its changes of state have no level, and are always there."""
    for event in client.events(task_id, follow=follow):
        if isinstance(event, ProgressEvent | EndEvent):
            continue
        if isinstance(event, LogEvent) and _rank(event.data["level"]) < _rank(level or "DEBUG"):
            continue
        if as_json:
            typer.echo(to_json(as_document(event)))
        else:
            tables.console.print(line_of(event), soft_wrap=True)


def _level(level: str | None) -> str | None:
    """Return a level in the API's spelling. Raises `UsageError`."""
    if level is None:
        return None
    if level.upper() not in LEVELS[:4]:
        raise UsageError(f"--level: {level!r} is no level: use one of {', '.join(LEVELS[:4])}")
    return level.upper()


def _rank(level: str) -> int:
    """Return the place of a level among the levels; that of INFO for one of somebody's own."""
    return LEVELS.index(level if level in LEVELS else "INFO")


def _value(value: object) -> str:
    text = str(value)
    return text if text and not any(char in text for char in ' "=\n') else to_json(text).decode()
