"""The files of the page `/ui/`, in memory: as they are sent, with their types and a common version.

Our modules are sent as one script, and all style sheets as one. They lie in a folder whose name is
the hash of all files. What is below that name never changes, and a browser may keep it for ever.
Comments that begin a line are not sent; empty lines in their place keep the numbers of all others.
"""

import gzip
import hashlib
import json
import posixpath
import re
from dataclasses import dataclass
from functools import cache

from raytasks.web import UI, VENDOR
from raytasks.web.joined_script import MAP_SUFFIX, join

SCRIPT = "ui/page.js"
"""The path of the script made of all modules in `ui/`; its map is beside it."""

STYLES = "ui/page.css"
"""The path of the style sheet made of all."""

_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".map": "application/json",
}
_COMMENT = re.compile(r"^ */\*.*?\*/ *$", re.DOTALL | re.MULTILINE)
_NOT_OURS = ("swagger-ui-dist",)
_START = "ui/main.js"
STYLE_FILES = [
    *(f"ui/style/{name}.css" for name in ("tokens", "base", "parts", "views")),
    "vendor/uplot/dist/uPlot.min.css",
]
"""The style sheets, in their order."""


@dataclass(frozen=True)
class PageFile:
    """A file as it is sent: its bytes, plain and with gzip, its media type and its ETag."""

    data: bytes
    packed: bytes
    media_type: str
    etag: str


@dataclass(frozen=True)
class Bundle:
    """All files of the page by path, such as `ui/page.js`.

    `start` is the start page, and `locked` the same for a service that needs a key.
    """

    version: str
    files: dict[str, PageFile]
    start: PageFile
    locked: PageFile

    @property
    def scripts(self) -> list[str]:
        """The paths of all scripts."""
        return [path for path, file in self.files.items() if "javascript" in file.media_type]

    @property
    def loaded(self) -> list[str]:
        """The paths of what a browser loads; a source map only if one looks at the script."""
        return [path for path in self.files if not path.endswith(MAP_SUFFIX)]


@cache
def bundle() -> Bundle:
    """Return the page's files. They are read and packed once in a process."""
    found = {f"ui/{file.relative_to(UI).as_posix()}": file for file in sorted(UI.rglob("*"))}
    for name, package in json.loads((VENDOR / "lock.json").read_text()).items():
        if name not in _NOT_OURS:
            found |= {f"vendor/{name}/{path}": VENDOR / name / path for path in package["files"]}
    texts = {
        path: file.read_text(encoding="utf-8")
        for path, file in found.items()
        if file.suffix in _TYPES
    }
    ours = {path for path in texts if path.startswith("ui/") and path.endswith(".js")}
    sent = {path: _without_comments(path, text) for path, text in texts.items()}
    joined = join({path: sent[path] for path in ours}, texts, _START, SCRIPT)
    whole = {
        SCRIPT: joined.text,
        SCRIPT + MAP_SUFFIX: joined.source_map,
        STYLES: "\n".join(sent[path] for path in STYLE_FILES),
        **{path: text for path, text in sent.items() if path not in (*ours, *STYLE_FILES)},
    }
    files = {
        path: _file(text.encode(), _TYPES[posixpath.splitext(path)[1]])
        for path, text in whole.items()
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
    """Return the start page. It names all scripts, so that a browser asks for them at once."""
    here = f"files/{version}/"
    preloads = "\n".join(
        f'<link rel="modulepreload" href="{here}{path}">'
        for path, file in files.items()
        if "javascript" in file.media_type
    )
    values = {"files": here, "preloads": preloads, "key": key, "script": SCRIPT, "styles": STYLES}
    text = (UI / "index.html").read_text(encoding="utf-8")
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", value)
    return text.encode()


def _without_comments(path: str, text: str) -> str:
    """Return a file of ours without the comments that begin a line; others' files as they are."""
    if not path.startswith("ui/") or not path.endswith((".js", ".css")):
        return text
    return _COMMENT.sub(lambda found: "\n" * found[0].count("\n"), text)


def _file(data: bytes, media_type: str) -> PageFile:
    etag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
    return PageFile(data, gzip.compress(data, 9, mtime=0), media_type, etag)
