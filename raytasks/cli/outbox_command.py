"""`raytasks outbox`: what users' own transactions have committed and nobody has taken yet."""

from typing import Annotated

import typer

from raytasks.cli import tables
from raytasks.cli.durations import duration_text
from raytasks.cli.options import AtService, at_service

_WHY = {
    "backlog_full": "the backlog is full",
    "no_version": "no version of the handlers is in force",
    "database_away": "the database cannot be used",
    "locked": "another session of the database has locked the oldest",
    "refused": "the database refuses the oldest",
}


@at_service(namespaced=False)
def outbox(
    at: AtService,
    nudge: Annotated[bool, typer.Option("--nudge", help="Have it looked at now, first.")] = False,
) -> None:
    """Show the outbox: tasks that users' own transactions have committed, until they are taken."""
    with at.connect() as client:
        if nudge:
            client.nudge_outbox()
        found = client.outbox()
    if at.as_json:
        typer.echo(tables.pretty_json(found))
        return
    waiting = f"{found['rows']} rows wait"
    if found["rows"]:
        waiting += f", the oldest for {duration_text(found['oldest_seconds'])}"
    if found["held_by"] is not None:
        waiting += f": {_WHY.get(found['held_by'], found['held_by'])}"
    typer.echo(waiting)
    if found["set_aside"]:
        typer.echo(f"{found['set_aside']} rows are refused by the database; see /health")
