"""The common parts of the client's commands: options, exit codes, and the connection."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from itertools import islice
from typing import IO, Annotated, Any, TypeAlias, TypedDict, TypeVar

import typer

from raytasks.client import DEFAULT_URL, BadArgument, Client
from raytasks.client.documents import TaskFilters
from raytasks.client.requests import checked_api_key, checked_namespace, checked_url
from raytasks.model.tasks import RaytasksError

OK = 0
TASK_FAILED = 1
USAGE = 2
REFUSED = 3
UNAVAILABLE = 4
OUTPUT_LOST = 74
TIMED_OUT = 124

EXIT_CODES = (
    "Exit codes: 0 done; 1 the awaited task FAILED or was CANCELLED, or the service is not "
    "healthy; 2 wrong usage, or no cluster or database to work with; 3 the service refused the "
    "request; 4 the service is away; 74 standard output cannot be written; 124 waiting timed out; "
    "130 Ctrl-C."
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


@dataclass(frozen=True)
class AtService:
    """The options of a command that talks to a service: where it is, and who asks."""

    url: str
    api_key: str | None
    namespace: str | None = None
    as_json: bool = False

    def connection(self) -> Connection:
        """Return the checked arguments of a client. Raises `UsageError` with the option's name."""
        key, space = self.api_key, self.namespace
        return {
            "url": _checked("--url", checked_url, self.url),
            "api_key": _checked("--api-key", checked_api_key, key) if key else None,
            "namespace": _checked("--namespace", checked_namespace, space) if space else None,
        }

    def connect(self) -> Client:
        """Return a client. Raises `UsageError`."""
        return Client(**self.connection())


_AT_SERVICE = ("url", "api_key", "namespace", "as_json")

Command: TypeAlias = Callable[..., None]


def at_service(
    *, namespaced: bool = True, json: str | None = "Print the API's JSON."
) -> Callable[[Command], Command]:
    """Give a command the options of `AtService`, behind its own; its first parameter gets them.

    Without `namespaced` there is no `--namespace`. The help of `--json` is the text `json`; None
    leaves the option out. Options of these that stand before the name of a sub-command count for
    it; one that it does not have raises `UsageError`.
    """
    added = [_option("url", DEFAULT_URL, Url), _option("api_key", None, ApiKey)]
    if namespaced:
        added.append(_option("namespace", None, Namespace))
    if json is not None:
        as_json = Annotated[bool, typer.Option("--json", help=json)]
        added.append(_option("as_json", False, as_json))

    def with_options(command: Command) -> Command:
        _, *own = signature(command, eval_str=True).parameters.values()
        known = next((item.name for item in own if item.annotation is typer.Context), None)
        context = _option(known or "context", Parameter.empty, typer.Context)

        @wraps(command)
        def called(**given: Any) -> None:
            ctx: typer.Context = given[context.name] if known else given.pop(context.name)
            options = {item.name: given.pop(item.name) for item in added}
            _take_from_before(ctx, options)
            command(AtService(**options), **given)

        parameters = [*(item.replace(kind=Parameter.KEYWORD_ONLY) for item in own), *added]
        if known is None:
            parameters.append(context)
        called.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {item.name: item.annotation for item in parameters}
        return called

    return with_options


def _take_from_before(ctx: typer.Context, own: dict[str, Any]) -> None:
    """Take over the options that stand before the name of the sub-command, where it has none.

    Raises `UsageError` for one that the sub-command does not have.
    """
    outer = ctx.parent
    while outer is not None:
        for name in _AT_SERVICE:
            if not _is_given(outer, name):
                continue
            if name not in own:
                option = "--json" if name == "as_json" else f"--{name.replace('_', '-')}"
                raise UsageError(f"{option}: {ctx.command_path} does not take it")
            if not _is_given(ctx, name):
                own[name] = outer.params[name]
        outer = outer.parent


def _is_given(ctx: Any, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _option(name: str, default: Any, annotation: Any) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


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


def standard_input() -> IO[bytes]:
    """Return the bytes of standard input. Raises `UsageError` if it is closed."""
    if sys.stdin is None:
        raise UsageError("standard input is closed: there is nothing to read for -")
    return sys.stdin.buffer


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
