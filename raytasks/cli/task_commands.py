"""The client's commands: operations on tasks over HTTP."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from pydantic_core import to_json

from raytasks.cli import tables
from raytasks.cli.limit_values import limit_values_of
from raytasks.cli.options import (
    TASK_FAILED,
    AtService,
    CreatedAfter,
    CreatedBefore,
    OfError,
    OfState,
    OfTag,
    OfType,
    TaskId,
    UsageError,
    Wait,
    WaitSeconds,
    at_service,
    batched,
    filters,
    standard_input,
)
from raytasks.cli.output import keeping
from raytasks.client import Client, Page
from raytasks.client.documents import TaskFilters, UniqueOptions
from raytasks.model.strict_json import parse_json

_TABLE_ROWS = 100
"""How many tasks are gathered for one table, if all tasks are listed."""


@at_service()
def submit(
    at: AtService,
    task_type: Annotated[str, typer.Argument(help="The task's type; `raytasks types` lists them.")],
    payload: Annotated[str, typer.Argument(help="JSON, @FILE with JSON, or - for standard input.")],
    priority: Annotated[int | None, typer.Option(help="Higher goes first.")] = None,
    max_attempts: Annotated[int | None, typer.Option(help="How often it may fail.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds for each attempt.")] = None,
    delay: Annotated[float | None, typer.Option(help="Seconds until it is due.")] = None,
    key: Annotated[
        str | None, typer.Option(help="An idempotency key: the same one makes no second task.")
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option(help="A tag to find it by; may be given again.")
    ] = None,
    limit_value: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=VALUE: the value of a limit by a value, instead of that in the payload; "
            "may be given again."
        ),
    ] = None,
    callback: Annotated[str | None, typer.Option(help="URL to which its end is posted.")] = None,
    unique: Annotated[
        str | None, typer.Option(help="A unique key: only one open task of the type has it.")
    ] = None,
    unique_until: Annotated[
        str | None, typer.Option(help="Until when it is held: started or finished (the default).")
    ] = None,
    unique_seconds: Annotated[
        float | None, typer.Option(help="For how many seconds at most it is held.")
    ] = None,
    on_conflict: Annotated[
        str | None,
        typer.Option(help="If another task has it: return that (the default), reject or replace."),
    ] = None,
    expires: Annotated[
        float | None,
        typer.Option(help="Seconds after which it is cancelled, if it has not begun."),
    ] = None,
    wait: Wait = False,
    wait_timeout: WaitSeconds = None,
) -> None:
    """Submit a task, and print its id; with --wait, its result."""
    value = read_payload(payload)
    key_terms = _unique(unique, unique_until, unique_seconds, on_conflict)
    with at.connect() as client:
        task = client.submit(
            task_type,
            value,
            priority=priority,
            max_attempts=max_attempts,
            timeout_seconds=timeout,
            delay_seconds=delay,
            tags=tag or None,
            limit_values=limit_values_of(limit_value),
            callback_url=callback,
            unique=key_terms,
            expires_seconds=expires,
            idempotency_key=key,
        )
        if task["duplicate"]:
            replaced = ", and has the new values now" if on_conflict == "replace" else ""
            typer.echo(f"no new task: this open one holds the unique key{replaced}", err=True)
        task_id = task["task_id"]
        with keeping(f"the task {task_id} was accepted", f"raytasks get {task_id}"):
            if wait:
                _show_ended(client, task_id, wait_timeout, at.as_json)
            elif at.as_json:
                typer.echo(tables.pretty_json(task))
            else:
                typer.echo(task_id)


@at_service()
def get(
    at: AtService,
    task_id: TaskId,
    wait: Wait = False,
    wait_timeout: WaitSeconds = None,
) -> None:
    """Show a task with its attempts."""
    with at.connect() as client:
        if wait:
            _show_ended(client, task_id, wait_timeout, at.as_json)
        else:
            print_task(client.get(task_id), at.as_json)


@at_service()
def list_tasks(
    at: AtService,
    state: OfState = None,
    task_type: OfType = None,
    tag: OfTag = None,
    created_after: CreatedAfter = None,
    created_before: CreatedBefore = None,
    error: OfError = None,
    limit: Annotated[int, typer.Option(help="How many, from 1 to 500.")] = 20,
    offset: Annotated[int | None, typer.Option(help="How many to skip.")] = None,
    cursor: Annotated[
        str | None, typer.Option(help="Go on where the list before ended; it tells how.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All of them; with --json, one task a line.")
    ] = False,
) -> None:
    """List tasks, newest first."""
    if cursor is not None and offset is not None:
        raise UsageError("give --cursor or --offset, not both")
    if everything and (cursor is not None or offset is not None):
        raise UsageError("--all begins with the newest: leave out --cursor and --offset")
    wanted = filters(state, task_type, tag, created_after, created_before, error)
    with at.connect() as client:
        if everything:
            _print_all(client, wanted, at.as_json)
            return
        page = client.list(**wanted, limit=limit, offset=offset, cursor=cursor)
    if at.as_json:
        typer.echo(tables.pretty_json(page))
        return
    tables.console.print(tables.task_table(page["tasks"]))
    tables.console.print(_page_text(page), style="dim", soft_wrap=True)


@at_service()
def cancel(
    at: AtService,
    task_id: TaskId,
    message: Annotated[
        str | None, typer.Option("--message", "-m", help="Why; the task keeps it.")
    ] = None,
) -> None:
    """Cancel a task."""
    with at.connect() as client:
        print_task(client.cancel(task_id, message=message), at.as_json)


@at_service()
def stack(
    at: AtService,
    task_id: TaskId,
) -> None:
    """Show the Python stack of a running attempt: what it does just now."""
    with at.connect() as client:
        found = client.stack(task_id)
    typer.echo(tables.pretty_json(found) if at.as_json else tables.plain(found["stack"]))


@at_service()
def types(at: AtService) -> None:
    """List the task types and their payloads."""
    with at.connect() as client:
        listed = client.task_types()
    if at.as_json:
        typer.echo(tables.pretty_json(listed))
    else:
        tables.console.print(tables.types_table(listed["task_types"]))


@at_service()
def health(at: AtService) -> None:
    """Show how the service is; exit code 1 if it is not well."""
    with at.connect() as client:
        report = client.health()
    if at.as_json:
        typer.echo(tables.pretty_json(report))
    else:
        table = tables.health_table(report)
        tables.console.print(table if table.row_count else _short_health(report))
        if reasons := report.get("reasons"):
            typer.echo(tables.reasons_text(reasons))
    if report["status"] != "ok":
        raise typer.Exit(TASK_FAILED)


def read_payload(argument: str) -> Any:
    """Return the JSON value of an argument: of itself, of `@FILE`, or of standard input for `-`.

    Raises `UsageError`.
    """
    if argument == "-":
        text, source = standard_input().read(), "standard input"
    elif argument.startswith("@"):
        source = argument[1:]
        try:
            text = Path(source).read_bytes()
        except (OSError, ValueError) as error:
            raise UsageError(f"cannot read {source}: {error}") from None
    else:
        text, source = argument.encode("utf-8", "surrogateescape"), "the payload"
    try:
        return parse_json(text)
    except ValueError as error:
        raise UsageError(f"{source} is not JSON: {error}") from None


def _show_ended(client: Client, task_id: str, timeout: float | None, as_json: bool) -> None:
    task = client.wait(task_id, timeout_seconds=timeout)
    print_task(task, as_json)
    if task["state"] != "COMPLETED":
        raise typer.Exit(TASK_FAILED)


def _print_all(client: Client, wanted: TaskFilters, as_json: bool) -> None:
    """Print all tasks as they come, page by page."""
    for batch in batched(client.tasks(**wanted), _TABLE_ROWS):
        if as_json:
            typer.echo(b"\n".join(to_json(task) for task in batch))
        else:
            tables.console.print(tables.task_table(batch))


def _short_health(report: Mapping[str, Any]) -> str:
    """Return the answer without a key: only whether the service is well."""
    return f"{report['status']} (for more, give --api-key with a key of the scope read)"


def _page_text(page: Page) -> str:
    of_all = "" if page["total"] is None else f" of {page['total']}"
    cursor = page.get("next_cursor")
    more = f"; more: --cursor {cursor}" if cursor else ""
    return f"{len(page['tasks'])}{of_all} tasks{more}"


def print_task(task: Mapping[str, Any], as_json: bool) -> None:
    """Print a task: in full, or as JSON."""
    if as_json:
        typer.echo(tables.pretty_json(task))
    else:
        tables.console.print(tables.task_details(task))


def _unique(
    key: str | None, until: str | None, seconds: float | None, on_conflict: str | None
) -> UniqueOptions | None:
    """Return the unique key of the options; the API checks its values. Raises `UsageError`."""
    terms = {"until": until, "seconds": seconds, "on_conflict": on_conflict}
    given = {name: value for name, value in terms.items() if value is not None}
    if key is None:
        if given:
            raise UsageError(
                "--unique-until, --unique-seconds and --on-conflict go with --unique KEY"
            )
        return None
    return cast("UniqueOptions", {"key": key, **given})
