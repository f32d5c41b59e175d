"""The files of tasks, kept through fsspec: in a local folder by default, in S3 by its URL."""

import contextlib
import os
import re
import uuid
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from raytasks.model.tasks import is_task_id

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_OWN_NAME = re.compile(r"\.[a-z][a-z0-9.]{0,126}")

_MARK = ".raytasks-"

URL_PREFIX = "/artifacts"
"""The path under which the API serves artifacts."""


def is_shown(name: str) -> bool:
    """Return whether a file is a task's own. Names of raytasks' own files begin with a dot."""
    return not name.startswith(".") and _NAME.fullmatch(name) is not None


class ArtifactStore:
    """The artifacts below one URL, e.g. `./artifacts` or `s3://bucket/prefix`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.writes = 0
        """How many files this object has written or tried to write."""

    @cached_property
    def _place(self) -> tuple[Any, str]:
        """The file system and the folder in it, looked up at the first use.

        Every runner has a store and few handlers use it, but the import takes a tenth of a runner's
        start.
        """
        import fsspec

        if "://" not in self._url:  # a folder: no character of its path is special
            return fsspec.filesystem("file"), self._url.rstrip("/")
        # Other processes write there, too: a listing that is kept would soon be wrong.
        filesystem, root = fsspec.core.url_to_fs(self._url, use_listings_cache=False)
        return filesystem, str(root).rstrip("/")

    @property
    def _files(self) -> Any:
        return self._place[0]

    def save(self, task_id: str, name: str, data: bytes) -> str:
        """Write a file, and return the path at which the API serves it.

        The file is there whole or not at all. It replaces an older one of the same name. Raises
        `ValueError` for a name that is not a plain file name.
        """
        self._write(self.path(task_id, name), data)
        return f"{URL_PREFIX}/{task_id}/{name}"

    def read(self, task_id: str, name: str) -> bytes:
        """Return a file's bytes. Raises `FileNotFoundError`, or `ValueError` for a bad name."""
        data: bytes = self._files.cat_file(self.path(task_id, name))
        return data

    def load(self, task_id: str, name: str, max_bytes: int) -> bytes:
        """Return the bytes of a file that may be shown.

        Raises `FileNotFoundError`, and `ValueError` for a bad name or more than `max_bytes` bytes.
        """
        try:
            file, size = self.open(task_id, name)
        except FileNotFoundError:
            raise FileNotFoundError(f"task {task_id} has no artifact {name!r}") from None
        with file:
            if size > max_bytes:
                raise ValueError(
                    f"the artifact {name!r} has {size} bytes, and max_bytes allows {max_bytes}: "
                    "pass a larger max_bytes if the process has the memory"
                )
            data: bytes = file.read()
        return data

    def save_own(self, task_id: str, name: str, data: bytes) -> None:
        """Write a file of raytasks itself: its name begins with a dot, and it is never served."""
        self._write(self._own_path(task_id, name), data)

    def read_own(self, task_id: str, name: str) -> bytes:
        """Return the bytes of a file of raytasks itself. Raises `FileNotFoundError`."""
        data: bytes = self._files.cat_file(self._own_path(task_id, name))
        return data

    def open(self, task_id: str, name: str) -> tuple[Any, int]:
        """Open a file that may be shown, and return it with its size in bytes.

        Raises `FileNotFoundError`, `IsADirectoryError`, or `ValueError` for a bad name.
        """
        if not is_shown(name):
            raise ValueError(f"{name!r} is not for the world")
        path = self.path(task_id, name)
        size = int(self._files.size(path) or 0)
        return self._files.open(path, "rb"), size

    def list(self, task_id: str) -> Sequence[tuple[str, int]]:
        """Return name and size (bytes) of the files of a task that may be shown, sorted by name."""
        try:
            found = self._files.ls(self._folder(task_id), detail=True)
        except FileNotFoundError:
            return []
        files = (
            (item["name"].rpartition("/")[2], int(item["size"]))
            for item in found
            if item["type"] == "file"
        )
        return sorted((name, size) for name, size in files if is_shown(name))

    def mark_used_by(self, database_id: str) -> None:
        """Write a mark at the top that the tasks of this database keep files here."""
        text = b"Tasks of the database with this id keep files here. See docs/reliability.md.\n"
        self._write(f"{self._place[1]}/{_MARK}{database_id}", text)

    def overview(self) -> tuple[Sequence[str], set[str]]:
        """Return the ids of the tasks that have files here, and of the databases that left a mark.

        It lists everything at the top, which is slow if there are many tasks.
        """
        root = self._place[1]
        self._files.invalidate_cache(root)
        try:
            found = self._files.ls(root, detail=False)
        except FileNotFoundError:
            return [], set()
        names = [str(path).rstrip("/").rpartition("/")[2] for path in found]
        marks = {name.removeprefix(_MARK) for name in names if name.startswith(_MARK)}
        return [name for name in names if is_task_id(name)], marks

    def remove(self, task_id: str) -> None:
        """Delete all files of a task, if there are any."""
        folder = self._folder(task_id)
        if self._files.exists(folder):
            self._files.rm(folder, recursive=True)

    def remove_own(self, task_id: str, name: str) -> None:
        """Delete one file of raytasks itself, if it exists."""
        with contextlib.suppress(FileNotFoundError):
            self._files.rm_file(self._own_path(task_id, name))

    def path(self, task_id: str, name: str) -> str:
        """Return the path of a file in its file system. Raises `ValueError` for a bad name."""
        folder = self._folder(task_id)
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"bad artifact name {name!r}: use letters, digits, dots, dashes, underscores"
            )
        return f"{folder}/{name}"

    def _own_path(self, task_id: str, name: str) -> str:
        folder = self._folder(task_id)
        if not _OWN_NAME.fullmatch(name):
            raise ValueError(f"not a file name of raytasks itself: {name!r}")
        return f"{folder}/{name}"

    def _write(self, path: str, data: bytes) -> None:
        """Write a file durably, whole or not at all. Safe from several threads at once."""
        from fsspec.implementations.local import LocalFileSystem

        self.writes += 1
        self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
        if isinstance(self._files, LocalFileSystem):
            _write_local(Path(path), data)
        else:
            self._files.pipe_file(path, data)  # an object appears only when it is whole

    def _folder(self, task_id: str) -> str:
        if not is_task_id(task_id):
            raise ValueError(f"not a task id: {task_id!r}")
        return f"{self._place[1]}/{task_id}"


def _write_local(path: Path, data: bytes) -> None:
    temporary = path.parent / f".temporary.{uuid.uuid4().hex}"
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    for folder in (path.parent, path.parent.parent):  # so that the file's name is on disk too
        with contextlib.suppress(OSError):  # not every file system can sync a folder
            _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
