"""The file of the service's log: rotated by size, and opened again when it was moved away."""

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

KEPT_FILES = 5
"""Number of full files that are kept beside the present one: `NAME.1` is the newest of them."""

_AGAIN_SECONDS = 5.0


class LogFile:
    """A file to which lines are appended.

    When it would grow beyond `max_bytes`, it becomes `NAME.1`, and a new file begins. A file that
    was moved or removed, as logrotate does, is made again. A failure is in `trouble`; lines are
    dropped then, and the file is tried again after some seconds.
    """

    def __init__(
        self,
        path: Path,
        max_bytes: int,
        *,
        kept: int = KEPT_FILES,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self.trouble: str | None = None
        self._max_bytes = max_bytes
        self._kept = kept
        self._monotonic = monotonic
        self._again_at = 0.0
        self._descriptor: int | None = None

    def write(self, text: str) -> None:
        """Append lines, each with its end. Raises nothing."""
        now = self._monotonic()
        if self.trouble is not None and now < self._again_at:
            return
        data = text.encode("utf-8", "replace")
        try:
            self._append(data)
        except OSError as error:
            self.trouble = f"{self.path}: cannot be written: {error.strerror}"
            self._again_at = now + _AGAIN_SECONDS
            self.close()
        else:
            self.trouble = None

    def close(self) -> None:
        """Close the file. The next lines open it again."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def _append(self, data: bytes) -> None:
        descriptor = self._opened()
        size = os.fstat(descriptor).st_size
        if size and size + len(data) > self._max_bytes:
            self._rotate()
            descriptor = self._opened()
        while data:
            data = data[os.write(descriptor, data) :]

    def _opened(self) -> int:
        """Return the descriptor of the file that is at the path now."""
        if self._descriptor is not None and not self._is_at_path(self._descriptor):
            self.close()
        if self._descriptor is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._descriptor = os.open(self.path, flags, 0o640)
        return self._descriptor

    def _is_at_path(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self.path.stat())
        except FileNotFoundError:
            return False

    def _rotate(self) -> None:
        self.close()
        for number in range(self._kept - 1, 0, -1):
            with contextlib.suppress(FileNotFoundError):
                self._numbered(number).replace(self._numbered(number + 1))
        with contextlib.suppress(FileNotFoundError):
            self.path.replace(self._numbered(1))

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")
