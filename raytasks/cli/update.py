"""`raytasks update`, `retry` and `delete`: they change single tasks."""

from typing import Annotated, Any, cast

import typer

from raytasks.cli.limit_values import limit_values_of
from raytasks.cli.options import AtService, TaskId, UsageError, at_service
from raytasks.cli.task_commands import print_task, read_payload
from raytasks.client.documents import ChangeOptions

Payload = Annotated[
    str | None,
    typer.Option(help="The new payload: JSON, @FILE with JSON, or - for standard input."),
]
Priority = Annotated[int | None, typer.Option(help="Higher goes first.")]
MaxAttempts = Annotated[int | None, typer.Option(help="How often it may fail.")]
Timeout = Annotated[float | None, typer.Option(help="Seconds for each attempt.")]
Delay = Annotated[float | None, typer.Option(help="Seconds from now until it is due.")]
RunAt = Annotated[str | None, typer.Option(help="When it is due (RFC 3339, with a time zone).")]
Tags = Annotated[
    list[str] | None, typer.Option("--tag", help="All its tags from now on; may be given again.")
]
LimitValues = Annotated[
    list[str] | None,
    typer.Option(
        "--limit-value", help="NAME=VALUE: the value of a limit by a value; may be given again."
    ),
]
Expires = Annotated[
    float | None,
    typer.Option(help="Seconds from now after which it is cancelled, if it has not begun."),
]
Revision = Annotated[
    int | None,
    typer.Option(help="Change it only if it has this revision; default: the one it has now."),
]


@at_service()
def update(
    at: AtService,
    task_id: TaskId,
    payload: Payload = None,
    priority: Priority = None,
    max_attempts: MaxAttempts = None,
    timeout: Timeout = None,
    delay: Delay = None,
    run_at: RunAt = None,
    tag: Tags = None,
    no_tags: Annotated[bool, typer.Option("--no-tags", help="Take all its tags away.")] = False,
    limit_value: LimitValues = None,
    expires: Expires = None,
    no_expiry: Annotated[bool, typer.Option("--no-expiry", help="It never expires.")] = False,
    revision: Revision = None,
) -> None:
    """Change a task that waits: its payload, priority, due time, tags and so on."""
    if tag and no_tags:
        raise UsageError("give --tag or --no-tags, not both")
    if expires is not None and no_expiry:
        raise UsageError("give --expires or --no-expiry, not both")
    changes = _changes(
        payload, priority, max_attempts, timeout, delay, run_at, tag, limit_value, expires
    )
    if no_tags:
        changes["tags"] = []
    if no_expiry:
        changes["expires_at"] = None
    if not changes:
        raise UsageError("give at least one thing to change, such as --priority")
    with at.connect() as client:
        if revision is None:
            revision = client.get(task_id)["revision"]
        print_task(client.update(task_id, revision=revision, **changes), at.as_json)


@at_service()
def retry(
    at: AtService,
    task_id: TaskId,
    payload: Payload = None,
    priority: Priority = None,
    max_attempts: MaxAttempts = None,
    timeout: Timeout = None,
    delay: Delay = None,
    run_at: RunAt = None,
    tag: Tags = None,
    limit_value: LimitValues = None,
) -> None:
    """Run a FAILED or CANCELLED task again, maybe with other values."""
    changes = _changes(
        payload, priority, max_attempts, timeout, delay, run_at, tag, limit_value, None
    )
    with at.connect() as client:
        print_task(client.retry(task_id, **changes), at.as_json)


@at_service()
def delete(
    at: AtService,
    task_id: TaskId,
) -> None:
    """Delete a task that has ended, for good, with its attempts, log lines and files."""
    with at.connect() as client:
        client.delete(task_id)
    if not at.as_json:
        typer.echo(f"task {task_id} is deleted")


def _changes(
    payload: str | None,
    priority: int | None,
    max_attempts: int | None,
    timeout: float | None,
    delay: float | None,
    run_at: str | None,
    tags: list[str] | None,
    limit_values: list[str] | None,
    expires: float | None,
) -> ChangeOptions:
    """Return the values that the command line gives, by the names of the API."""
    given: dict[str, Any] = {
        "priority": priority,
        "max_attempts": max_attempts,
        "timeout_seconds": timeout,
        "delay_seconds": delay,
        "run_at": run_at,
        "tags": tags or None,
        "limit_values": limit_values_of(limit_values),
        "expires_seconds": expires,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    if payload is not None:
        changes["payload"] = read_payload(payload)
    return cast("ChangeOptions", changes)
