"""The outbox of a runner: its news until the tracker acknowledges it, and parts it cannot send."""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from raytasks.model.retry import MAX_SECONDS
from raytasks.model.states import OutcomeKind
from raytasks.model.task_events import LogLine
from raytasks.protocol import codec as wire
from raytasks.protocol.messages import Exchange, Outcome, Report
from raytasks.runner.error_report import describe_error
from raytasks.runner.log_book import LogBook

Key = tuple[str, int]
"""An attempt: the task's id, and the attempt's number."""

MAX_OUTCOME_BYTES = 1_000_000
"""How much text of results and errors one exchange carries, unless a single outcome has more.

The tracker refuses outcomes that it has no room for, and asks for them again.
"""

_LATEST = 1e12  # seconds since the epoch: some 30,000 years


class NotTold(Exception):
    """The outcome of an attempt cannot be sent to the tracker; a failure is sent instead."""


@dataclass
class Outbox:
    """The news that is not sent yet, and the news that is sent and not yet acknowledged."""

    unsent: list[Outcome] = field(default_factory=list)
    unacknowledged: dict[Key, Outcome] = field(default_factory=dict)
    progress: dict[str, Report] = field(default_factory=dict)
    checkpoints: dict[int, tuple[Report, "asyncio.Future[None]"]] = field(default_factory=dict)
    unsent_checkpoints: list[Report] = field(default_factory=list)
    beginnings: dict[int, Report] = field(default_factory=dict)
    unsent_beginnings: list[Report] = field(default_factory=list)
    logs: LogBook = field(default_factory=LogBook)

    def acknowledge_checkpoint(self, number: int) -> None:
        """Note that a checkpoint is on disk.

        An earlier one of the same attempt is not needed any more. Sent again, it would replace the
        later one.
        """
        report, _ = self.checkpoints.get(number, (None, None))
        if report is None:
            return
        for known, acknowledged in self.checkpoints.values():
            same = (known.task_id, known.attempt) == (report.task_id, report.attempt)
            if same and known.number <= number and not acknowledged.done():
                acknowledged.set_result(None)

    def forget(self, key: Key) -> None:
        """Drop the reports and log lines of an attempt; who waits for a checkpoint is cancelled."""
        for report, acknowledged in self.checkpoints.values():
            if (report.task_id, report.attempt) == key and not acknowledged.done():
                acknowledged.cancel()
        self.beginnings = {
            number: report
            for number, report in self.beginnings.items()
            if (report.task_id, report.attempt) != key
        }
        self.logs.drop(key)

    def say_again(self) -> None:
        """Send everything again that was sent and not acknowledged."""
        self.unsent = [*self.unacknowledged.values(), *self.unsent]
        self.unacknowledged = {}
        self.unsent_checkpoints = [
            report for report, acknowledged in self.checkpoints.values() if not acknowledged.done()
        ]
        self.unsent_beginnings = [*self.beginnings.values()]
        self.logs.send_again()

    def say_last(self, exchange: Exchange) -> None:
        """Send everything again that is not acknowledged, this exchange's outcomes last."""
        later = [self.unacknowledged.pop(key_of(item), None) for item in exchange.outcomes]
        self.say_again()
        self.unsent += [item for item in later if item is not None]

    def mend(self) -> list[str]:
        """Replace every part that cannot be sent or understood, and return which these were.

        An outcome becomes a failure that says why. A log line becomes a note that a line was lost.
        Progress and beginnings are dropped. Checkpoints were checked when they came.
        """
        mended: list[str] = []
        for item in [*self.unsent, *self.unacknowledged.values()]:
            if (why := defect_of(item)) is not None:
                mended += [self._give_up_outcome(item, why)]
        for number, report in [*self.beginnings.items()]:
            if (why := defect_of(report)) is not None:
                del self.beginnings[number]
                mended.append(f"the beginning of {report.task_id!a}: {why}")
        for task_id, report in [*self.progress.items()]:
            if (why := defect_of(report)) is not None:
                del self.progress[task_id]
                mended.append(f"the progress of {task_id!a}: {why}")
        mended += self.logs.mend(_mended_line)
        return mended

    def give_up(self, exchange: Exchange, why: str) -> None:
        """Replace all parts of an exchange that the tracker refuses, as `mend` does.

        Log lines are dropped too.
        """
        for item in exchange.outcomes:
            if key_of(item) in self.unacknowledged:
                self._give_up_outcome(item, why)
        for report in exchange.reports:
            self.beginnings.pop(report.number, None)
            if report.number in self.checkpoints:
                self._give_up_checkpoint(report.number, why)
        for log in exchange.logs:
            self.logs.give_up(log)

    def _give_up_outcome(self, item: Outcome, why: str) -> str:
        """Replace an outcome wherever it is, and return a text for the log."""
        failed = _failure(item, why)
        key = key_of(item)
        if key in self.unacknowledged:
            self.unacknowledged[key] = failed
        self.unsent = [failed if key_of(other) == key else other for other in self.unsent]
        return f"the outcome of attempt {item.attempt} of {item.task_id!a}: {why}"

    def _give_up_checkpoint(self, number: int, why: str) -> None:
        _, acknowledged = self.checkpoints[number]
        self.unsent_checkpoints = [
            other for other in self.unsent_checkpoints if other.number != number
        ]
        if not acknowledged.done():
            acknowledged.set_exception(ValueError(f"the checkpoint cannot be kept: {why}"))


def key_of(outcome: Outcome) -> Key:
    """Return the attempt that an outcome belongs to."""
    return outcome.task_id, outcome.attempt


def how_many_fit(outcomes: Sequence[Outcome]) -> int:
    """Return how many of the outcomes fit into one exchange: at least one, whatever its size."""
    room = MAX_OUTCOME_BYTES
    for count, outcome in enumerate(outcomes):
        room -= len(outcome.result or "") + len(outcome.error or "")
        if room < 0 and count:
            return count
    return len(outcomes)


def sound(outcome: Outcome, now: float) -> Outcome:
    """Return the outcome if its times are valid and its texts are texts; else a failure.

    This check is cheap. All other faults are looked for only when an exchange fails.
    """
    try:
        if (
            0 <= outcome.delay_seconds <= MAX_SECONDS
            and -_LATEST < outcome.started_at < _LATEST
            and -_LATEST < outcome.finished_at < _LATEST
            and isinstance(outcome.result, str | None)
            and isinstance(outcome.error, str | None)
        ):
            return outcome
    except Exception:  # noqa: S110 - they are not numbers at all
        pass
    return _failure(outcome, "its times or its texts are none that can be kept", now)


def defect_of(part: Any) -> str | None:
    """Return why a part of an exchange cannot be sent or understood; None if it can."""
    try:
        wire.check(part)
    except Exception as error:
        return f"{type(error).__name__}: {error}".encode("ascii", "backslashreplace").decode()[:500]
    return None


def _failure(outcome: Outcome, why: str, now: float | None = None) -> Outcome:
    told = NotTold(f"how the attempt ended cannot be told to the tracker: {why}")
    times = [value for value in (outcome.started_at, outcome.finished_at) if _is_time(value)]
    at = times[-1] if times else now or 0.0
    return Outcome(
        outcome.task_id,
        outcome.attempt,
        OutcomeKind.FAILED,
        started_at=times[0] if times else at,
        finished_at=at,
        error=describe_error(told, retryable=False),
    )


def _is_time(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and abs(value) < _LATEST


def _mended_line(line: LogLine) -> LogLine | None:
    """Return a line that replaces one that cannot be sent; None if it can be sent."""
    if defect_of(line) is None:
        return None
    number = line.number if type(line.number) is int else 0
    return LogLine(number, line.at if _is_time(line.at) else 0.0, "WARNING", "(a lost line)")
