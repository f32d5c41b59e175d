"""The end of the log of a runner's process, as far as this node can read it."""

import logging
from pathlib import Path

import ray

log = logging.getLogger(__name__)

MAX_LINES = 10
_MAX_BYTES = 4000
_MARK = ":"  # begins the lines by which Ray names the job, the actor and the task


def end_of_log(worker_id: str | None) -> tuple[str, ...]:
    """Return the last lines that a worker (Ray's id) wrote to its standard error. Blocks shortly.

    It is empty if the process was on another node, or its log is gone.
    """
    if worker_id is None:
        return ()
    try:
        context = ray.get_runtime_context()
        folder = Path(context.get_temp_dir()) / context.get_session_name() / "logs"
        return last_lines(folder, worker_id)
    except Exception as error:
        log.warning("the log of a runner cannot be read: %r", error)
        return ()


def last_lines(folder: Path, worker_id: str) -> tuple[str, ...]:
    """Return the last lines of a worker's log in a folder of Ray's logs. Raises `OSError`."""
    for file in sorted(folder.glob(f"worker-{worker_id}-*.err")):
        with file.open("rb") as opened:
            opened.seek(max(0, file.stat().st_size - _MAX_BYTES))
            text = opened.read(_MAX_BYTES).decode(errors="replace")
        lines = [line.rstrip() for line in text.splitlines()]
        said = [line for line in lines if line and not line.startswith(_MARK)]
        return tuple(said[-MAX_LINES:])
    return ()
