"""The code blocks of the documents, and what a marker before a block says of it.

A marker is a comment of HTML right before the block, so that no reader sees it:

- `<!-- in the cluster -->`: it needs Ray; a test in `tests/cluster` runs it.
- `<!-- until Ctrl-C -->`: it goes on until it is stopped; for the tutorial only.
- `<!-- not run: REASON -->`: no test runs it.

Without a marker a block is run, or read, by its language. A block of the language `text` is what
the block before it prints; `…` stands for anything.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *(file for file in sorted((ROOT / "docs").rglob("*.md")) if file.parent.name != "reference"),
]
"""The documents that persons wrote; those in `docs/reference` are made from the code."""

CLUSTER = "in the cluster"
UNTIL_STOPPED = "until Ctrl-C"
NOT_RUN = "not run"

_MARKER = re.compile(r"<!-- (in the cluster|until Ctrl-C|not run: .+) -->\s*")
_FILE = re.compile(r"# ([\w/]+\.py)\n")


@dataclass(frozen=True)
class Block:
    """A code block, and where it stands. `line` counts from 1."""

    document: Path
    line: int
    language: str
    code: str
    marker: str = ""
    reason: str = ""

    @property
    def file(self) -> str | None:
        """The name of the file that it is, by its first line; None if it is no file."""
        found = _FILE.match(self.code) if self.language == "python" else None
        return found[1] if found else None

    @property
    def is_output(self) -> bool:
        """Whether it is what the block before it prints."""
        return self.language == "text"

    def replaced(self, old: str, new: str) -> "Block":
        """Return the block with another text in its code."""
        return replace(self, code=self.code.replace(old, new))

    @property
    def place(self) -> str:
        """Where it stands, for messages."""
        return f"{self.document.relative_to(ROOT)}:{self.line}"


def blocks_of(document: Path) -> list[Block]:
    """Return the blocks of a document, in their order. What a block prints has its marker."""
    blocks: list[Block] = []
    for block in _read(document):
        goes_with = blocks[-1] if block.is_output and blocks else block
        blocks.append(replace(block, marker=goes_with.marker, reason=goes_with.reason))
    return blocks


def _read(document: Path) -> Iterator[Block]:
    before = ""
    for token in MarkdownIt("commonmark").parse(document.read_text(encoding="utf-8")):
        if token.type == "code_block" or (token.type == "fence" and token.info[:1] != "{"):
            marker, _, reason = before.partition(": ")
            line = token.map[0] + 1 if token.map else 0
            yield Block(document, line, token.info.strip(), token.content, marker, reason)
        found = _MARKER.fullmatch(token.content) if token.type == "html_block" else None
        before = found[1] if found else ""
