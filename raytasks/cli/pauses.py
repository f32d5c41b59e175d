"""`raytasks pause` and `resume`: hand out no tasks of a type, a namespace, or the whole service."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from raytasks.cli import tables
from raytasks.cli.durations import seconds_of
from raytasks.cli.options import AtService, UsageError
from raytasks.client import DEFAULT_URL, BadArgument
from raytasks.client.control_documents import PauseDocument
from raytasks.client.requests import checked_namespace

Type = Annotated[str | None, typer.Option("--type", help="Only tasks of this type.")]
Namespace = Annotated[
    str | None,
    typer.Option(envvar="RAYTASKS_NAMESPACE", help="Only tasks of this namespace."),
]
Url = Annotated[
    str | None,
    typer.Option(envvar="RAYTASKS_URL", help="Ask the API there, not the Ray cluster."),
]
ApiKey = Annotated[
    str | None,
    typer.Option("--api-key", envvar="RAYTASKS_API_KEY", help="Ask the API, with this key."),
]
Address = Annotated[
    str | None,
    typer.Option(help="The Ray cluster (HOST:PORT). By default RAYTASKS_RAY_ADDRESS, or this one."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the API's JSON.")]


def pause(
    task_type: Type = None,
    namespace: Namespace = None,
    for_: Annotated[
        str | None, typer.Option("--for", help="How long: 90s, 10m, 2h. Default: until `resume`.")
    ] = None,
    url: Url = None,
    api_key: ApiKey = None,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Hand out no tasks; without --type and --namespace, of the whole service.

    Tasks are still accepted, and what runs goes on. A pause survives restarts and deployments. The
    command goes by Ray, as `drain` does; with --url or --api-key it goes to the API.
    """
    seconds = None if for_ is None else seconds_of(for_, "--for")
    _check(namespace)
    if at := _at_api(url, api_key, address):
        with at.connect() as client:
            pauses = client.pause(task_type, namespace=namespace, seconds=seconds)
    else:
        pauses = _by_ray(address).pause(namespace or "", task_type or "", seconds)
    if as_json:
        typer.echo(tables.pretty_json({"pauses": pauses}))
        return
    _print(pauses)


def resume(
    task_type: Type = None,
    namespace: Namespace = None,
    url: Url = None,
    api_key: ApiKey = None,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """End the pause of exactly this type and namespace, or that of the whole service, or a drain.

    The command goes by Ray, as `drain` does; with --url or --api-key it goes to the API.
    """
    _check(namespace)
    if at := _at_api(url, api_key, address):
        with at.connect() as client:
            answer = client.resume(task_type, namespace=namespace)
        ended, pauses = answer["ended"], answer["pauses"]
    else:
        ended, pauses = _by_ray(address).resume(namespace or "", task_type or "")
    if as_json:
        typer.echo(tables.pretty_json({"ended": ended, "pauses": pauses}))
        return
    if not ended:
        typer.echo("there was no such pause")
    elif not pauses:
        typer.echo("tasks are handed out again")
    _print(pauses)


def _check(namespace: str | None) -> None:
    if namespace is not None:
        try:
            checked_namespace(namespace)
        except BadArgument as error:
            raise UsageError(f"--namespace: {error}") from None


def _print(pauses: Sequence[PauseDocument]) -> None:
    for item in pauses:
        until = "until it is resumed" if item["until"] is None else f"until {item['until']}"
        typer.echo(f"{_what(item)} is paused {until}, by {item['by']}; {item['waiting']:,} wait")


def _what(pause: PauseDocument) -> str:
    task_type, namespace = pause["task_type"], pause["namespace"]
    if task_type is None and namespace is None:
        return "the whole service"
    if namespace is None:
        return f"the type {task_type}"
    if task_type is None:
        return f"the namespace {namespace}"
    return f"the type {task_type} in the namespace {namespace}"


def _at_api(url: str | None, api_key: str | None, address: str | None) -> AtService | None:
    if address is not None or not (url or api_key):
        return None
    return AtService(url or DEFAULT_URL, api_key)


def _by_ray(address: str | None) -> Any:
    from raytasks.cli.operate import connect
    from raytasks.cluster import tracker_calls

    connect(address)
    return tracker_calls
