"""The files that Ray leaves behind: those of our own ended runs are removed, but for the newest.

Each `raytasks up` that starts Ray records which files are its own, in the folder of `runs`. The
record outlives it.
"""

import contextlib
import json
import os
import shutil
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil
import ray

from raytasks.cluster.processes import OWNER, is_lost, owner_mark

KEPT_RUNS = 3
"""Number of ended runs whose files are kept, so that one can look why they ended."""

_SUFFIX = ".files"
_SESSION = "session_"
_PROBE_SECONDS = 1.0


def files_here(log: Path) -> list[Path]:
    """Return the files of the Ray that we have started, to which this process is connected.

    They are the folder of its session, the folder of HAProxy, and its `log`.
    """
    from ray.serve._private import constants as serve_constants  # slow, and needed by `up` alone

    config = Path(getattr(serve_constants, "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC", os.devnull))
    node_id: str = ray.get_runtime_context().get_node_id()
    node: Any = ray._private.worker._global_node
    session = Path(node.get_session_dir_path())
    return [session, config.parent / node_id, log]


def record(folder: Path, paths: Iterable[Path]) -> None:
    """Record that these are files of this run. Those of an earlier Ray of the run stay recorded."""
    file = folder / f"{owner_mark()}{_SUFFIX}"
    known = [*_recorded(file), *paths]
    file.write_text(json.dumps([str(path) for path in dict.fromkeys(known)]))


def remove_old(folder: Path, *, kept: int = KEPT_RUNS) -> int:
    """Remove the files of ended runs, except for the newest; return the number of those runs.

    A run of which any process lives is left alone, and so is a session that still answers.
    """
    records = sorted(folder.glob(f"*{_SUFFIX}"), key=_changed_at, reverse=True)
    owners = _living_owners()
    ended = [file for file in records if is_lost(file.stem) and file.stem not in owners]
    removed = 0
    for file in ended[kept:]:
        paths = _recorded(file)
        if any(_answers(path) for path in paths):
            continue
        for path in paths:
            _remove(path)
        file.unlink(missing_ok=True)
        removed += 1
    return removed


def _recorded(file: Path) -> list[Path]:
    try:
        return [Path(path) for path in json.loads(file.read_text())]
    except (OSError, ValueError, TypeError):
        return []


def _changed_at(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


def _living_owners() -> set[str]:
    """Return the marks of all processes that run for a `raytasks up`."""
    found = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            found.add(process.environ().get(OWNER, ""))
    return found


def _answers(path: Path) -> bool:
    """Return whether a process listens at a socket of a session: it may be in another container."""
    if not path.name.startswith(_SESSION):
        return False
    for place in (path / "sockets").glob("*"):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(_PROBE_SECONDS)
            probe.connect(str(place))
            return True
    return False


def _remove(path: Path) -> None:
    """Remove a file or folder of this user. A link is left alone."""
    with contextlib.suppress(OSError):
        if not path.is_absolute() or path.is_symlink() or path.lstat().st_uid != os.getuid():
            return
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
