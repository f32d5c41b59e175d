"""The failed starts of runners: how often, with which error, and when to try again. No Ray.

If the runners of a pool die again and again before they have loaded their handlers, their starts
alone would take a processor. So the pool waits between starts, longer each time.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from raytasks.pools.cluster_view import FailingStart

FREE_TRIES = 2
"""How many starts in a row may fail before the pool waits between them."""

FIRST_SECONDS = 5.0
MAX_SECONDS = 120.0
_MAX_CHARACTERS = 500


@dataclass
class _Failures:
    count: int
    error: str
    since: float
    again_at: float
    pauses: int = 0
    log: tuple[str, ...] = ()


class StartFailures:
    """The failed starts in a row of each pool. `clock` only goes forward; `wall` is for people."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time
    ) -> None:
        self._clock = clock
        self._wall = wall
        self._pools: dict[str, _Failures] = {}

    def record(self, pool: str, error: str, lines: tuple[str, ...] = ()) -> bool:
        """Note a failed start; return whether the pool is to wait before the next one.

        `lines` is the end of the process's log. What fails together makes the wait longer once.
        """
        text = error[-_MAX_CHARACTERS:]
        known = self._pools.get(pool)
        if known is None:
            known = self._pools[pool] = _Failures(0, text, self._wall(), self._clock())
        known.count += 1
        known.error, known.log = text, lines
        if known.count < FREE_TRIES:
            return False
        if self._clock() >= known.again_at:
            seconds = min(MAX_SECONDS, FIRST_SECONDS * 2 ** min(known.pauses, 16))
            known.again_at = self._clock() + seconds
            known.pauses += 1
        return True

    def allowed(self, pool: str, wanted: int, starting: int = 0) -> int:
        """Return how many of the wanted runners of a pool may be started now.

        `starting` is how many are on their way. After failures they are tried one by one.
        """
        known = self._pools.get(pool)
        if known is None or known.count < FREE_TRIES:
            return wanted
        return min(wanted, 1) if self._clock() >= known.again_at and not starting else 0

    def came_up(self, pool: str) -> None:
        """Note that a runner of this pool has loaded its handlers."""
        self._pools.pop(pool, None)

    def forget(self) -> None:
        """Forget all failures, as another version is in force."""
        self._pools.clear()

    def failing(self, pool: str) -> FailingStart | None:
        """Return the failures of a pool whose runners cannot come up, else None."""
        known = self._pools.get(pool)
        if known is None or known.count < FREE_TRIES:
            return None
        return FailingStart(known.count, known.error, known.since, known.log)

    def reasons(self) -> list[dict[str, Any]]:
        """Return the reasons in `/health`: the pools whose runners cannot come up."""
        return [
            {
                "code": "runners_cannot_start",
                "message": f"the runners of the pool {pool} end when they start: {known.error}",
                "fix": "see the end of the error; mend the handlers or the cluster, and deploy",
                "since": known.since,
                "count": known.count,
                "log": list(known.log),
            }
            for pool, known in sorted(self._pools.items())
            if known.count >= FREE_TRIES
        ]
