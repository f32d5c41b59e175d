"""`raytasks submit-many`: the tasks of a file, in batches, so that it can be repeated safely."""

import re
import shlex
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Any, cast

import typer
from pydantic_core import to_json
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from raytasks.cli.foreground import ending_in_order
from raytasks.cli.options import AtService, UsageError, at_service, batched, standard_input
from raytasks.cli.output import OutputLost
from raytasks.client import (
    MAX_IN_BATCH,
    ApiError,
    BadArgument,
    Client,
    Conflict,
    ServiceUnavailable,
    Submission,
    Submitted,
)
from raytasks.model.bounds import MAX_MANY_KEY, is_idempotency_key
from raytasks.model.strict_json import parse_json

_EXAMPLE = '{"task_type": "text_processing", "payload": {"text": "Hello."}}'
_POINTER = re.compile(r"/tasks/(\d+)(.*)", re.DOTALL)


@dataclass(frozen=True)
class Line:
    """A task of the file: the number of its line, and the offset in bytes of the line's end."""

    number: int
    end: int
    submission: Submission


@at_service()
def submit_many(
    at: AtService,
    file: Annotated[
        str, typer.Argument(help="A file with a task in JSON a line; - is standard input.")
    ],
    key: Annotated[
        str | None,
        typer.Option(
            help="An idempotency key for the whole file: begun again, it doubles no task."
        ),
    ] = None,
    batch_size: Annotated[
        int,
        typer.Option(
            min=1, max=MAX_IN_BATCH, help="How many tasks go together; for one key, the same."
        ),
    ] = MAX_IN_BATCH,
) -> None:
    """Submit the tasks of a file, and print their ids.

    Each line is an object such as {"task_type": "text_processing", "payload": {"text": "Hello."}},
    with priority, tags and so on if need be. A batch is accepted whole or not at all. With --json
    each task is printed in a line of its own.
    """
    if key is not None and not is_idempotency_key(key, MAX_MANY_KEY):
        raise UsageError(
            f"--key: use 1 to {MAX_MANY_KEY} printable ASCII characters, without a space at either "
            "end"
        )
    sending = _Sending(uuid.uuid4().hex if key is None else key)
    name = "standard input" if file == "-" else file
    with (
        at.connect() as client,
        _opened(file) as (lines, size),
        ending_in_order(),
        sending.explained(),
        _progress(size) as advance,
    ):
        for batch in batched(_tasks_of(lines, name), batch_size):
            for task in sending.send(client, batch):
                typer.echo(to_json(task) if at.as_json else task["task_id"])
            advance(batch[-1].end, sending.accepted)
    if not sending.accepted:
        raise UsageError(f"{name} has no tasks: write one a line, such as {_EXAMPLE}")
    held = f"; {sending.held} of them hold a unique key already" if sending.held else ""
    typer.echo(f"{sending.accepted} tasks were accepted{held}", err=True)


class _Sending:
    """The progress through a file: what was accepted, and how to continue if it stops.

    As many as are `held` are no new tasks, but open ones that hold the unique keys.
    """

    def __init__(self, key: str) -> None:
        self.accepted = 0
        self.held = 0
        self._key = key
        self._batches = 0
        self._sent: Sequence[Line] = ()

    def send(self, client: Client, batch: Sequence[Line]) -> list[Submitted]:
        """Submit a batch. Its key comes from the file's key and the batch's number."""
        self._sent = batch
        submissions = [line.submission for line in batch]
        key = f"{self._key}/{self._batches}"
        tasks = client.submit_many(submissions, idempotency_key=key)
        self.accepted += len(tasks)
        self.held += sum(task["duplicate"] for task in tasks)
        self._batches += 1
        return tasks

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Add to an error which lines it concerns, and how to continue."""
        try:
            yield
        except (UsageError, BadArgument) as error:
            raise UsageError(f"{error}{self._hint() if self.accepted else ''}") from None
        except ServiceUnavailable as error:
            raise ServiceUnavailable(f"{error}{self._hint()}") from None
        except ApiError as error:
            raise type(error)(error.status, self._problem(error), error.retry_after) from None
        except OutputLost as error:
            raise OutputLost(f"{error}{self._hint()}") from error
        except BaseException:  # Ctrl-C, SIGTERM, or a fault
            typer.echo(f"stopped{self._hint()}", err=True)
            raise

    def _hint(self) -> str:
        option = f"--key {shlex.quote(self._key)}"
        return f"; {self.accepted} tasks were accepted; to go on, run it again with {option}"

    def _problem(self, error: ApiError) -> dict[str, Any]:
        detail = str(error.problem.get("detail") or "")
        if isinstance(error, Conflict):
            detail += "; with one --key, the file and --batch-size must stay as they were"
        elif self.accepted:
            detail += self._hint()
        errors = [{**item, "pointer": self._place(item.get("pointer"))} for item in error.errors]
        return {**error.problem, "detail": detail, "errors": errors}

    def _place(self, pointer: object) -> str:
        """Return a place in the batch as a place in the file."""
        found = _POINTER.fullmatch(str(pointer or ""))
        if found is None or int(found[1]) >= len(self._sent):
            return str(pointer or "")
        return f"line {self._sent[int(found[1])].number} {found[2]}".rstrip()


def _tasks_of(lines: Iterable[bytes], name: str) -> Iterator[Line]:
    """Yield the tasks of a file. Empty lines are skipped. Raises `UsageError`."""
    end = 0
    for number, line in enumerate(lines, 1):
        end += len(line)
        if not line.strip():
            continue
        try:
            value = parse_json(line)
        except ValueError as error:
            raise UsageError(f"line {number} of {name} is not JSON: {error}") from None
        if not isinstance(value, dict):
            raise UsageError(f"line {number} of {name} is no task: write it as {_EXAMPLE}")
        yield Line(number, end, cast("Submission", value))


@contextmanager
def _opened(file: str) -> Iterator[tuple[IO[bytes], int | None]]:
    """Open the file, and yield its size in bytes, or None if it has none.

    Raises `UsageError`.
    """
    if file == "-":
        yield standard_input(), None
        return
    try:
        path = Path(file)
        size, stream = path.stat().st_size, path.open("rb")
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {file}: {error}") from None
    with stream:
        yield stream, size


@contextmanager
def _progress(size: int | None) -> Iterator[Callable[[int, int], None]]:
    """Show the progress: a bar, or lines if there is no terminal."""
    console = Console(stderr=True)
    if not console.is_terminal or sys.stdout.isatty():

        def tell(end: int, accepted: int) -> None:
            percent = f" ({end / size:.0%})" if size else ""
            typer.echo(f"{accepted} tasks accepted{percent}", err=True)

        yield tell
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as bar:
        item = bar.add_task("0 tasks", total=size)
        yield lambda end, accepted: bar.update(
            item, completed=end, description=f"{accepted:,} tasks"
        )
