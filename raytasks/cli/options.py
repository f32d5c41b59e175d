"""The common parts of the client's commands: options, exit codes, and the connection."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Annotated, TypedDict, TypeVar

import typer

from raytasks.client import BadArgument, Client
from raytasks.client.documents import TaskFilters
from raytasks.client.requests import checked_api_key, checked_namespace, checked_url
from raytasks.model.tasks import RaytasksError

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


def not_empty(value: str) -> str:
    """Return an argument. Refuse an empty one."""
    if not value.strip():
        raise typer.BadParameter("it is empty")
    return value


Url = Annotated[str, typer.Option(envvar="RAYTASKS_URL", help="Where the service is.")]
ApiKey = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        envvar="RAYTASKS_API_KEY",
        help="The key that the service asks for, if it does.",
    ),
]
Namespace = Annotated[
    str | None,
    typer.Option(
        envvar="RAYTASKS_NAMESPACE", help="The namespace, for a key that is bound to none."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the API's JSON.")]
TaskId = Annotated[str, typer.Argument(help="The task's id.", callback=not_empty)]
Wait = Annotated[bool, typer.Option("--wait", help="Wait until the task has ended.")]
WaitSeconds = Annotated[
    float | None, typer.Option("--wait-timeout", help="Give up after this many seconds.", min=0)
]
OfState = Annotated[
    list[str] | None,
    typer.Option("--state", help="Only tasks in this state; may be given again for others."),
]
OfType = Annotated[str | None, typer.Option("--type", help="Only this type.")]
OfTag = Annotated[str | None, typer.Option("--tag", help="Only tasks with this tag.")]
CreatedAfter = Annotated[
    str | None,
    typer.Option("--created-after", help="Only tasks created then or later (RFC 3339)."),
]
CreatedBefore = Annotated[
    str | None, typer.Option("--created-before", help="Only tasks created before it (RFC 3339).")
]
OfError = Annotated[
    str | None,
    typer.Option("--error", help="Only tasks whose last attempt ended with this class of error."),
]


class UsageError(RaytasksError):
    """An argument of the command line is wrong. The text says which, and why."""


class Connection(TypedDict):
    """The arguments that a client needs."""

    url: str
    api_key: str | None
    namespace: str | None


def connection(url: str, api_key: str | None, namespace: str | None) -> Connection:
    """Return the checked arguments of a client. Raises `UsageError` with the option's name."""
    return {
        "url": _checked("--url", checked_url, url),
        "api_key": _checked("--api-key", checked_api_key, api_key) if api_key else None,
        "namespace": _checked("--namespace", checked_namespace, namespace) if namespace else None,
    }


def connect(url: str, api_key: str | None, namespace: str | None) -> Client:
    """Return a client for the common options. Raises `UsageError`."""
    return Client(**connection(url, api_key, namespace))


def filters(
    state: Sequence[str] | None,
    task_type: str | None,
    tag: str | None,
    created_after: str | None,
    created_before: str | None,
    error_type: str | None,
) -> TaskFilters:
    """Return the filter of the options, with states in the API's spelling."""
    states = [name.upper() for name in state or ()]
    return {
        "state": states[0] if len(states) == 1 else states or None,
        "task_type": task_type,
        "tag": tag,
        "created_after": created_after,
        "created_before": created_before,
        "error_type": error_type,
    }


T = TypeVar("T")


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield the items in lists of `size`. The last list may be shorter."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def _checked(option: str, check: Callable[[str], str], value: str) -> str:
    try:
        return check(value)
    except BadArgument as error:
        raise UsageError(f"{option}: {error}") from None
