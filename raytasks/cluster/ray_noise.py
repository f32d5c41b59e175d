"""The filter of Ray's alarming lines about what we do on purpose, and what our own log tells.

Ray prints them in every driver, also without the output of workers. There is no public switch.
"""

import re
from typing import Any

from ray._private import worker

_NOISE = (
    # A call that Ray sends again: to the tracker that starts again, or to a Serve that stops.
    re.compile(r"Task \S+ failed\. There are .* retries remaining"),
    # A worker has gone. Our log names the runner and its attempts, or we have ended it ourselves.
    re.compile(r"A worker died or was killed while executing a task"),
    re.compile(r"killed by `?ray\.kill"),
)


def is_noise(text: str) -> bool:
    """Return whether a message of Ray's is about what our own log tells, or we did on purpose."""
    return any(pattern.search(text) for pattern in _NOISE)


def leave_out_noise() -> None:
    """Have Ray print no such message in this process. Does nothing where Ray is built otherwise."""
    shown = getattr(worker, "print_to_stdstream", None)
    if shown is None or hasattr(shown, "leaves_out_noise"):
        return

    def without_noise(data: Any, *arguments: Any, **options: Any) -> None:
        lines = [line for line in data.get("lines", ()) if not is_noise(str(line))]
        if lines:
            shown({**data, "lines": lines}, *arguments, **options)

    without_noise.leaves_out_noise = True  # type: ignore[attr-defined]
    worker.print_to_stdstream = without_noise
