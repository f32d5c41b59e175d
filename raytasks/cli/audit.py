"""`raytasks audit`: what people did to tasks and to the service."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from pydantic_core import to_json
from rich.table import Table

from raytasks.cli import tables
from raytasks.cli.options import AtService, at_service, batched

_TABLE_ROWS = 100


@at_service(namespaced=False)
def audit(
    at: AtService,
    by: Annotated[str | None, typer.Option(help="Only acts of this person.")] = None,
    action: Annotated[
        str | None,
        typer.Option(
            help="Only such acts: retry, cancel, change, delete, bulk_retry, pause, deploy, …"
        ),
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Only acts from then on (RFC 3339, with a time zone).")
    ] = None,
    limit: Annotated[int, typer.Option(help="How many, from 1 to 500.")] = 20,
    everything: Annotated[
        bool, typer.Option("--all", help="All of them; with --json, one act a line.")
    ] = False,
) -> None:
    """List what people did, the newest first: who changed what, and when."""
    with at.connect() as client:
        if everything:
            acts = client.audit_entries(by=by, action=action, since=since)
            for batch in batched(acts, _TABLE_ROWS):
                if at.as_json:
                    typer.echo(b"\n".join(to_json(entry) for entry in batch))
                else:
                    tables.console.print(_table(batch))
            return
        page = client.audit(by=by, action=action, since=since, limit=limit)
    if at.as_json:
        typer.echo(tables.pretty_json(page))
    else:
        tables.console.print(_table(page["entries"]))


def _table(entries: list[Any]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("AT", "BY", "ACTION", "NAMESPACE", "TARGET", "DETAILS"):
        table.add_column(name, no_wrap=name in ("AT", "BY", "TARGET"))
    for item in entries:
        table.add_row(
            item["at"][:19].replace("T", " "),
            tables.plain(item["by"]),
            item["action"],
            item["namespace"] or "",
            tables.plain(item["target"] or ""),
            tables.plain(_details(item["details"] or {})),
        )
    return table


def _details(details: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in details.items() if value is not None)
