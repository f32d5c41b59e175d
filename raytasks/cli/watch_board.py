"""The board of `raytasks watch`: the state of many tasks, and how it looks."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from raytasks.cli import tables
from raytasks.cli.durations import age, left_text, seconds_left, silence_text
from raytasks.cli.events import progress_text
from raytasks.client import Task
from raytasks.client.documents import ProgressData, StateData
from raytasks.model.states import FINAL

KEPT_AFTER_END = 200
"""How many ended tasks are kept, if more come all the time."""

_BAR_WIDTH = 24
_STEP = 0.1
"""How much further a task must be for another line, if there is no terminal."""


@dataclass
class Row:
    """The known state of one task: as of change `revision`, and since when.

    The `first` progress of its attempt has a time and a fraction. It last advanced at `advanced_at`
    and gave a sign of life at `sign_at`. All times are of one clock that only goes forward.
    """

    task_id: str
    task_type: str
    state: str
    attempt: int
    revision: int
    since: float
    fraction: float | None = None
    message: str | None = None
    told: float = 0.0
    first: tuple[float, float] | None = None
    advanced_at: float = 0.0
    sign_at: float = 0.0

    def __post_init__(self) -> None:
        self.sign_at = self.sign_at or self.since

    @property
    def final(self) -> bool:
        """Whether the task has ended."""
        return self.state in FINAL

    def outlook(self, now: float) -> str:
        """Return how long its attempt still takes, and how long it has been silent, in words."""
        if self.state != "RUNNING":
            return ""
        left = None
        if self.first is not None and self.fraction is not None:
            began, done = self.first
            seconds = self.advanced_at - began
            left = seconds_left(done, self.fraction, seconds, now - self.advanced_at)
        parts = (left_text(left), silence_text(now - self.sign_at))
        return ", ".join(part for part in parts if part)


@dataclass
class Board:
    """All rows by task id. With `only`, other tasks are ignored, and the board has an end.

    `tell` is called with a line for each change.
    """

    only: Sequence[str] = ()
    tell: Callable[[str], None] | None = None
    rows: dict[str, Row] = field(default_factory=dict)
    ended: Counter[str] = field(default_factory=Counter)

    @property
    def over(self) -> bool:
        """Whether all named tasks have ended."""
        return bool(self.only) and all(
            task_id in self.rows and self.rows[task_id].final for task_id in self.only
        )

    @property
    def live(self) -> list[Row]:
        """The tasks that have not ended."""
        return [row for row in self.rows.values() if not row.final]

    def look(self, task: Task) -> None:
        """Apply a task as the API has answered it."""
        self._change(
            task["task_id"], task["task_type"], task["state"], task["attempt"], task["revision"]
        )
        row = self.rows.get(task["task_id"])
        if row is not None and (silent := age(tables.last_sign(task))) is not None:
            row.sign_at = time.monotonic() - max(0.0, silent)
        if row is not None and not row.final and task["progress"]:
            progress = task["progress"]
            self._advance(row, task["attempt"], progress["fraction"], progress["message"])

    def change(self, data: StateData) -> None:
        """Apply a change of state. An older one than the known state changes nothing."""
        if not self.only or data["task_id"] in self.only:
            self._change(
                data["task_id"],
                data["task_type"],
                data["state"],
                data["attempt"],
                data["revision"],
                f" {data['action']} by {data['by']}" if data.get("by") else "",
            )

    def progress(self, task_id: str, data: ProgressData) -> None:
        """Apply the progress of a task."""
        row = self.rows.get(task_id)
        if row is not None:
            row.sign_at = time.monotonic()
            self._advance(row, data["attempt"], data["fraction"], data["message"])

    def sign(self, task_id: str) -> None:
        """Note a sign of life of a task, such as a log line."""
        row = self.rows.get(task_id)
        if row is not None:
            row.sign_at = time.monotonic()

    def renderable(self, height: int) -> RenderableType:
        """Return the board as it is shown: running tasks first, in at most `height` lines."""
        order = {"RUNNING": 0, "RETRYING": 1, "PENDING": 2}
        rows = sorted(self.rows.values(), key=lambda row: (order.get(row.state, 3), -row.since))
        shown = rows[: max(height - 3, 1)]
        table = Table(box=None, pad_edge=False)
        for name in ("TASK", "TYPE", "STATE", "ATTEMPT", "PROGRESS", ""):
            table.add_column(name, no_wrap=True, min_width=36 if name == "TASK" else None)
        for row in sorted(shown, key=lambda row: row.task_id):
            fraction = 1.0 if row.state == "COMPLETED" else row.fraction
            bar = ProgressBar(
                total=1.0,
                completed=fraction or 0.0,
                width=_BAR_WIDTH,
                pulse=row.state == "RUNNING" and fraction is None,
            )
            said = (progress_text(fraction, row.message), row.outlook(time.monotonic()))
            text = ", ".join(part for part in said if part)
            state = tables.state_text(row.state)
            table.add_row(row.task_id, row.task_type, state, str(row.attempt or ""), bar, text)
        return Group(table, Text(self.summary(hidden=len(rows) - len(shown)), style="dim"))

    def summary(self, hidden: int = 0) -> str:
        """Return how many tasks are in each state."""
        counts = Counter(row.state for row in self.live) + self.ended
        parts = [f"{counts[state]} {state}" for state in tables.COLORS if counts[state]]
        more = f"; {hidden} not shown" if hidden else ""
        return (", ".join(parts) or "no tasks run now") + more

    def _change(
        self,
        task_id: str,
        task_type: str,
        state: str,
        attempt: int,
        revision: int,
        person: str = "",
    ) -> None:
        row = self.rows.get(task_id)
        if row is None and not self.only and state == "PENDING":
            return  # its progress is counted from when it runs
        if row is not None and revision <= row.revision:
            return
        if row is not None and row.final:
            self.ended[row.state] -= 1  # a person has retried it
        row = Row(task_id, task_type, state, attempt, revision, time.monotonic())
        self.rows[task_id] = row
        if row.final:
            self.ended[state] += 1
            self._forget()
        if self.tell is not None:
            number = f" attempt {attempt}" if attempt else ""
            self.tell(f"{task_id} {task_type} {state}{number}{person}")

    def _advance(self, row: Row, attempt: int, fraction: float | None, message: str | None) -> None:
        if row.final or attempt != row.attempt:
            return
        news = message != row.message or (fraction or 0.0) >= row.told + _STEP
        if fraction is not None and fraction != row.fraction:
            row.advanced_at = time.monotonic()
            if row.first is None or fraction < row.first[1]:
                row.first = (row.advanced_at, fraction)
        row.fraction, row.message = fraction, message
        if news and self.tell is not None:
            row.told = fraction or 0.0
            self.tell(f"{row.task_id} {row.task_type} {progress_text(fraction, message)}")

    def _forget(self) -> None:
        """Forget the tasks that ended first, unless they were named."""
        if self.only:
            return
        final = [row.task_id for row in self.rows.values() if row.final]
        for task_id in final[: max(len(final) - KEPT_AFTER_END, 0)]:
            del self.rows[task_id]
