"""`raytasks demo`: the whole service for a minute, with one real task of each type."""

import base64
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic_core import from_json
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table

from raytasks.cli import tables
from raytasks.client import Client, Task
from raytasks.handling.builtin_extra import BUILTIN, left_out
from raytasks.model.tasks import RaytasksError

START_SECONDS = 120.0
TASKS_SECONDS = 120.0
_STOP_SECONDS = 60.0
_LOOK_SECONDS = 0.1
_SAMPLES = Path(__file__).parents[1] / "builtin" / "samples"
_MODULES = f"{BUILTIN},{BUILTIN}._flaky"


class DemoError(RaytasksError):
    """The demonstration failed. The text says what went wrong."""


def demo(
    keep: Annotated[bool, typer.Option(help="Leave the service running until Ctrl-C.")] = False,
    port: Annotated[int, typer.Option(help="The API's port; 0: a free one.")] = 0,
) -> None:
    """Start the service here, run one real task of each built-in type, show the results, and stop.

    Its own files go to a separate folder; the files of tasks go to RAYTASKS_ARTIFACTS_URL.
    """
    payloads = sample_payloads(_SAMPLES, without=left_out([BUILTIN]))
    folder = Path(tempfile.mkdtemp(prefix="raytasks-demo-"))
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    with _service(folder, port) as (url, process), Client(url) as client:
        tasks = [_submit(client, task_type, payload) for task_type, payload in payloads.items()]
        tasks = _follow(client, tasks)
        failed = [task for task in tasks if task["state"] != "COMPLETED"]
        for task in tasks:
            tables.console.print(_result_panel(task, url if keep else None))
        if failed:
            raise DemoError(", ".join(f"{task['task_type']} is {task['state']}" for task in failed))
        _say_how_to_go_on(len(tasks), url if keep else None)
        if keep:
            _keep(process)


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


def environment_of(folder: Path) -> dict[str, str]:
    """Return the environment of the demo's service, which keeps its own files in a folder.

    The names are those that win, so a project's `.env` changes none of them.
    """
    from raytasks.settings import PREFIX, sqlite_url

    own = {
        "DATABASE_URL": sqlite_url(folder / "tasks.db"),
        "REDIS_URL": "",
        "RAY_ADDRESS": "",
        "API_KEYS": "",  # the service is for this machine alone
        "DEBUG": "true",
        "TASK_MODULES": _MODULES,
        "STOP_GRACE_SECONDS": "1",
    }
    settings = {f"{PREFIX}{name}": value for name, value in own.items()}
    return {**os.environ, "RAY_ADDRESS": "", **settings}


@contextmanager
def _service(folder: Path, port: int) -> "Iterator[tuple[str, subprocess.Popen[bytes]]]":
    """Run `raytasks up` with its files in a folder; yield its URL and the process."""
    from raytasks.cluster.ingress import free_port

    port = port or free_port(8000)
    url = f"http://127.0.0.1:{port}"
    log = folder / "up.log"
    command = [sys.executable, "-m", "raytasks", "up", f"--port={port}"]
    tables.console.print(f"Starting Ray and the service; its log is {log}", soft_wrap=True)
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own command, no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment_of(folder),
            # A Ctrl-C in the terminal is for this process only, which then stops the service once.
            start_new_session=True,
        )
    try:
        _wait_until_ready(process, log)
        yield url, process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            code = process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise DemoError(f"the service did not stop; see {log}") from None
        except KeyboardInterrupt:
            process.kill()  # Ray ends with it
            raise
    if code != 0:
        raise DemoError(f"the service ended with exit code {code}; see {log}")
    tables.console.print("The service has stopped.")


def _keep(process: "subprocess.Popen[bytes]") -> None:
    """Return at Ctrl-C. Raises `DemoError` if the service ends by itself."""
    with suppress(KeyboardInterrupt):
        code = process.wait()
        raise DemoError(f"the service has ended by itself, with exit code {code}")


def _end(number: int, _frame: object) -> None:
    sys.exit(128 + number)  # through the `finally` that stops the service


def _wait_until_ready(process: "subprocess.Popen[bytes]", log: Path) -> None:
    from raytasks.cli.up import READY

    deadline = time.monotonic() + START_SECONDS
    told = 0
    while True:
        lines = log.read_text(errors="replace").splitlines()
        for line in lines[told:]:
            tables.console.print(f"  {line}", style="dim", markup=False, soft_wrap=True)
        told = len(lines)
        if any(line.startswith(READY) for line in lines):
            return
        if process.poll() is not None:
            raise DemoError(f"the service did not start; see {log}")
        if time.monotonic() > deadline:
            raise DemoError(f"the service was not ready after {START_SECONDS:g} s; see {log}")
        time.sleep(_LOOK_SECONDS)


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


def _say_how_to_go_on(count: int, url: str | None) -> None:
    """Say what can be done next, with the service that stays at `url`, or without one."""
    me = command_name()
    submit = f"""{me} submit text_processing '{{"text": "Hello, Ray."}}' --wait"""
    if url is None:
        lines = [
            f"All {count} tasks are COMPLETED. How to go on:",
            f"  {me} up        the service, until Ctrl-C; then in another terminal:",
            f"  {submit}",
            f"  {me} demo --keep        this again, with a service that stays",
        ]
    else:
        body = '{"task_type": "text_processing", "payload": {"text": "Hello, Ray."}}'
        lines = [
            f"All {count} tasks are COMPLETED. The service stays at {url} until Ctrl-C:",
            f"  curl {url}/tasks/ -H 'Content-Type: application/json' -d '{body}'",
            f"  {submit} --url {url}",
            f"  {url}/ui/         the page: all tasks, live",
            f"  {url}/docs        the API's documents, to try out in a browser",
        ]
    tables.console.print()
    for line in lines:
        tables.console.print(line, soft_wrap=True, markup=False)


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
