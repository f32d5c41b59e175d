"""`raytasks bulk`: retry, cancel or delete all tasks that filters match."""

import sys
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from raytasks.cli import tables
from raytasks.cli.options import (
    AtService,
    CreatedAfter,
    CreatedBefore,
    OfError,
    OfState,
    OfTag,
    OfType,
    UsageError,
    at_service,
    filters,
)
from raytasks.cli.output import keeping
from raytasks.client import BulkOperation, Client
from raytasks.client.documents import TaskFilters

app = typer.Typer(help="Retry, cancel or delete many tasks at once.", no_args_is_help=True)

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only count the tasks.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
NoWait = Annotated[
    bool, typer.Option("--no-wait", help="Print the operation's id, and do not wait for its end.")
]


@app.command("retry")
@at_service()
def retry(
    at: AtService,
    state: OfState = None,
    task_type: OfType = None,
    tag: OfTag = None,
    created_after: CreatedAfter = None,
    created_before: CreatedBefore = None,
    error: OfError = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    no_wait: NoWait = False,
) -> None:
    """Run FAILED tasks (or CANCELLED ones, by --state) again: count them, ask, and do it."""
    with at.connect() as client:
        wanted = filters(state, task_type, tag, created_after, created_before, error)
        work = _Work(client, "retry", wanted, at.as_json)
        work.do(dry_run=dry_run, yes=yes, wait=not no_wait)


@app.command("cancel")
@at_service()
def cancel(
    at: AtService,
    state: OfState = None,
    task_type: OfType = None,
    tag: OfTag = None,
    created_after: CreatedAfter = None,
    created_before: CreatedBefore = None,
    error: OfError = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    no_wait: NoWait = False,
) -> None:
    """Cancel tasks that have not ended: count them, ask, and do it."""
    with at.connect() as client:
        wanted = filters(state, task_type, tag, created_after, created_before, error)
        work = _Work(client, "cancel", wanted, at.as_json)
        work.do(dry_run=dry_run, yes=yes, wait=not no_wait)


@app.command("delete")
@at_service()
def delete(
    at: AtService,
    state: OfState = None,
    task_type: OfType = None,
    tag: OfTag = None,
    created_after: CreatedAfter = None,
    created_before: CreatedBefore = None,
    error: OfError = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    no_wait: NoWait = False,
) -> None:
    """Delete tasks that have ended, for good: count them, ask, and do it."""
    with at.connect() as client:
        wanted = filters(state, task_type, tag, created_after, created_before, error)
        work = _Work(client, "delete", wanted, at.as_json)
        work.do(dry_run=dry_run, yes=yes, wait=not no_wait)


@app.command("show")
@at_service()
def show_operations(
    at: AtService,
    bulk_id: Annotated[
        str | None, typer.Argument(help="The operation; without: the newest.")
    ] = None,
) -> None:
    """Show how far an operation is, or the newest operations."""
    with at.connect() as client:
        operations = client.bulks() if bulk_id is None else [client.bulk(bulk_id)]
    if at.as_json:
        typer.echo(tables.pretty_json(operations if bulk_id is None else operations[0]))
    else:
        tables.console.print(_table(operations))


class _Work:
    """One bulk operation, from the count to its end."""

    def __init__(self, client: Client, action: str, wanted: TaskFilters, as_json: bool) -> None:
        self._client = client
        calls = {
            "retry": client.bulk_retry,
            "cancel": client.bulk_cancel,
            "delete": client.bulk_delete,
        }
        self._call = calls[action]
        self._action = action
        self._wanted = wanted
        self._as_json = as_json

    def do(self, *, dry_run: bool, yes: bool, wait: bool) -> None:
        """Count the tasks. Unless that was all, ask, begin, and wait."""
        if dry_run or not yes:
            matched = self._count()
            if dry_run:
                text = tables.pretty_json({"matched": matched})
                typer.echo(text if self._as_json else f"{_number(matched)} tasks match")
                return
            self._ask(matched)
        operation = self._begin()
        for warning in operation.get("warnings", ()):
            typer.echo(f"warning: {warning}", err=True)
        name = operation["bulk_id"]
        with keeping(f"the operation {name} goes on by itself", f"raytasks bulk show {name}"):
            self._show(operation, wait=wait)

    def _show(self, operation: BulkOperation, *, wait: bool) -> None:
        if wait:
            operation = self._wait(operation)
        if self._as_json:
            typer.echo(tables.pretty_json(operation))
        elif wait:
            done = {"retry": "run again", "cancel": "cancelled", "delete": "deleted"}[self._action]
            of_all = f"{operation['changed']} of {_number(operation['matched'])}"
            left = operation.get("skipped", 0)
            why = f"; {left} are skipped, as other tasks hold their unique keys" if left else ""
            typer.echo(f"{of_all} tasks are {done}{why}")
        else:
            typer.echo(operation["bulk_id"])

    def _count(self) -> int | None:
        return self._call(dry_run=True, **self._wanted)["matched"]

    def _begin(self) -> BulkOperation:
        everything = None if any(self._wanted.values()) else True
        return self._call(**self._wanted, all=everything)

    def _ask(self, matched: int | None) -> None:
        found = f"{_number(matched)} tasks match"
        if not _is_a_person_there():
            raise UsageError(f"{found}; to {self._action} them, give --yes")
        if not typer.confirm(f"{found}. {self._action.capitalize()} them?", err=True):
            raise typer.Exit

    def _wait(self, operation: BulkOperation) -> BulkOperation:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        hidden = self._as_json or not tables.console.is_terminal
        with Progress(*columns, console=tables.console, transient=True, disable=hidden) as bar:
            item = bar.add_task(self._action, total=operation["matched"])

            def tell(now: BulkOperation) -> None:
                bar.update(item, completed=now["looked_at"], total=now["matched"])

            return self._client.bulk_wait(operation["bulk_id"], on_change=tell)


def _number(matched: int | None) -> str:
    return "very many" if matched is None else str(matched)


def _is_a_person_there() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def _table(operations: list[BulkOperation]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("OPERATION", "ACTION", "STATE", "FILTER", "LOOKED AT", "CHANGED", "BY", "CREATED"):
        table.add_column(name, no_wrap=name in ("OPERATION", "STATE"))
    for item in operations:
        given = [
            f"{name} {' or '.join(value) if isinstance(value, list) else value}"
            for name, value in item["filter"].items()
            if value
        ]
        table.add_row(
            item["bulk_id"],
            item["action"],
            f"HELD ({held_by})" if (held_by := item.get("held_by")) else item["state"],
            ", ".join(given) or "all",
            f"{item['looked_at']} of {_number(item['matched'])}",
            str(item["changed"]),
            item["by"],
            item["created_at"][:19].replace("T", " "),
        )
    return table
