"""The files of the page `/ui/`, in memory: as they are sent, with their types and a common version.

Modules import each other by relative paths, so they lie in one folder whose name is their common
hash. What is below that name never changes, and a browser may keep it for ever. Comments that begin
a line are not sent; empty lines in their place keep the numbers of all others.
"""

import gzip
import hashlib
import json
import re
from dataclasses import dataclass
from functools import cache

from raytasks.web import UI, VENDOR

_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
_COMMENT = re.compile(rb"^ */\*.*?\*/ *$", re.DOTALL | re.MULTILINE)
_NOT_OURS = ("swagger-ui-dist",)


@dataclass(frozen=True)
class PageFile:
    """A file as it is sent: its bytes, plain and with gzip, its media type and its ETag."""

    data: bytes
    packed: bytes
    media_type: str
    etag: str


@dataclass(frozen=True)
class Bundle:
    """All files of the page by path, such as `ui/main.js`.

    `start` is the start page, and `locked` the same for a service that needs a key.
    """

    version: str
    files: dict[str, PageFile]
    start: PageFile
    locked: PageFile

    @property
    def modules(self) -> list[str]:
        """The paths of all modules."""
        return [path for path, file in self.files.items() if "javascript" in file.media_type]


@cache
def bundle() -> Bundle:
    """Return the page's files. They are read and packed once in a process."""
    found = {f"ui/{file.relative_to(UI).as_posix()}": file for file in sorted(UI.rglob("*"))}
    for name, package in json.loads((VENDOR / "lock.json").read_text()).items():
        if name not in _NOT_OURS:
            found |= {f"vendor/{name}/{path}": VENDOR / name / path for path in package["files"]}
    files = {
        path: _file(_without_comments(path, file.read_bytes()), _TYPES[file.suffix])
        for path, file in found.items()
        if file.suffix in _TYPES
    }
    digest = hashlib.sha256()
    for path, file in files.items():
        digest.update(f"{path} {len(file.data)}\n".encode() + file.data)
    version = digest.hexdigest()[:16]
    start, locked = (
        _file(_start(version, files, key), "text/html; charset=utf-8") for key in ("none", "needed")
    )
    return Bundle(version, files, start, locked)


def _start(version: str, files: dict[str, PageFile], key: str) -> bytes:
    """Return the start page. It names all modules, so that a browser asks for them at once."""
    here = f"files/{version}/"
    preloads = "\n".join(
        f'<link rel="modulepreload" href="{here}{path}">'
        for path, file in files.items()
        if "javascript" in file.media_type
    )
    text = (UI / "index.html").read_text(encoding="utf-8")
    filled = text.replace("{files}", here).replace("{preloads}", preloads).replace("{key}", key)
    return filled.encode()


def _without_comments(path: str, data: bytes) -> bytes:
    """Return a file of ours without the comments that begin a line; others' files as they are."""
    if not path.startswith("ui/") or not path.endswith((".js", ".css")):
        return data
    return _COMMENT.sub(lambda found: b"\n" * found[0].count(b"\n"), data)


def _file(data: bytes, media_type: str) -> PageFile:
    etag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
    return PageFile(data, gzip.compress(data, 9, mtime=0), media_type, etag)
