"""A clock that shows the time of day and never jumps: for what one process measures and stamps."""

import time

_AHEAD = time.time() - time.monotonic()


def steady_time() -> float:
    """Return the seconds since the epoch, by the wall clock as it was when this process began.

    It goes on by the monotonic clock, so that the difference of two readings is a duration, also
    when the wall clock is set between them. Readings of different processes differ by what their
    wall clocks did: who gets one from elsewhere translates it, by a reading that was sent along.
    """
    return time.monotonic() + _AHEAD
