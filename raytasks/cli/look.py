"""`raytasks runners`, `nodes`, `versions`: what the service consists of."""

from collections.abc import Callable, Sequence
from typing import Any

import typer
from rich.table import Table
from rich.text import Text

from raytasks.cli import tables
from raytasks.cli.durations import age, duration_text, silence_text
from raytasks.cli.options import AtService, at_service
from raytasks.client import Client
from raytasks.client.inspection_documents import (
    HeldAttempt,
    NodeDocument,
    Resource,
    RunnerDocument,
    VersionChanges,
    VersionDocument,
)

_SHOWN = 5
_ID = 12

_COLORS = {
    "starting": "yellow",
    "idle": "green",
    "busy": "blue",
    "leaving": "magenta",
    "trial": "yellow",
    "passed": "green",
    "failed": "red",
}


@at_service()
def runners(at: AtService) -> None:
    """Show the runners: where they are, and what they run."""
    _show(at, "runners", lambda client: client.runners(), runners_table)


@at_service()
def nodes(at: AtService) -> None:
    """Show the nodes of the cluster, what is free there, and how many are being added."""
    with at.connect() as client:
        found = client.cluster()
    if at.as_json:
        typer.echo(tables.pretty_json(found))
        return
    tables.console.print(nodes_table(found["nodes"]))
    if coming := found["nodes_coming"]:
        types = ", ".join(f"{number} of type {name}" for name, number in sorted(coming.items()))
        tables.console.print(Text(tables.plain(f"Ray's autoscaler is adding nodes: {types}")))


@at_service()
def versions(at: AtService) -> None:
    """Show the versions of the handlers, what each has changed, and why one was refused."""
    _show(at, "versions", lambda client: client.versions(), versions_table)


def _show(
    at: AtService,
    name: str,
    ask: Callable[[Client], Sequence[Any]],
    table: Callable[[Sequence[Any]], Table],
) -> None:
    with at.connect() as client:
        found = ask(client)
    if at.as_json:
        typer.echo(tables.pretty_json({name: found}))
    else:
        tables.console.print(table(found))


def runners_table(found: Sequence[RunnerDocument]) -> Table:
    """Return a table of runners: a line for each attempt that one holds."""
    table = _table("RUNNER", "STATE", "HOST", "PID", "VERSION", "WAY", "RUNS")
    for runner in found:
        held = [_held_text(item) for item in runner["running"][:_SHOWN]]
        more = runner["running_count"] - len(held)
        lines = [*held, *([f"and {more} more"] if more > 0 else [])] or [""]
        version = runner["version"]
        table.add_row(
            runner["name"],
            _colored(runner["state"]),
            runner["host"] or "",
            str(runner["pid"] or ""),
            "" if version is None else str(version),
            runner["way"] or "",
            lines[0],
        )
        for line in lines[1:]:
            table.add_row("", "", "", "", "", "", line)
    return table


def nodes_table(found: Sequence[NodeDocument]) -> Table:
    """Return a table of nodes."""
    table = _table("HOST", "NODE", "STATE", "RUNNERS", "FREE OF TOTAL")
    for node in found:
        state = "leaving" if node["leaving"] else "alive" if node["alive"] else "dead"
        table.add_row(
            node["host"] or node["address"],
            node["node_id"][:_ID],
            f"{state}, head" if node["head"] else state,
            str(len(node["runners"])),
            ", ".join(_resource_text(name, item) for name, item in node["resources"].items()),
        )
    return table


def versions_table(found: Sequence[VersionDocument]) -> Table:
    """Return a table of versions, the newest first."""
    table = _table(
        "VERSION", "STATE", "IN FORCE", "SEEN", "GENERATION", "CHANGES", "TYPES OR ERROR"
    )
    for version in found:
        types = ", ".join(version["task_types"] or ())
        table.add_row(
            str(version["number"]),
            _colored(version["state"]),
            "yes" if version["in_force"] else "",
            version["seen_at"][:19].replace("T", " "),
            version["generation"],
            tables.plain(_changes_text(version.get("changes"))),
            tables.plain(version["error"] or types),
        )
    return table


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in names:
        table.add_column(name)
    return table


def _changes_text(changes: VersionChanges | None) -> str:
    """Return in words what a version declares otherwise than the one before."""
    if changes is None:
        return ""
    lists = (
        ("added", changes["added"]),
        ("gone", changes["gone"]),
        ("changed", changes["changed"]),
    )
    parts = [f"{word}: {', '.join(types)}" for word, types in lists if types]
    return "; ".join(parts) or f"declares the same as {changes['since']}"


def _colored(state: str) -> Text:
    return Text(state, style=_COLORS.get(state, ""))


def _held_text(item: HeldAttempt) -> str:
    since = f"for {duration_text(item['seconds'])}"
    silent = silence_text(age(item["last_sign_at"])) if item["begun"] else "has not begun"
    limit = item["timeout_seconds"] if item["begun"] else None
    left = "" if limit is None else f"time-out in {duration_text(limit - item['seconds'])}"
    name = f"{item['task_id']} {item['task_type']} attempt {item['attempt']}"
    parts = [name, since, left, silent]
    return ", ".join(part for part in parts if part)


def _resource_text(name: str, item: Resource) -> str:
    total, free = item["total"], item["free"]
    if name.endswith("memory"):
        shown = "?" if free is None else f"{free / 1e9:.1f}"
        return f"{name} {shown} of {total / 1e9:.1f} GB"
    return f"{name} {'?' if free is None else f'{free:g}'} of {total:g}"
