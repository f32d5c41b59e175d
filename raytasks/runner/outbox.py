"""What a runner has still to say to the tracker, and what of it cannot be said."""

import asyncio
import math
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

_LATEST = 1e12  # seconds since the epoch: some 30,000 years


class NotTold(Exception):
    """How an attempt ended cannot be told to the tracker; it is told as a failure instead."""


@dataclass
class Outbox:
    """What is still to be said, and what was said and not yet acknowledged."""

    unsent: list[Outcome] = field(default_factory=list)
    unacknowledged: dict[Key, Outcome] = field(default_factory=dict)
    progress: dict[str, Report] = field(default_factory=dict)
    checkpoints: dict[int, tuple[Report, "asyncio.Future[None]"]] = field(default_factory=dict)
    unsent_checkpoints: list[Report] = field(default_factory=list)
    beginnings: dict[int, Report] = field(default_factory=dict)
    unsent_beginnings: list[Report] = field(default_factory=list)
    logs: LogBook = field(default_factory=LogBook)

    def say_again(self) -> None:
        """Have everything that was said and not acknowledged said once more."""
        self.unsent = [*self.unacknowledged.values(), *self.unsent]
        self.unacknowledged = {}
        self.unsent_checkpoints = [report for report, _ in self.checkpoints.values()]
        self.unsent_beginnings = [*self.beginnings.values()]
        self.logs.send_again()

    def say_last(self, exchange: Exchange) -> None:
        """Have what an exchange said said once more, after all else."""
        later = [self.unacknowledged.pop(key_of(item), None) for item in exchange.outcomes]
        self.say_again()
        self.unsent += [item for item in later if item is not None]

    def mend(self) -> list[str]:
        """Replace everything that can neither be sent nor understood; return what that was.

        An outcome becomes a failure that says why, a line of a log says that there was another.
        Progress is dropped. A checkpoint was looked at when it came.
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
        """Replace all that an exchange has said, as `mend` does: the tracker does not take it."""
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
        """Replace an outcome wherever it is, and return what is said of it."""
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
    """Return which attempt an outcome is of."""
    return outcome.task_id, outcome.attempt


def sound(outcome: Outcome, now: float) -> Outcome:
    """Return the outcome if its times can be kept and its texts are some; else a failure.

    Cheap: what else can be wrong with one is looked at when an exchange fails.
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
    except Exception:  # noqa: S110 - they are no numbers at all
        pass
    return _failure(outcome, "its times or its texts are none that can be kept", now)


def defect_of(part: Any) -> str | None:
    """Return why a part of an exchange can neither be sent nor understood, or None."""
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
    """Return a line in place of one that cannot be sent; None if it can."""
    if defect_of(line) is None:
        return None
    number = line.number if type(line.number) is int else 0
    return LogLine(number, line.at if _is_time(line.at) else 0.0, "WARNING", "(a lost line)")
