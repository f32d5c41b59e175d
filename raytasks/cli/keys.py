"""`raytasks keys`: the keys of the API, and the secrets of callbacks."""

from typing import Annotated

import typer

from raytasks.api_keys import digest_of, make_key, new_key
from raytasks.cli import tables
from raytasks.cli.options import UsageError
from raytasks.handling.callback_secrets import new_secret
from raytasks.model.tasks import DEFAULT_NAMESPACE, is_namespace


def new(
    name: Annotated[str, typer.Option(help="Who will have it; shown where it is refused.")],
    scopes: Annotated[
        str, typer.Option(help="What it is good for: read, submit, operate; commas between.")
    ] = "read,submit",
    namespace: Annotated[
        str | None, typer.Option(help="The one namespace that it works in. Default: all.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make a key, and print it once: the service gets only its hash.

    Add the entry to RAYTASKS_API_KEYS. Then restart the service, or use `raytasks deploy`.
    """
    key = new_key()
    try:
        made = make_key(name, scopes, namespace, digest_of(key), separator=",")
    except ValueError as error:
        raise UsageError(str(error)) from None
    if as_json:
        typer.echo(tables.pretty_json({"key": key, "entry": made.entry}))
        return
    typer.echo(f"key:    {key}")
    typer.echo(f"entry:  {made.entry}")
    typer.echo(
        "Give the key to its user (RAYTASKS_API_KEY); it is not shown again. "
        "Add the entry to RAYTASKS_API_KEYS, with a comma between entries.",
        err=True,
    )


def callback(
    namespace: Annotated[
        str, typer.Option(help="The namespace whose callbacks it signs.")
    ] = DEFAULT_NAMESPACE,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make a secret that signs callbacks, and print it with its entry.

    Add the entry to RAYTASKS_CALLBACK_SECRETS, and give the secret to the receiver.
    """
    if not is_namespace(namespace):
        raise UsageError("the namespace is not 1 to 63 of a-z, 0-9 and dashes")
    secret = new_secret()
    entry = f"{namespace}={secret}"
    if as_json:
        typer.echo(tables.pretty_json({"secret": secret, "entry": entry}))
        return
    typer.echo(f"secret: {secret}")
    typer.echo(f"entry:  {entry}")
    typer.echo(
        "Give the secret to the receiver. Add the entry to RAYTASKS_CALLBACK_SECRETS, with a comma "
        "between entries; to change a secret, put the new one before the old one, with a space.",
        err=True,
    )
