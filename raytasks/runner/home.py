"""The process of a runner, and how a fork of it is recognized: a fork is no runner."""

import os

from raytasks.handling.context import Channel
from raytasks.model.task_events import LogLine


class Home:
    """The process in which this object was made.

    A handler may fork, also by `multiprocessing`, for its own work. When the handler returns in the
    child, the child must not go on as the runner: it would run the same tasks again.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()

    @property
    def is_copy(self) -> bool:
        """Whether the present process is another one: a forked child."""
        return os.getpid() != self._pid

    def leave_if_copy(self, error: BaseException | None = None) -> None:
        """End this process at once if it is a copy.

        `error` is what the handler raised in it, None if nothing. The exit status is that of a
        script that ends so.
        """
        if os.getpid() == self._pid:
            return
        try:
            told = f"raytasks: a fork of a runner (process {self._pid}) has come back and ends\n"
            os.write(2, told.encode())
        finally:
            os._exit(_status(error))


class HomeChannel:
    """The channel of a context. It does nothing in a forked copy of the runner's process."""

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
        """Pass on a log line."""
        if not self._home.is_copy:
            self._channel.log(line)

    def cancelled(self) -> bool:
        """Return whether the attempt was told to stop; always False in a copy."""
        return not self._home.is_copy and self._channel.cancelled()


def _status(error: BaseException | None) -> int:
    if error is None:
        return 0
    code = error.code if type(error) is SystemExit else 1
    return code & 0xFF if type(code) is int else int(code is not None)
