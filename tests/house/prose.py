"""The prose check: docstrings, comments and documents by the rules of our style.

A sentence has at most 25 words, and none of the banned words. The first sentence of a docstring
has an end, and names the thing: it does not begin with a relative like "What" or "Who".
Code in backquotes counts as one word. Code blocks, tables and headings of documents are left out.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MAX_WORDS = 25

BANNED = {
    "lest": "or else",
    "anew": "again",
    "at the most": "at most",
    "as ever": "as usual",
    "is told of": "hears of",
    "are told of": "hear of",
}
"""Words that non-native readers stumble over, and what to write."""

_RELATIVES = re.compile(r"(What|Who|Whom|Whose|Whoever|Whatever|Those who|Such)\b")
_CODE = re.compile(r"``[^`]*``|`[^`]*`")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_END = re.compile(r"(?<=[.!?])[\"')*_]*\s+(?=[\"'(*_`\[]*[A-Z0-9])|\n\s*\n")
_ABBREVIATION = re.compile(r"\b(e\.g|i\.e|cf|vs|etc|No)\.(?=\s)")
_ITEM = re.compile(r"^\s*([-*+]|\d+\.)\s+", re.MULTILINE)
_MARKS = ("type:", "noqa", "pragma:", "fmt:", "ruff:", "mypy:", "!/")


@dataclass(frozen=True)
class Fault:
    """A fault of a text: file, line, and a message with the fix."""

    path: Path
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


def check(path: Path) -> list[Fault]:
    """Return what is wrong with the prose of a file of Python or Markdown."""
    text = path.read_text()
    if path.suffix == ".md":
        return [
            Fault(path, line, message)
            for line, part in _parts_of_document(text)
            for message in faults_of(part)
        ]
    faults = []
    for line, docstring in _docstrings(text):
        messages = faults_of(docstring) + faults_of_beginning(docstring)
        faults += [Fault(path, line, message) for message in messages]
    for line, comment in _comments(text):
        faults += [Fault(path, line, message) for message in faults_of(comment)]
    return faults


def faults_of(text: str) -> list[str]:
    """Return what is wrong with the sentences of a text."""
    found = []
    for sentence in sentences(text):
        words = _words(sentence)
        if len(words) > MAX_WORDS:
            beginning = " ".join(words[:6])
            found.append(f"{len(words)} words in one sentence ({beginning} ...): split it")
        lower = " ".join(words).lower()
        found += [
            f'"{banned}" ({" ".join(words[:6])} ...): write "{better}"'
            for banned, better in BANNED.items()
            if re.search(rf"\b{banned}\b", lower)
        ]
    return found


def faults_of_beginning(docstring: str) -> list[str]:
    """Return what is wrong with the first sentence of a docstring."""
    first = next(iter(sentences(docstring)), "")
    if not first.rstrip("\"')*_`").endswith((".", "!", "?", ":")):
        return [f"the first sentence does not end ({first[:40]!r}): end it with a period"]
    if _RELATIVES.match(first):
        return [f"it begins with a relative ({first[:40]!r}): begin with the noun of the thing"]
    return []


def sentences(text: str) -> list[str]:
    """Return the sentences of a text. Items of a list are apart from each other."""
    text = _CODE.sub("code", _LINK.sub(r"\1", text))
    text = _ABBREVIATION.sub(lambda match: match.group(1).replace(".", ""), text)
    found = []
    for item in _ITEM.split(text):
        if item is not None and not re.fullmatch(r"[-*+]|\d+\.", item.strip()):
            found += [part.strip() for part in _END.split(item) if part and part.strip()]
    return found


def _words(sentence: str) -> list[str]:
    return [word for word in sentence.split() if re.search(r"\w", word)]


def _docstrings(source: str) -> Iterator[tuple[int, str]]:
    """Give each docstring with its line: of modules, classes, functions, and of names."""
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        if not isinstance(body, list):
            continue
        has_docstring = isinstance(
            node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        )
        for index, item in enumerate(body):
            if not (isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant)):
                continue
            text = item.value.value
            of_name = index and isinstance(body[index - 1], ast.Assign | ast.AnnAssign)
            if isinstance(text, str) and ((has_docstring and index == 0) or of_name):
                yield item.lineno, _without_blocks(text)


def _without_blocks(text: str) -> str:
    """Return a docstring without what is indented, as code is."""
    lines = text.splitlines()
    indents = [len(line) - len(line.lstrip()) for line in lines[1:] if line.strip()]
    usual = min(indents, default=0)
    kept = lines[:1] + [
        line for line in lines[1:] if not line.strip() or line[usual : usual + 4].strip()
    ]
    return "\n".join(kept)


def _comments(source: str) -> Iterator[tuple[int, str]]:
    """Give the comments with their lines; those of successive lines are one."""
    first, last, words = 0, 0, ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        text = token.string.lstrip("#").strip()
        if text.startswith(_MARKS):
            continue
        alone = not token.line[: token.start[1]].strip()
        if words and alone and token.start[0] == last + 1:
            words, last = f"{words} {text}", token.start[0]
            continue
        if words:
            yield first, words
        first = last = token.start[0]
        words = text
    if words:
        yield first, words


def _parts_of_document(text: str) -> Iterator[tuple[int, str]]:
    """Give the paragraphs of a document with their lines, without code, tables and headings."""
    paragraph: list[str] = []
    first, fenced = 1, False
    for number, line in enumerate([*text.splitlines(), ""], start=1):
        bare = line.strip()
        if bare.startswith(("```", "~~~", ":::")):
            fenced = not fenced
            bare = ""
        elif fenced or bare.startswith(("|", "#", "<", ":", "{")) or bare.endswith("|"):
            bare = ""
        if bare:
            first = first if paragraph else number
            paragraph.append(line.lstrip("> "))
        elif paragraph:
            yield first, "\n".join(paragraph)
            paragraph = []
