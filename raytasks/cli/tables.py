"""Tables for people: how tasks look in a terminal."""

import os
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic_core import to_json
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from raytasks.cli import durations

_PIPE_WIDTH = 120
_BAR_WIDTH = 24
_WIDE = 112
"""From this width on, all columns of the list fit. Ids are never cut, since people copy them."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def _width() -> int | None:
    """Return the width to use, or None for that of the terminal."""
    there = sys.stdout is not None and sys.stdout.isatty()
    return None if there or "COLUMNS" in os.environ else _PIPE_WIDTH


# Text of tasks is shown unchanged: no markup and no emoji codes are read in it.
console = Console(highlight=False, markup=False, emoji=False, width=_width())

COLORS = {
    "PENDING": "cyan",
    "RUNNING": "blue",
    "RETRYING": "yellow",
    "COMPLETED": "green",
    "FAILED": "red",
    "CANCELLED": "magenta",
}


def plain(text: object) -> str:
    """Return a text from a task without characters that would control the terminal."""
    return _CONTROL.sub("\ufffd", str(text))


def error_text(error: Mapping[str, Any]) -> str:
    """Return a short text of an attempt's error."""
    return plain(f"{error['type']}: {error['message']}")


def state_text(state: str) -> Text:
    """Return a state in its colour."""
    return Text(state, style=COLORS.get(state, ""))


def pretty_json(value: Any) -> str:
    """Return JSON with indentation."""
    return to_json(value, indent=2).decode()


def seconds_text(task: Mapping[str, Any]) -> str:
    """Return how long the latest attempt of a task took; empty until it has ended."""
    if not task["started_at"] or not task["finished_at"]:
        return ""
    start, end = (datetime.fromisoformat(task[name]) for name in ("started_at", "finished_at"))
    return f"{(end - start).total_seconds():.3f} s"


def task_table(tasks: Sequence[Mapping[str, Any]]) -> Table:
    """Return a table of tasks, one per line."""
    table = Table(box=None, pad_edge=False)
    table.add_column("TASK", no_wrap=True, min_width=36)
    table.add_column("TYPE", no_wrap=True)
    table.add_column("STATE", no_wrap=True, min_width=9)
    table.add_column("ATTEMPT", no_wrap=True, justify="right")
    more = ("PRIORITY", "CREATED", "TOOK") if console.width >= _WIDE else ()
    for name in more:
        table.add_column(name, no_wrap=True)
    for task in tasks:
        cells = (str(task["priority"]), task["created_at"][:19].replace("T", " "))
        table.add_row(
            task["task_id"],
            task["task_type"],
            state_text(task["state"]),
            f"{task['attempt']} of {task['max_attempts']}",
            *(*cells, seconds_text(task))[: len(more)],
        )
    return table


def task_details(task: Mapping[str, Any]) -> RenderableType:
    """Return a task in full: its state, its result or error, and its attempts."""
    head = Table.grid(padding=(0, 2))
    head.add_row("task", task["task_id"])
    head.add_row("type", task["task_type"])
    head.add_row("state", state_text(task["state"]))
    if task.get("tags"):
        head.add_row("tags", ", ".join(task["tags"]))
    if task.get("hidden"):
        head.add_row("hidden", plain(", ".join(task["hidden"])))
    if task["progress"] and not task["finished_at"]:
        head.add_row("progress", _progress(task))
    elif task["state"] == "RUNNING" and (silence := _silence(task)):
        head.add_row("progress", silence)
    for name in ("created_at", "run_at", "claimed_at", "started_at", "finished_at"):
        if task.get(name):
            head.add_row(name.replace("_", " "), task[name])
    for name, text in (*_terms(task), *_acts(task)):
        head.add_row(name, text)
    for reason in task.get("waiting_for") or ():
        fix = f" ({reason['fix']})" if reason["fix"] else ""
        head.add_row("waiting for", plain(f"{reason['code']}: {reason['message']}{fix}"))
    parts: list[RenderableType] = [head]
    if task["result"] is not None:
        result = plain(pretty_json(task["result"]))
        parts.append(Panel(Syntax(result, "json", word_wrap=True), title="result"))
    if task["error"]:
        parts.append(Panel(error_text(task["error"]), title="error", style="red"))
    if task.get("attempts"):
        parts.append(attempts_table(task["attempts"]))
    return Group(*parts)


def _terms(task: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield a task's schedule, unique key, expiry and callback, as rows."""
    if task.get("schedule"):
        yield "schedule", f"{task['schedule']}, for {task['scheduled_for']}"
    if unique := task.get("unique"):
        yield "unique key", plain(f"{unique['key']}, until {unique['until']}")
    if task.get("expires_at"):
        yield "expires at", task["expires_at"]
    if task.get("callback_url"):
        yield "callback", plain(task["callback_url"])
    if task.get("callback_task_id"):
        yield "callback task", task["callback_task_id"]


def _acts(task: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what people did to a task, and why it was cancelled, as rows."""
    if why := task.get("cancel_reason"):
        by = f" by {why['by']}" if why["by"] else ""
        message = f": {why['message']}" if why["message"] else ""
        yield "cancelled", plain(f"{why['code']}{by}{message}")
    for act in task.get("actions") or ():
        bulk = f" (bulk operation {act['bulk_id']})" if act["bulk_id"] else ""
        yield act["action"], plain(f"{act['at'][:19].replace('T', ' ')} by {act['by']}{bulk}")


def _progress(task: Mapping[str, Any]) -> RenderableType:
    """Return the progress of a task: in a terminal with a bar, and with the time that is left."""
    fraction, message = task["progress"]["fraction"], task["progress"]["message"] or ""
    parts = [
        "" if fraction is None else f"{fraction:.0%}",
        plain(message),
        durations.left_text(_seconds_left(task, fraction)),
        _silence(task),
    ]
    text = " ".join(parts[:2]).strip()
    text = ", ".join(part for part in (text, *parts[2:]) if part)
    if fraction is None or not console.is_terminal:
        return text
    bar = Table.grid(padding=(0, 2))
    bar.add_row(ProgressBar(total=1.0, completed=fraction, width=_BAR_WIDTH), text)
    return bar


def _seconds_left(task: Mapping[str, Any], fraction: float | None) -> float | None:
    began = durations.age(task["started_at"])
    silent = durations.age(last_sign(task))
    if task["state"] != "RUNNING" or fraction is None or began is None or silent is None:
        return None
    return durations.seconds_left(0.0, fraction, began - silent, silent)


def _silence(task: Mapping[str, Any]) -> str:
    return durations.silence_text(durations.age(last_sign(task)))


def last_sign(task: Mapping[str, Any]) -> str | None:
    """Return when the running attempt of a task last gave a sign of life, if that is known."""
    running = [item for item in task.get("attempts") or () if item["outcome"] is None]
    return running[-1].get("last_sign_at") if running else None


def attempts_table(attempts: Sequence[Mapping[str, Any]]) -> Table:
    """Return the history of a task's attempts."""
    table = Table(box=None, pad_edge=False)
    for name in ("ATTEMPT", "OUTCOME", "STARTED", "FINISHED", "HOST", "PID", "ERROR"):
        table.add_column(name)
    for item in attempts:
        error = item["error"]
        table.add_row(
            str(item["attempt"]),
            item["outcome"] or ("running" if item["started_at"] else "waiting"),
            (item["started_at"] or "")[11:23],
            (item["finished_at"] or "")[11:23],
            item.get("host") or "",
            str(item.get("pid") or ""),
            error_text(error)[:200] if error else "",
        )
    return table


def types_table(types: Sequence[Mapping[str, Any]]) -> Table:
    """Return the task types, with the fields of their payloads."""
    table = Table(box=None, pad_edge=False)
    for name in ("TYPE", "RUNS IN", "PAYLOAD", "ATTEMPTS", "TIMEOUT"):
        table.add_column(name)
    for item in types:
        schema = item["payload_schema"]
        required = schema.get("required", [])
        fields = [name if name in required else f"{name}?" for name in schema.get("properties", {})]
        timeout = item["timeout_seconds"]
        table.add_row(
            item["task_type"],
            item["kind"],
            ", ".join(fields) or "any",
            str(item["retry"]["max_attempts"]),
            "none" if timeout is None else f"{timeout:g} s",
        )
    return table


def health_table(report: Mapping[str, Any]) -> Table:
    """Return a table with the state of each part of the service."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, part in report.items():
        if not isinstance(part, Mapping):
            continue
        told = [
            f"{key} {value}" for key, value in part.items() if isinstance(value, int | str | float)
        ]
        details = ", ".join(item for item in told if not item.startswith("ok "))
        mark = Text("ok", style="green") if part.get("ok") else Text("away", style="red")
        table.add_row(name, mark, details)
    return table


def reasons_text(reasons: Sequence[Mapping[str, Any]]) -> str:
    """Return the reasons of `/health` as lines: each with its fix, and the end of a log."""
    lines = []
    for reason in reasons:
        since = reason.get("since")
        ago = f" (for {durations.duration_text(time.time() - since)})" if since else ""
        lines.append(plain(f"{reason['code']}: {reason['message']}{ago}; {reason['fix']}"))
        lines += [f"    {plain(line)}" for line in reason.get("log") or ()]
    return "\n".join(lines)
