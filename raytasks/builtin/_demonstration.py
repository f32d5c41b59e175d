"""The demonstration delays: they make a short task last long enough to watch it."""

import time

from raytasks import Context
from raytasks.builtin._settings import flag

_STEP_SECONDS = 0.05


def demonstration_delay(context: Context, seconds: float) -> None:
    """Wait `seconds` if the setting `DEMO_DELAYS` is true; otherwise return at once.

    Raises `Cancelled` soon after the attempt is told to stop.
    """
    if not flag("DEMO_DELAYS"):
        return
    end = time.monotonic() + seconds
    context.raise_if_cancelled()
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(_STEP_SECONDS, left))
        context.raise_if_cancelled()
