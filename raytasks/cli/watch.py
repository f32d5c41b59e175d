"""`raytasks watch`: many tasks at once, live.

One stream brings the changes of state of all tasks. Only tasks that have run for a moment get a
second stream, for their progress. So a thousand tasks cost little more than ten.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Annotated

import typer
from rich.live import Live

from raytasks.cli import tables
from raytasks.cli.options import TASK_FAILED, AtService, OfTag, OfType, UsageError, at_service
from raytasks.cli.watch_board import Board, Row
from raytasks.client import (
    AsyncClient,
    GapEvent,
    LogEvent,
    NotFound,
    ProgressEvent,
    StateEvent,
)

MAX_FOLLOWED = 50
"""Maximum number of tasks with a stream of their own."""

_TICK_SECONDS = 0.2
_SHORT_SECONDS = 0.4
"""A task that runs for less than this, in seconds, needs no stream of its own."""

_LOOKS_AT_ONCE = 10


@at_service(json=None)
def watch(
    at: AtService,
    task_ids: Annotated[
        list[str] | None, typer.Argument(help="The tasks; without: all that run, and then come.")
    ] = None,
    task_type: OfType = None,
    tag: OfTag = None,
) -> None:
    """Watch tasks live, with their progress: until those that are named have ended, or Ctrl-C.

    If standard output is no terminal, each change is a line.
    """
    if task_ids and (task_type or tag):
        raise UsageError("give the ids of tasks, or --type and --tag, not both")
    if task_ids and not all(task_id.strip() for task_id in task_ids):
        raise UsageError("a task id is empty: leave it out")
    board = Board(only=tuple(dict.fromkeys(task_ids or ())))
    given = at.connection()

    async def run() -> None:
        async with AsyncClient(**given) as client, _shown(board):
            await Watch(client, board, task_type, tag).run()

    asyncio.run(run())
    if any(row.state != "COMPLETED" for row in board.rows.values() if board.only):
        raise typer.Exit(TASK_FAILED)


class Watch:
    """Keeps a board up to date."""

    def __init__(
        self, client: AsyncClient, board: Board, task_type: str | None, tag: str | None
    ) -> None:
        self._client = client
        self._board = board
        self._type, self._tag = task_type, tag
        self._stale = asyncio.Event()
        self._followed: dict[str, asyncio.Task[None]] = {}
        self._looks = asyncio.Semaphore(_LOOKS_AT_ONCE)

    async def run(self) -> None:
        """Run until all named tasks have ended; without names, for ever."""
        parts = [asyncio.ensure_future(part) for part in (self._feed(), self._look(), self._tick())]
        try:
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for part in done:
                part.result()
        finally:
            await _end([*parts, *self._followed.values()])

    async def _feed(self) -> None:
        """Apply the changes of state of all tasks.

        After each connection, all tasks are read again.
        """
        stream = self._client.all_events(self._type, self._tag, on_open=self._stale.set)
        async with aclosing(stream) as events:
            async for event in events:
                match event:
                    case StateEvent(data=data):
                        self._board.change(data)
                    case GapEvent():
                        self._stale.set()

    async def _look(self) -> None:
        """Read the tasks whenever changes may have been missed."""
        while True:
            await self._stale.wait()
            self._stale.clear()
            known = self._board.only or [row.task_id for row in self._board.live]
            await asyncio.gather(*(self._look_at(task_id) for task_id in known))
            if not self._board.only:
                filters = {"task_type": self._type, "tag": self._tag}
                async with aclosing(self._client.tasks(state="RUNNING", **filters)) as tasks:
                    async for task in tasks:
                        self._board.look(task)

    async def _look_at(self, task_id: str) -> None:
        async with self._looks:
            try:
                self._board.look(await self._client.get(task_id))
            except NotFound:
                if task_id in self._board.only:
                    raise
                self._board.rows.pop(task_id, None)  # pruned meanwhile

    async def _tick(self) -> None:
        """Give tasks that run for a while their own streams, and return when all is over."""
        while not self._board.over:
            for task_id in [name for name, stream in self._followed.items() if stream.done()]:
                self._followed.pop(task_id).result()
            for row in self._board.live:
                if len(self._followed) >= MAX_FOLLOWED:
                    break
                if self._is_long(row) and row.task_id not in self._followed:
                    self._followed[row.task_id] = asyncio.ensure_future(self._follow(row))
            await asyncio.sleep(_TICK_SECONDS)

    def _is_long(self, row: Row) -> bool:
        return row.state == "RUNNING" and time.monotonic() - row.since >= _SHORT_SECONDS

    async def _follow(self, row: Row) -> None:
        """Apply the progress of a task while this attempt runs."""
        with suppress(NotFound):
            events = self._client.events(row.task_id, f"{row.revision}.0")
            async with aclosing(events) as stream:
                async for event in stream:
                    match event:
                        case ProgressEvent(data=progress):
                            self._board.progress(row.task_id, progress)
                        case LogEvent():
                            self._board.sign(row.task_id)
                        case StateEvent(data=data):
                            self._board.change(data)
                            if data["state"] != "RUNNING":
                                return


@asynccontextmanager
async def _shown(board: Board) -> AsyncIterator[None]:
    """Show the board: live in a terminal, else as lines."""
    if not tables.console.is_terminal:
        board.tell = lambda line: tables.console.print(line, soft_wrap=True)
        yield
        return
    with Live(console=tables.console, auto_refresh=False) as live:

        async def draw() -> None:
            while True:
                live.update(board.renderable(tables.console.height), refresh=True)
                await asyncio.sleep(_TICK_SECONDS)

        drawing = asyncio.ensure_future(draw())
        try:
            yield
        finally:
            await _end([drawing])
            live.update(board.renderable(tables.console.height), refresh=True)


async def _end(parts: "list[asyncio.Task[None]]") -> None:
    for part in parts:
        part.cancel()
    await asyncio.gather(*parts, return_exceptions=True)
