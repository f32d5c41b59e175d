"""The process that a runner lives in, and copies of it: a fork of a runner is no runner."""

import os

from raytasks.handling.context import Channel
from raytasks.model.task_events import LogLine


class Home:
    """The process in which this object was made.

    A handler may fork, also by `multiprocessing`, for work of its own. What comes back from the
    handler in the child must not go on as the runner: it would take the same tasks once more.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()

    @property
    def is_copy(self) -> bool:
        """Whether this is another process: a child that was forked from it."""
        return os.getpid() != self._pid

    def leave_if_copy(self, error: BaseException | None = None) -> None:
        """End this process at once if it is a copy; its status is as if it were a script.

        `error` is what the handler has raised in it.
        """
        if os.getpid() == self._pid:
            return
        try:
            told = f"raytasks: a fork of a runner (process {self._pid}) has come back and ends\n"
            os.write(2, told.encode())
        finally:
            os._exit(_status(error))


class HomeChannel:
    """The channel of a context, which is dead in a copy of the runner's process."""

    def __init__(self, channel: Channel, home: Home) -> None:
        self._channel = channel
        self._home = home

    def progress(self, fraction: float | None, message: str | None) -> None:
        """Pass on how far the attempt has come."""
        if not self._home.is_copy:
            self._channel.progress(fraction, message)

    def checkpoint(self, data: str) -> None:
        """Return when the checkpoint is on disk. Raises `RuntimeError` in a copy."""
        if self._home.is_copy:
            raise RuntimeError("a forked process cannot keep a checkpoint: leave it to its parent")
        self._channel.checkpoint(data)

    def log(self, line: LogLine) -> None:
        """Pass on a line."""
        if not self._home.is_copy:
            self._channel.log(line)

    def cancelled(self) -> bool:
        """Return whether the attempt was told to stop; a copy does not hear of it."""
        return not self._home.is_copy and self._channel.cancelled()


def _status(error: BaseException | None) -> int:
    if error is None:
        return 0
    code = error.code if type(error) is SystemExit else 1
    return code & 0xFF if type(code) is int else int(code is not None)
