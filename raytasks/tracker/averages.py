"""The average running times of task types."""

HOLD_SECONDS = 0.1
"""Maximum seconds of work that a warm runner holds, by the average running times of its handlers. A
batch of half of it is on the way while the other half runs."""


class Averages:
    """The moving average of the running time of each task type, in seconds."""

    _WEIGHT = 0.1

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    def add(self, task_type: str, seconds: float) -> None:
        """Add the running time of one attempt to the average."""
        known = self._seconds.get(task_type)
        # A long attempt counts at once: the worse mistake is to make others wait behind it.
        if known is None or seconds > 10 * known + HOLD_SECONDS:
            self._seconds[task_type] = seconds
        else:
            self._seconds[task_type] = known + self._WEIGHT * (seconds - known)

    def known(self, task_type: str) -> float | None:
        """Return the average; None for a type that never ran."""
        return self._seconds.get(task_type)

    def get(self, task_type: str) -> float:
        """Return the average; for a type that never ran, more than a runner holds."""
        return self._seconds.get(task_type, 2 * HOLD_SECONDS)
