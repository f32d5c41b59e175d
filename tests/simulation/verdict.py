"""How a schedule went, and what the engine said meanwhile."""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.simulation.kinds import Fault


class Broken(BaseException):
    """A rule that must hold does not. Not an `Exception`, so that the engine does not catch it."""


@dataclass
class Verdict:
    """How a schedule went. `broken` says what did not hold.

    One that was `cut_short` has met something that is known, and was followed until then.
    """

    seed: int
    broken: str | None = None
    steps: int = 0
    seconds: float = 0.0
    faults: Counter[Fault] = field(default_factory=Counter)
    trace: list[str] = field(default_factory=list)
    cut_short: bool = False


class Errors(logging.Handler):
    """Takes what the engine logs as an error: it meets nothing here that it may not know."""

    def __init__(self, trace: Callable[..., None], fail: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._trace = trace
        self._fail = fail

    def emit(self, record: logging.LogRecord) -> None:
        """Note a record."""
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            text += f": {record.exc_info[1]!r}"
        self._trace(record.levelname.lower(), text[:200])
        if "memory and database differ" in text or "handed out twice" in text:
            self._fail(text)
