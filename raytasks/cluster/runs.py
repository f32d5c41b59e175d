"""Which `raytasks up` run on this machine: each keeps a file by which `raytasks down` finds it.

The files are in a folder of the user's own. Its place does not depend on the environment: systemd,
cron and a login give different ones. Each file is named by the process id and the start of its
process, since ids come again. What a run writes before it ends is read through the open file.
"""

import contextlib
import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from raytasks.cluster.processes import ClusterError, is_elsewhere, is_lost, owner_mark, runs

_PARENT = Path("/tmp")  # noqa: S108 - the owner and the mode of our folder in it are checked
_OTHERS_MAY = 0o077
_LOOK_SECONDS = 0.05


def folder() -> Path:
    """Return the folder of the files; it is the user's own. Raises `ClusterError`."""
    found = _PARENT / f"raytasks-runs-{os.getuid()}"
    try:
        found.mkdir(mode=0o700, exist_ok=True)
        status = found.lstat()
    except OSError as error:
        raise ClusterError(f"{found}: {error.strerror}") from None
    if status.st_uid != os.getuid() or status.st_mode & _OTHERS_MAY or found.is_symlink():
        raise ClusterError(f"{found} is not a folder of yours alone: remove it")
    return found


class Note:
    """The file of this run."""

    def __init__(self, file: Path, document: dict[str, Any]) -> None:
        self._file = file
        self._document = document

    def given_back(self, attempts: int) -> None:
        """Write how many attempts were given back when the service stopped, if that is possible."""
        self._document["given_back"] = attempts
        with contextlib.suppress(OSError):  # the stop goes on
            self._write()

    def _write(self) -> None:
        # In place: who waits for the end of this run has the file open.
        self._file.write_text(json.dumps(self._document))


@contextmanager
def noted(port: int, url: str, grace_seconds: float) -> Iterator[Note]:
    """Keep the file of this run until the block ends. Raises `ClusterError`."""
    parent = folder()
    file = parent / f"{owner_mark()}.json"
    note = Note(file, {"port": port, "url": url, "grace_seconds": grace_seconds})
    with _kept(parent):
        try:
            note._write()
        except OSError as error:
            raise ClusterError(f"{file}: {error.strerror}") from None
        try:
            yield note
        finally:
            with contextlib.suppress(OSError):  # the stop goes on
                file.unlink()


@contextmanager
def _kept(parent: Path) -> Iterator[None]:
    """Keep those who remove old files away: `systemd-tmpfiles` passes over a locked folder."""
    opened = os.open(parent, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_SH)
        yield
    finally:
        os.close(opened)


@contextmanager
def starting() -> Iterator[None]:
    """Let no other run of this user start Ray until the block ends: both would take the same ports.

    It waits for one that does. Raises `ClusterError`.
    """
    with (folder() / "starting.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@dataclass
class Run:
    """A `raytasks up` that runs here."""

    pid: int
    port: int
    url: str
    grace_seconds: float
    file: Path

    def end(self, patience_seconds: float) -> int | None:
        """End it in order, as Ctrl-C does; return how many attempts were given back.

        None where it has not said so. Raises `ClusterError` if it still runs after the patience.
        """
        with self.file.open() as opened:  # it is gone when the process is
            self._end(patience_seconds)
            try:
                given_back: int | None = json.load(opened).get("given_back")
            except ValueError:  # its disk was full
                return None
        return given_back

    def _end(self, patience_seconds: float) -> None:
        process = psutil.Process(self.pid)
        process.send_signal(signal.SIGINT)  # Ray takes SIGTERM for its own in a driver
        deadline = time.monotonic() + patience_seconds
        while runs(process):
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"process {self.pid} still runs after {patience_seconds:g} seconds; to end it "
                    f"at once: kill -9 {self.pid} (its tasks run again at the next start)"
                )
            time.sleep(_LOOK_SECONDS)  # it is no child of ours: nothing tells of its end


def present_runs() -> list[Run]:
    """Return the runs of this user on this machine; the files of dead ones are removed.

    Raises `ClusterError`.
    """
    found = []
    for file in sorted(folder().glob("*.json")):
        if is_lost(file.stem):
            file.unlink(missing_ok=True)
            continue
        if is_elsewhere(file.stem):
            continue
        with contextlib.suppress(OSError, ValueError, KeyError):  # it is just being written
            found.append(Run(int(file.stem.partition(":")[0]), **_known(file), file=file))
    return found


def _known(file: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(file.read_text())
    return {name: document[name] for name in ("port", "url", "grace_seconds")}
