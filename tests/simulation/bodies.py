"""Bodies of tasks: each attempt follows a script that the seed fixes."""

from dataclasses import dataclass
from enum import StrEnum
from random import Random


class Deed(StrEnum):
    """How an attempt ends by itself."""

    SUCCEED = "succeed"
    FAIL = "fail"
    FAIL_FOR_GOOD = "fail for good"
    TIME_OUT = "time out"
    SNOOZE = "snooze"
    CRASH = "crash"
    UNTIL_STOPPED = "until stopped"


_OTHERS = (
    *(Deed.FAIL, Deed.FAIL, Deed.FAIL, Deed.FAIL_FOR_GOOD),
    *(Deed.SNOOZE, Deed.SNOOZE, Deed.CRASH, Deed.TIME_OUT),
)
"""Deeds of an attempt that does not succeed; the usual ones are there more often."""


_STUCK = 0.5  # of the time-outs, in a serial runner


@dataclass(frozen=True)
class Script:
    """One attempt. Times are in seconds."""

    deed: Deed
    seconds: float
    delay: float = 0.0
    lines: int = 0
    checkpoints: int = 0
    progress: int = 0
    stuck: bool = False
    """In a serial runner, only the end of its process stops it."""


@dataclass(frozen=True)
class Plan:
    """The plan of a task, by its number."""

    number: int
    calm: bool = False
    """It only succeeds, and is short."""
    first: Deed | None = None
    """The deed of the first attempt, whatever is drawn."""
    endless: bool = False
    """Every attempt lasts until it is stopped: somebody cancels it."""
    poison: bool = False
    """Every attempt kills its runner."""
    talks: bool = False
    """It only succeeds, and has a checkpoint, progress and lines."""

    def script(self, seed: int, attempt: int) -> Script:
        """Return what an attempt does."""
        if self.first is not None and attempt == 1:
            return Script(self.first, 0.01, delay=0.5)
        if self.talks:
            return Script(Deed.SUCCEED, 0.8, lines=2, checkpoints=1, progress=1)
        if self.calm:
            return Script(Deed.SUCCEED, 0.01)
        if self.poison:
            return Script(Deed.CRASH, 0.01)
        draw = Random(f"{seed}/{self.number}/{attempt}")
        seconds = draw.choice((0.0, 0.005, 0.05, 0.5, 2.0, 4.0)) * draw.random()
        if self.endless:
            return Script(Deed.UNTIL_STOPPED, seconds, lines=draw.choice((0, 2)))
        # Later attempts have less and less reason not to succeed, so that every task ends.
        deed = Deed.SUCCEED
        if draw.random() < 0.45 / (1 + attempt // 4):
            deed = draw.choice(_OTHERS)
        return Script(
            deed,
            seconds,
            delay=draw.choice((0.0, 0.0, 0.0, 0.05, 0.5, 2.0)) * draw.random(),
            lines=draw.choice((0, 0, 1, 3)),
            checkpoints=draw.choice((0, 0, 0, 1, 2)),
            progress=draw.choice((0, 0, 1)),
            stuck=deed is Deed.TIME_OUT and draw.random() < _STUCK,
        )
