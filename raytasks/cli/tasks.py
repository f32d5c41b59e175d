"""The client's commands: what can be done with tasks over HTTP."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from raytasks.cli import show
from raytasks.client import DEFAULT_URL, Client
from raytasks.models import RaytasksError
from raytasks.submission import parse_json

OK = 0
TASK_FAILED = 1
USAGE = 2
REFUSED = 3
UNAVAILABLE = 4
TIMED_OUT = 124

EXIT_CODES = (
    "Exit codes: 0 done; 1 the awaited task FAILED or was CANCELLED, or the service is not "
    "healthy; 2 wrong usage; 3 the service refused the request; 4 the service is away; "
    "124 waiting timed out."
)


def _not_empty(value: str) -> str:
    if not value.strip():
        raise typer.BadParameter("it is empty")
    return value


Url = Annotated[str, typer.Option(envvar="RAYTASKS_URL", help="Where the service is.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the API's JSON.")]
TaskId = Annotated[str, typer.Argument(help="The task's id.", callback=_not_empty)]
Wait = Annotated[bool, typer.Option("--wait", help="Wait until the task has ended.")]
WaitTimeout = Annotated[
    float | None, typer.Option("--wait-timeout", help="Give up after this many seconds.", min=0)
]


class UsageError(RaytasksError):
    """An argument of the command line is wrong. The text says which and how."""


def submit(
    task_type: Annotated[str, typer.Argument(help="The task's type; `raytasks types` lists them.")],
    payload: Annotated[str, typer.Argument(help="JSON, @FILE with JSON, or - for standard input.")],
    priority: Annotated[int | None, typer.Option(help="Higher goes first.")] = None,
    max_attempts: Annotated[int | None, typer.Option(help="How often it may fail.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds for each attempt.")] = None,
    delay: Annotated[float | None, typer.Option(help="Seconds until it is due.")] = None,
    key: Annotated[
        str | None, typer.Option(help="An idempotency key: the same one makes no second task.")
    ] = None,
    wait: Wait = False,
    wait_timeout: WaitTimeout = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Submit a task, and print its id; with --wait, its result."""
    value = read_payload(payload)
    with _client(url) as client:
        task = client.submit(
            task_type,
            value,
            priority=priority,
            max_attempts=max_attempts,
            timeout_seconds=timeout,
            delay_seconds=delay,
            idempotency_key=key,
        )
        if wait:
            _show_ended(client, task["task_id"], wait_timeout, as_json)
        elif as_json:
            typer.echo(show.pretty_json(task))
        else:
            typer.echo(task["task_id"])


def get(
    task_id: TaskId,
    wait: Wait = False,
    wait_timeout: WaitTimeout = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Show a task with its attempts."""
    with _client(url) as client:
        if wait:
            _show_ended(client, task_id, wait_timeout, as_json)
        else:
            _print_task(client.get(task_id), as_json)


def list_tasks(
    state: Annotated[str | None, typer.Option(help="Only tasks in this state.")] = None,
    task_type: Annotated[str | None, typer.Option("--type", help="Only this type.")] = None,
    limit: Annotated[int, typer.Option(help="How many, from 1 to 500.")] = 20,
    offset: Annotated[int, typer.Option(help="How many to skip.")] = 0,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """List tasks, newest first."""
    wanted = state.upper() if state else None
    with _client(url) as client:
        page = client.list(state=wanted, task_type=task_type, limit=limit, offset=offset)
    if as_json:
        typer.echo(show.pretty_json(page))
        return
    show.console.print(show.task_table(page["tasks"]))
    show.console.print(f"{len(page['tasks'])} of {page['total']} tasks", style="dim")


def retry(task_id: TaskId, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Run a FAILED or CANCELLED task again."""
    with _client(url) as client:
        _print_task(client.retry(task_id), as_json)


def cancel(task_id: TaskId, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Cancel a task."""
    with _client(url) as client:
        _print_task(client.cancel(task_id), as_json)


def types(url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """List the task types and their payloads."""
    with _client(url) as client:
        listed = client.task_types()
    if as_json:
        typer.echo(show.pretty_json(listed))
    else:
        show.console.print(show.types_table(listed["task_types"]))


def health(url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Show how the service is; exit code 1 if it is not well."""
    with _client(url) as client:
        report = client.health()
    if as_json:
        typer.echo(show.pretty_json(report))
    else:
        show.console.print(show.health_table(report))
    if report["status"] != "ok":
        raise typer.Exit(TASK_FAILED)


def read_payload(argument: str) -> Any:
    """Return the JSON value of an argument: as it stands, from `@FILE`, or of `-`.

    Raises `UsageError`.
    """
    if argument == "-":
        text, source = sys.stdin.buffer.read(), "standard input"
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


def _client(url: str) -> Client:
    try:
        return Client(url)
    except ValueError as error:
        raise UsageError(f"--url: {error}") from None


def _show_ended(client: Client, task_id: str, timeout: float | None, as_json: bool) -> None:
    task = client.wait(task_id, timeout_seconds=timeout)
    _print_task(task, as_json)
    if task["state"] != "COMPLETED":
        raise typer.Exit(TASK_FAILED)


def _print_task(task: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(show.pretty_json(task))
    else:
        show.console.print(show.task_details(task))
