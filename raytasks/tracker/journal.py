"""The lines of the service's log about attempts, ticks, runners and operations."""

import asyncio
from collections.abc import Callable

from msgspec import MsgspecError, Struct, json

from raytasks.model.bulk_operations import BulkOperation
from raytasks.model.states import LossCause, OutcomeKind, State
from raytasks.model.tasks import Running
from raytasks.observe.log_record import FieldValue
from raytasks.observe.log_stream import LogStream
from raytasks.protocol.messages import AttemptLog, Outcome
from raytasks.protocol.queries import LogLines
from raytasks.protocol.service_log import LogPage
from raytasks.tracker.fleet import Fleet, RunnerState
from raytasks.tracker.inbox import Inbox
from raytasks.tracker.tick import TickInput, TickResult

MAX_SUCCESSES = 100
"""Number of lines per second about attempts that went well. Further ones are counted only."""

SLOW_TICK_SECONDS = 1.0
"""Seconds of a tick from which on the log tells of it."""

MAX_ERROR_CHARACTERS = 300

_MAX_GONE = 1000
_WINDOW_SECONDS = 1.0
_WELL = frozenset({OutcomeKind.SUCCEEDED, OutcomeKind.SNOOZED, OutcomeKind.RELEASED})
_INFO = _WELL | {OutcomeKind.CANCELLED}
_WORDS = {
    OutcomeKind.SUCCEEDED: "succeeded",
    OutcomeKind.FAILED: "failed",
    OutcomeKind.SNOOZED: "snoozed",
    OutcomeKind.CANCELLED: "was cancelled",
    OutcomeKind.RELEASED: "was given back",
    OutcomeKind.LOST: "was lost",
    OutcomeKind.TIMED_OUT: "timed out",
    OutcomeKind.OUT_OF_MEMORY: "ran out of memory",
}

Fields = dict[str, FieldValue | None]


class Journal:
    """Writes what the tracker does into the log. All methods belong to the tracker's event loop.

    Under load, the lines about attempts that went well are summarized each second, by type. Other
    lines are never left out. `monotonic` measures the seconds.
    """

    def __init__(self, stream: LogStream, fleet: Fleet, monotonic: Callable[[], float]) -> None:
        self.stream = stream
        self._fleet = fleet
        self._monotonic = monotonic
        self._gone: dict[str, RunnerState] = {}
        self._window = -_WINDOW_SECONDS
        self._written = 0
        self._counted: dict[tuple[str, OutcomeKind], list[float]] = {}
        self._timer: asyncio.TimerHandle | None = None

    # A tick

    def record(self, taken: Inbox, work: TickInput, done: TickResult) -> None:
        """Log a tick that was committed. Call it while runners still hold what has ended."""
        for runner_id, lines in taken.logs:
            self._log_lines(runner_id, lines)
        if work.outcomes:
            self._begin_window()
        for (running, outcome), item in zip(work.outcomes, done.settled, strict=True):
            if outcome.kind in _WELL:
                self._log_well(running, outcome, item.state)
            else:
                self._log_end(running, outcome, item.state)
        for runner_id, outcome in taken.late:
            self._log_late(runner_id, outcome)
        if done.claimed and self.stream.wants("DEBUG"):
            for running, _ in done.claimed:
                message = f"attempt {running.attempt} of {running.task_type} was claimed"
                self.stream.write("DEBUG", message, self._fields(running))

    def note_tick(self, seconds: float, work: TickInput) -> None:
        """Log a tick if it was slow."""
        if seconds < SLOW_TICK_SECONDS:
            return
        self.stream.write(
            "WARNING",
            f"a tick took {seconds:.1f} seconds: database or machine is slow",
            {
                "seconds": round(seconds, 3),
                "submissions": len(work.submissions),
                "outcomes": len(work.outcomes),
            },
        )

    def close(self) -> None:
        """Write the summary of what was only counted so far."""
        self._summarize()

    def _log_lines(self, runner_id: str, logged: AttemptLog) -> None:
        running = self._fleet.find(runner_id, logged.task_id, logged.attempt)
        if running is None:
            return
        fields = {"logger": f"raytasks.handlers.{running.task_type}", **self._fields(running)}
        for line in logged.lines:
            self.stream.write(line.level, line.message, fields, at=line.at)

    def _begin_window(self) -> None:
        """Let as many lines pass as a second may have, if the last second is over."""
        now = self._monotonic()
        if now - self._window >= _WINDOW_SECONDS:
            self._summarize()
            self._window, self._written = now, 0

    def _log_well(self, running: Running, outcome: Outcome, state: State) -> None:
        if self._written < MAX_SUCCESSES:
            self._written += 1
            self._log_end(running, outcome, state)
            return
        counted = self._counted.get((running.task_type, outcome.kind))
        seconds = outcome.finished_at - outcome.started_at
        if counted is not None:
            counted[0] += 1
            counted[1] += seconds
            return
        self._counted[running.task_type, outcome.kind] = [1, seconds]
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_WINDOW_SECONDS, self._summarize)

    def _summarize(self) -> None:
        """Write one line for each type and outcome that was only counted."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        counted, self._counted = self._counted, {}
        for (task_type, kind), (count, seconds) in counted.items():
            self.stream.write(
                "INFO",
                f"{count:.0f} more attempts of {task_type} {_plural(kind)}; with more than "
                f"{MAX_SUCCESSES} in a second, they have no line each",
                {
                    "task_type": task_type,
                    "outcome": kind.value,
                    "count": int(count),
                    "seconds": round(seconds, 6),
                },
            )

    def _log_end(self, running: Running, outcome: Outcome, state: State) -> None:
        kind = outcome.kind
        self.stream.write(
            "INFO" if kind in _INFO else "WARNING",
            f"attempt {running.attempt} of {running.task_type} {_WORDS[kind]}",
            {**self._fields(running), **_end(outcome), "state": state.value},
        )

    def _log_late(self, runner_id: str, outcome: Outcome) -> None:
        runner = self._fleet.runners.get(runner_id)
        self.stream.write(
            "WARNING",
            f"attempt {outcome.attempt} ended after it was given up; its outcome does not count",
            {
                "task_id": outcome.task_id,
                "attempt": outcome.attempt,
                **_of_runner(runner_id, runner),
                **_end(outcome),
            },
        )

    def _fields(self, running: Running) -> Fields:
        runner_id = running.runner_id
        runner = self._fleet.runners.get(runner_id) or self._gone.get(runner_id)
        return {
            "task_id": running.task_id,
            "task_type": running.task_type,
            "namespace": running.namespace,
            "attempt": running.attempt,
            "trace_id": running.trace_id,
            **_of_runner(runner_id, runner),
        }

    # Runners

    def runner_came(self, runner: RunnerState) -> None:
        """Log that a runner has called for the first time."""
        message = f"runner {runner.name} is up"
        self.stream.write("INFO", message, _of_runner(runner.runner_id, runner))

    def runner_gone(self, runner: RunnerState, reason: str, cause: LossCause) -> None:
        """Log that a runner is gone, with what it held."""
        self._gone[runner.runner_id] = runner
        if len(self._gone) > _MAX_GONE:
            del self._gone[next(iter(self._gone))]
        # The tracker ends runners itself: to replace them, or to stop.
        level = "INFO" if cause is LossCause.OUTSIDE and not runner.held else "WARNING"
        fields = {**_of_runner(runner.runner_id, runner), "attempts": len(runner.held)}
        self.stream.write(level, f"runner {runner.name or 'of before'} is gone: {reason}", fields)

    # The rest

    def took_over(self, epoch: int, running: int, waiting: int) -> None:
        """Log that this tracker owns the database from now on."""
        message = f"this tracker has taken over the database, as its epoch {epoch}"
        fields: Fields = {"epoch": epoch, "running": running, "waiting": waiting}
        self.stream.write("INFO", message, fields)

    def bulk_begun(self, operation: BulkOperation) -> None:
        """Log that a bulk operation was stored."""
        message = f"bulk {operation.filter.action.value} {operation.bulk_id} begins"
        self.stream.write("INFO", message, _of_bulk(operation))

    def bulk_done(self, operation: BulkOperation, changed: int) -> None:
        """Log that a bulk operation is done. `changed` is how many tasks it has changed."""
        message = f"bulk {operation.filter.action.value} {operation.bulk_id} is done"
        self.stream.write("INFO", message, {**_of_bulk(operation), "changed": changed})


async def lines_of(stream: LogStream, asked: LogLines) -> LogPage:
    """Answer a query for lines of the log."""
    if not asked.stream:
        return stream.newest(asked.newest, asked.filter)
    return await stream.wait(asked.stream, asked.after, asked.seconds, asked.filter)


class _Error(Struct):
    type: str = ""
    message: str = ""


_error_of = json.Decoder(_Error).decode


def error_line(error: str | None) -> str | None:
    """Return an error (JSON text) as one line, `TYPE: MESSAGE`; None for none."""
    if error is None:
        return None
    try:
        found = _error_of(error)
    except MsgspecError:
        return None
    message = " ".join(found.message[: 2 * MAX_ERROR_CHARACTERS].split())
    return f"{found.type}: {message}"[:MAX_ERROR_CHARACTERS] if message else found.type


def _end(outcome: Outcome) -> Fields:
    found: Fields = {
        "outcome": outcome.kind.value,
        "seconds": round(max(0.0, outcome.finished_at - outcome.started_at), 6),
        "error": error_line(outcome.error),
    }
    # A remote attempt runs elsewhere than its runner.
    own = {"host": outcome.host, "pid": outcome.pid, "node": outcome.node_id}
    return found | {name: value for name, value in own.items() if value is not None}


def _of_runner(runner_id: str, runner: RunnerState | None) -> Fields:
    if runner is None:
        return {"runner": runner_id}
    return {
        "runner": runner.name or runner_id,
        "pool": runner.pool or None,
        "host": runner.host,
        "pid": runner.pid,
        "node": runner.node_id,
    }


def _of_bulk(operation: BulkOperation) -> Fields:
    return {
        "bulk_id": operation.bulk_id,
        "namespace": operation.filter.namespace,
        "matched": operation.matched,
    }


def _plural(kind: OutcomeKind) -> str:
    return _WORDS[kind].replace("was ", "were ")
