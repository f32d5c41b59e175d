"""A clock that shows the time of day and never jumps, for the times of one process."""

import time

_AHEAD = time.time() - time.monotonic()


def steady_time() -> float:
    """Return the seconds since the epoch. Starts at the wall clock, advances by the monotonic one.

    The wall clock is read only once, when this process begins. So the difference of two readings is
    a duration, even if the wall clock is set between them. Readings of different processes differ
    by as much as their wall clocks did. A receiver translates times by a reading sent along.
    """
    return time.monotonic() + _AHEAD
