"""The log lines of a runner's attempts until the tracker has them: none is lost on the way."""

from collections.abc import Callable, Sequence

from raytasks.model.task_events import LogLine
from raytasks.protocol.messages import AttemptLog, Outcome

MAX_CHARACTERS = 1_000_000
"""How much text one exchange carries, unless a single attempt has more."""

Key = tuple[str, int]
"""An attempt: the task's id, and the attempt's number."""


class LogBook:
    """Keeps lines until the tracker has them on disk.

    The outcome of an attempt always goes together with all of its lines that are not acknowledged.
    The tracker takes no more lines after the outcome.
    """

    def __init__(self) -> None:
        self._fresh: dict[Key, list[LogLine]] = {}
        self._sent: dict[int, AttemptLog] = {}
        self._number = 0

    def __bool__(self) -> bool:
        """Whether there is anything in it."""
        return bool(self._fresh or self._sent)

    @property
    def has_fresh(self) -> bool:
        """Whether there are lines to send."""
        return bool(self._fresh)

    def add(self, key: Key, lines: Sequence[LogLine]) -> None:
        """Add lines of an attempt."""
        self._fresh.setdefault(key, []).extend(lines)

    def acknowledge(self, number: int) -> None:
        """Note that the lines sent under this number are on disk."""
        self._sent.pop(number, None)

    def give_up(self, log: AttemptLog) -> None:
        """Forget the lines of a message that the tracker refuses, also if they wait to go again."""
        key = (log.task_id, log.attempt)
        self._recall(key)
        refused = {line.number for line in log.lines}
        left = [line for line in self._fresh.pop(key, ()) if line.number not in refused]
        if left:
            self._fresh[key] = left

    def drop(self, key: Key) -> None:
        """Forget the lines of an attempt that is over, or no longer this runner's."""
        if self:
            self._recall(key)
            self._fresh.pop(key, None)

    def send_again(self) -> None:
        """Send all lines again that are not acknowledged, as they may be lost."""
        for key in {(log.task_id, log.attempt) for log in self._sent.values()}:
            self._recall(key)

    def mend(self, mended: Callable[[LogLine], LogLine | None]) -> list[str]:
        """Replace bad lines by what `mended` returns for them, and return which these were."""
        self.send_again()
        told: list[str] = []
        for key, lines in self._fresh.items():
            for index, line in enumerate(lines):
                better = mended(line)
                if better is not None:
                    lines[index] = better
                    told.append(f"line {better.number} of the log of {key[0]!a}")
        return told

    def take(self, outcomes: Sequence[Outcome]) -> tuple[list[AttemptLog], int]:
        """Return the lines for the next exchange, and how many of these outcomes go with it.

        At least one outcome goes, if there is any. The others wait, as their lines do not fit.
        """
        taken: list[AttemptLog] = []
        room = MAX_CHARACTERS
        for count, outcome in enumerate(outcomes):
            key = (outcome.task_id, outcome.attempt)
            self._recall(key)
            size = sum(len(line.message) for line in self._fresh.get(key, ()))
            if size > room and count:
                return taken, count
            room -= size
            taken += self._send(key)
        for key in list(self._fresh):
            if room <= 0:
                break
            room -= sum(len(line.message) for line in self._fresh[key])
            taken += self._send(key)
        return taken, len(outcomes)

    def _send(self, key: Key) -> list[AttemptLog]:
        lines = self._fresh.pop(key, None)
        if lines is None:
            return []
        self._number += 1
        self._sent[self._number] = AttemptLog(*key, self._number, tuple(lines))
        return [self._sent[self._number]]

    def _recall(self, key: Key) -> None:
        """Queue again the lines of an attempt that were sent and are not acknowledged."""
        again = [log for log in self._sent.values() if (log.task_id, log.attempt) == key]
        for log in reversed(again):
            del self._sent[log.number]
            self._fresh[key] = [*log.lines, *self._fresh.get(key, ())]
