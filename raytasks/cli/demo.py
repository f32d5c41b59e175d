"""`raytasks demo`: the whole service for a minute, with one real task of each type."""

import base64
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic_core import from_json
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table

from raytasks.cli import tables
from raytasks.cli.demo_service import DemoError, demo_service
from raytasks.client import Client, Task
from raytasks.handling.builtin_extra import BUILTIN, left_out

TASKS_SECONDS = 120.0
_LOOK_SECONDS = 0.1
_SAMPLES = Path(__file__).parents[1] / "builtin" / "samples"
_MODULES = (BUILTIN, f"{BUILTIN}._flaky")


def demo(
    keep: Annotated[bool, typer.Option(help="Leave the service running until Ctrl-C.")] = False,
    port: Annotated[int, typer.Option(help="The API's port; 0: a free one.")] = 0,
    breaks: Annotated[
        bool, typer.Option("--break", help="Run 1,000 tasks, and kill processes meanwhile.")
    ] = False,
) -> None:
    """Start the service here, run one real task of each built-in type, show the results, and stop.

    With --break, it runs 1,000 tasks instead. Meanwhile it kills a runner, the tracker and the API,
    and then counts what became of the tasks. The exit code is 1 if any is lost.

    Its own files go to a separate folder; the files of tasks go to RAYTASKS_ARTIFACTS_URL.
    """
    if breaks:
        _break(port, keep=keep)
    else:
        _show(port, keep=keep)


def _show(port: int, *, keep: bool) -> None:
    payloads = sample_payloads(_SAMPLES, without=left_out([BUILTIN]))
    with demo_service(port, _MODULES) as service, Client(service.url) as client:
        tasks = [_submit(client, task_type, payload) for task_type, payload in payloads.items()]
        tasks = _follow(client, tasks)
        failed = [task for task in tasks if task["state"] != "COMPLETED"]
        for task in tasks:
            tables.console.print(_result_panel(task, service.url if keep else None))
        if failed:
            raise DemoError(", ".join(f"{task['task_type']} is {task['state']}" for task in failed))
        all_done = f"All {len(tasks)} tasks are COMPLETED."
        _say_how_to_go_on(all_done, service.url if keep else None)
        if keep:
            service.keep()


def _break(port: int, *, keep: bool) -> None:
    from raytasks.cli import demo_break

    with demo_service(port, demo_break.MODULES, **demo_break.SETTINGS) as service:
        account = demo_break.break_service(service.url, service.process.pid)
        if keep:
            _summarize(account.lines)
            _say_how_to_go_on("", service.url, twice=account.twice)
            service.keep()
    if not keep:
        _summarize(account.lines)
    if not account.good:
        raise typer.Exit(1)


def _summarize(lines: Sequence[str]) -> None:
    tables.console.print()
    for line in lines:
        tables.console.print(line, soft_wrap=True)


def sample_payloads(samples: Path, without: Sequence[str] = ()) -> dict[str, Any]:
    """Return a payload for each task type except `without`, made from the sample files."""
    text = (samples / "essay.txt").read_text(encoding="utf-8")
    image = base64.b64encode((samples / "landscape.jpg").read_bytes()).decode()
    numbers = from_json((samples / "numbers.json").read_bytes())
    # The picture comes last, as its work keeps a CPU busy for a while.
    payloads = {
        "flaky": {"fail_times": 2},
        "text_processing": {"text": text},
        "ai_summarization": {"document": text, "max_sentences": 3},
        "batch_processing": numbers,
        "image_processing": {"image_url": f"data:image/jpeg;base64,{image}", "width": 320},
    }
    return {name: payload for name, payload in payloads.items() if name not in without}


def _submit(client: Client, task_type: str, payload: Any) -> Task:
    began = time.perf_counter()
    task = client.submit(task_type, payload)
    took = (time.perf_counter() - began) * 1000
    tables.console.print(
        f"POST /tasks/ {task_type}: 202 in {took:.1f} ms, id {task['task_id']}", soft_wrap=True
    )
    return task


def _follow(client: Client, tasks: Sequence[Task]) -> list[Task]:
    """Show the tasks live until all have ended, and return their final documents."""
    deadline = time.monotonic() + TASKS_SECONDS
    shown: dict[str, str] = {}
    table = Live(_live_table(tasks), console=tables.console, refresh_per_second=10)
    with table if tables.console.is_terminal else nullcontext():
        while True:
            tasks = [client.get(task["task_id"]) for task in tasks]
            table.update(_live_table(tasks))
            if not tables.console.is_terminal:
                _tell_changes(tasks, shown)
            if all(task["finished_at"] for task in tasks):
                return list(tasks)
            if time.monotonic() > deadline:
                raise DemoError(f"not all tasks ended in {TASKS_SECONDS:g} s")
            time.sleep(_LOOK_SECONDS)


def _tell_changes(tasks: Sequence[Task], shown: dict[str, str]) -> None:
    """Print each change of state as a line: the view without a terminal."""
    for task in tasks:
        text = f"  {task['task_type']}: {task['state']} (attempt {task['attempt']})"
        if shown.get(task["task_id"]) != text:
            shown[task["task_id"]] = text
            tables.console.print(text)


def _live_table(tasks: Sequence[Task]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("TYPE", "STATE", "ATTEMPT", "PROGRESS", "TOOK", ""):
        table.add_column(name)
    for task in tasks:
        progress: Mapping[str, Any] = task["progress"] or {}
        fraction = 1.0 if task["state"] == "COMPLETED" else progress.get("fraction") or 0.0
        error = task["error"]
        table.add_row(
            task["task_type"],
            tables.state_text(task["state"]),
            str(task["attempt"]),
            ProgressBar(total=1.0, completed=fraction, width=20),
            tables.seconds_text(task),
            tables.error_text(error) if error else tables.plain(progress.get("message") or ""),
        )
    return table


def _result_panel(task: Task, url: str | None) -> Panel:
    return Panel(
        _result_table(task, url), title=f"{task['task_type']}: {task['state']}", expand=True
    )


def _result_table(task: Task, url: str | None) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in summary_of(task, url).items():
        table.add_row(name, tables.plain(value))
    for attempt in task["attempts"] if len(task["attempts"]) > 1 else ():
        error = attempt["error"]
        reason = f": {tables.error_text(error)}" if error else ""
        table.add_row(f"attempt {attempt['attempt']}", f"{attempt['outcome']}{reason}")
    if url is not None:
        table.add_row("page", page_url(url, task["task_id"]))
    return table


def summary_of(task: Mapping[str, Any], url: str | None) -> dict[str, Any]:
    """Return the parts of a task's result that interest a person, by name.

    `url` is where the service stays. Without it no links are shown, as they would be dead.
    """
    if task["state"] != "COMPLETED":
        return {"error": tables.error_text(task["error"]) if task["error"] else "none is known"}
    result = task["result"]
    match task["task_type"]:
        case "text_processing":
            top = ", ".join(f"{item['word']} ({item['count']})" for item in result["top_words"][:6])
            counts = {
                key: result[f"{key}_count"] for key in ("word", "sentence", "line", "character")
            }
            return {**{f"{key}s": count for key, count in counts.items()}, "most used": top}
        case "ai_summarization":
            ratio = f"{result['compression_ratio']:.1%} of {result['original_length']} characters"
            return {"summary": result["summary"], "length": ratio, "method": result["method"]}
        case "batch_processing":
            wanted = ("operation", "processed_count", "failed_count")
            return {name: result[name] for name in wanted} | _figures(result["statistics"])
        case "image_processing":
            return _image_summary(result, url)
        case _:
            return dict(result)


def _figures(statistics: Mapping[str, Any]) -> dict[str, Any]:
    flat = {**statistics, **(statistics.get("percentiles") or {})}
    told = [f"{name} {value:g}" for name, value in flat.items() if isinstance(value, int | float)]
    return {"statistics": ", ".join(told)}


def _image_summary(result: Mapping[str, Any], url: str | None) -> dict[str, Any]:
    from raytasks.settings import load_settings

    folder = Path(load_settings().artifacts_url).resolve()
    analysis = result["analysis"]
    colors = ", ".join(f"{c['hex']} {c['fraction']:.0%}" for c in analysis["dominant_colors"])
    summary: dict[str, Any] = {"original": _picture(result["original"]), "colors": colors}
    summary |= {name: analysis[name] for name in ("brightness", "sharpness", "perceptual_hash")}
    for name in ("resized", "compressed"):
        path = result[f"{name}_url"]
        summary[name] = _picture(result[name])
        summary[f"{name} file"] = folder / path.removeprefix("/artifacts/")
        if url:
            summary[f"{name} URL"] = f"{url}{path}"
    return summary


def _picture(about: Mapping[str, Any]) -> str:
    return f"{about['width']}×{about['height']} {about['format']}, {about['bytes']:,} bytes"


def _say_how_to_go_on(done: str, url: str | None, twice: Sequence[str] = ()) -> None:
    """Say what can be done next, with the service that stays at `url`, or without one.

    `twice` has the ids of the tasks that ran twice.
    """
    me = command_name()
    submit = f"""{me} submit text_processing '{{"text": "Hello, Ray."}}' --wait"""
    if url is None:
        lines = [
            f"{done} How to go on:",
            f"  {me} up        the service, until Ctrl-C; then in another terminal:",
            f"  {submit}",
            f"  {me} demo --keep        this again, with a service that stays",
            f"  {me} demo --break       1,000 tasks, and processes that are killed meanwhile",
        ]
    else:
        body = '{"task_type": "text_processing", "payload": {"text": "Hello, Ray."}}'
        lines = [
            f"{done} The service stays at {url} until Ctrl-C:".lstrip(),
            f"  curl {url}/tasks/ -H 'Content-Type: application/json' -d '{body}'",
            f"  {submit} --url {url}",
            f"  {page_url(url)}        the page: all tasks, live",
            *(f"  {page_url(url, task_id)}        a task that ran twice" for task_id in twice[:1]),
            f"  {url}/docs        the API's documents, to try out in a browser",
        ]
    tables.console.print()
    for line in lines:
        tables.console.print(line, soft_wrap=True, markup=False)


def page_url(url: str, task_id: str | None = None) -> str:
    """Return the URL of the page of the service at `url`, or of a task there."""
    return f"{url}/ui/" if task_id is None else f"{url}/ui/#/tasks/{task_id}"


def command_name() -> str:
    """Return how to call this command here: by its name alone, or by its path."""
    here = Path(sys.argv[0]).absolute()
    if here.name == "__main__.py":
        return "python -m raytasks"
    if shutil.which(here.name) == str(here):
        return here.name
    with suppress(ValueError):
        return str(here.relative_to(Path.cwd()))
    return str(here)
