"""`raytasks limits`: the limits with their use, and their bounds at run time."""

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.table import Table

from raytasks.cli import tables
from raytasks.cli.durations import duration_text, rate_of
from raytasks.cli.options import AtService, UsageError, at_service
from raytasks.client import Client
from raytasks.client.control_documents import BoundsDocument, LimitDocument

app = typer.Typer(help="Show the limits, and set their bounds.", invoke_without_command=True)

_NONE = "none"

Name = Annotated[str, typer.Argument(help="The limit's name.")]


@app.callback()
@at_service(namespaced=False)
def limits(at: AtService, ctx: typer.Context) -> None:
    """Show the limits: their bounds, and how far they are used."""
    if ctx.invoked_subcommand is None:
        with at.connect() as client:
            _print(client.limits(), at, whole=True)


@app.command("set")
@at_service(namespaced=False)
def set_limit(
    at: AtService,
    name: Name,
    running: Annotated[
        str | None, typer.Option(help="How many attempts may run at a time; `none`: any number.")
    ] = None,
    rate: Annotated[
        str | None, typer.Option(help="How many may begin in how long: 500/60s; `none`: any.")
    ] = None,
    burst: Annotated[
        int | None, typer.Option(help="How many may begin at once, of a rate.")
    ] = None,
) -> None:
    """Set bounds of a limit, at once and until `clear`; a bound that is not given stays.

    A new rate has its own burst, unless --burst says another.
    """
    if running is None and rate is None and burst is None:
        raise UsageError("give --running, --rate or --burst")
    with at.connect() as client:
        most, often, seconds, at_once = _present(client, name)
        if running is not None:
            most = None if running == _NONE else _whole(running)
        if rate is not None:
            often, seconds = (None, None) if rate == _NONE else rate_of(rate, "--rate")
            at_once = None
        if burst is not None:
            at_once = burst
        changed = client.set_limit(
            name, running=most, rate=often, per_seconds=seconds, burst=at_once
        )
    _print([changed], at)


@app.command("clear")
@at_service(namespaced=False)
def clear_limit(at: AtService, name: Name) -> None:
    """Return to the bounds in the handlers' code."""
    with at.connect() as client:
        cleared = client.clear_limit(name)
    _print([cleared], at)


def limits_table(found: Sequence[LimitDocument]) -> Table:
    """Return a table of limits."""
    table = Table(box=None, pad_edge=False)
    for name in ("LIMIT", "BOUNDS", "DECLARED", "SET BY", "RUNNING", "WAITING", "TYPES"):
        table.add_column(name)
    for limit in found:
        override, by_value = limit["override"], " for each value" if limit["keyed"] else ""
        table.add_row(
            limit["name"],
            f"{bounds_text(limit['in_force'])}{by_value}" if limit["in_force"] else "no effect",
            bounds_text(limit["declared"]) if limit["declared"] else "not declared",
            "" if override is None else override["by"],
            f"{limit['running']:,}",
            f"{limit['waiting']:,}",
            ", ".join(limit["types"]),
        )
    return table


def bounds_text(bounds: BoundsDocument) -> str:
    """Return bounds in words: `20 running, 500 in 60 s (8 at once)`."""
    parts = [] if bounds["running"] is None else [f"{bounds['running']} running"]
    if bounds["rate"] is not None:
        period = bounds["per_seconds"] or 1.0
        whole = duration_text(period) if period >= 1 else f"{period:g} s"
        parts.append(f"{bounds['rate']:g} in {whole} ({bounds['burst']} at once)")
    return ", ".join(parts)


def _print(found: Sequence[LimitDocument], at: AtService, *, whole: bool = False) -> None:
    if at.as_json:
        typer.echo(tables.pretty_json({"limits": found} if whole else found[0]))
    elif found:
        tables.console.print(limits_table(found))
    else:
        typer.echo("no handler declares a limit")


def _present(
    client: Client, name: str
) -> tuple[int | None, float | None, float | None, int | None]:
    """Return the bounds that count now; none of a limit that is not known."""
    for limit in client.limits():
        bounds = limit["in_force"]
        if limit["name"] == name and bounds is not None:
            return bounds["running"], bounds["rate"], bounds["per_seconds"], bounds["burst"]
    return None, None, None, None


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise UsageError(f"--running: {text!r} is no whole number, nor `none`")
    return int(text)
