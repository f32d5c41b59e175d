"""The pace of pruning: how many tasks a step deletes, and how long it rests then. A rule, no I/O.

A step may not hold up a tick for long. Yet pruning must keep up with what ends. So its share of
time grows with the seconds by which the oldest task has outlived its retention.
"""

from dataclasses import dataclass

STEP_SECONDS = 0.01
"""Seconds of a tick that one step may take, about."""

LONG_STEP_SECONDS = 0.05
"""Seconds that it may take if pruning does not keep up in another way: on a busy tracker each step
also waits for others."""

MIN_STEP = 20
"""Minimum number of tasks in a step, as a step also has costs of its own."""

MAX_STEP = 2000
"""Maximum number of tasks in a step."""

LOW_SHARE = 0.08
"""The share of time that pruning takes at least while there is something to prune."""

HIGH_SHARE = 0.8
"""The share of time that pruning takes at most."""

LATE_PART = 0.2
"""With the oldest task so much older than its retention, as a part of that, pruning has its maximum
share of time. So the table stays within 1.3 times of what comes in during the retention."""

LOOKS = 60
"""Number of looks for tasks to prune during their retention, at least."""

MAX_REST_SECONDS = 60.0
"""Maximum seconds between two looks."""

MIN_REST_SECONDS = 1.0
"""Minimum seconds between two looks when nothing was left."""


@dataclass
class PruningPace:
    """The pace of the pruning of tasks that are kept for `retention` seconds; `size`: of a step."""

    retention: float
    size: int

    def after_step(self, seconds: float, waited: float, late: float) -> float:
        """Return the seconds to rest after a full step, and adapt the size of the next one.

        - `seconds`: what the step took in its tick.
        - `waited`: the rest of its time. It looked for its tasks, waited for ticks, removed files.
        - `late`: for how many seconds the oldest task had outlived its retention.
        """
        share = self._share(late)
        wanted = waited * share / (1 - share)
        fits = min(LONG_STEP_SECONDS, max(STEP_SECONDS, wanted)) / seconds if seconds > 0 else 2.0
        self.size = round(self.size * min(2.0, max(0.5, fits)))
        self.size = min(MAX_STEP, max(MIN_STEP, self.size))
        return max(0.0, max(seconds, STEP_SECONDS) * (1 / share - 1) - waited)

    def rest(self) -> float:
        """Return the seconds until the next look when nothing is left to prune."""
        return min(MAX_REST_SECONDS, max(MIN_REST_SECONDS, self.retention / LOOKS))

    def _share(self, late: float) -> float:
        bound = LATE_PART * self.retention
        pressure = min(1.0, max(0.0, late / bound)) if bound > 0 else 1.0
        return LOW_SHARE + (HIGH_SHARE - LOW_SHARE) * pressure
