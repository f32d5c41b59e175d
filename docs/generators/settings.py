"""The reference of the settings: defaults and bounds from the model, words from `.env.example`."""

import re
import types
import typing
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path

from pydantic.fields import FieldInfo

from docs.generators.tables import table
from raytasks.settings import PREFIX, Settings

EXAMPLE = Path(__file__).parents[2] / ".env.example"

INTRODUCTION = """\
# Settings

Settings are read from the environment and from the file `.env` in the working directory. The
environment wins. An unknown name that begins with `RAYTASKS_` is an error that names the nearest.
The variables that Kubernetes sets for a Service, such as `RAYTASKS_SERVICE_HOST`, are passed over.
The names without `RAYTASKS_` count too. So set ours where another program in the same environment
uses such a name: ours win.

This page is made from the model of the settings and from `.env.example`.
"""

OTHERS = """\
## Of the client

`raytasks.client` and the commands that call the API read three more, from the environment only.

| name | meaning |
|---|---|
| `RAYTASKS_URL` | Where the service is. For the command line; `Client` takes it as an argument. |
| `RAYTASKS_API_KEY` | The key for the service. |
| `RAYTASKS_NAMESPACE` | The namespace, for a key that is bound to none. For the command line. |
"""

_SECTION = re.compile(r"## (.+)")
_SETTING = re.compile(r"([A-Z0-9_]+)=(.*)")
_BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def page() -> str:
    """Return the page. Raises `LookupError` for a setting that the example does not explain."""
    parts = [INTRODUCTION]
    explained = set()
    for title, entries in sections():
        rows = []
        for name, value, words in entries:
            explained.add(name)
            rows.append((f"`{name}`", f"`{value}`" if value else "empty", _kind(name), words))
        parts.append(f"## {title}\n\n" + table(("name", "default", "kind", "meaning"), rows))
    missing = {PREFIX + name.upper() for name in Settings.model_fields} - explained
    if missing:
        raise LookupError(f".env.example does not explain {', '.join(sorted(missing))}")
    return "\n".join([*parts, OTHERS])


def sections() -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """Give each section of the example: its title, and name, value and words of its settings."""
    title, entries, words = "", list[tuple[str, str, str]](), list[str]()
    for line in EXAMPLE.read_text(encoding="utf-8").splitlines():
        if section := _SECTION.fullmatch(line):
            if entries:
                yield title, entries
            title, entries, words = section[1], [], []
        elif setting := _SETTING.fullmatch(line):
            entries.append((setting[1], setting[2], " ".join(words)))
            words = []
        else:
            words.append(line.removeprefix("#").strip())
    yield title, entries


def _kind(name: str) -> str:
    field = Settings.model_fields.get(name.removeprefix(PREFIX).lower())
    if not name.startswith(PREFIX) or field is None:
        return "text"
    return ", ".join([_type(field), *_bounds(field)])


def _type(field: FieldInfo) -> str:
    hint = field.annotation
    if isinstance(hint, types.UnionType):
        hint = next(kind for kind in typing.get_args(hint) if kind is not types.NoneType)
    if typing.get_origin(hint) is tuple:
        return "list, commas between"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return " or ".join(kind.value for kind in hint)
    if typing.get_origin(hint) is Mapping:
        return "text, commas between namespaces"
    if typing.get_origin(hint) is typing.Literal:
        *others, last = typing.get_args(hint)
        return f"{', '.join(others)} or {last}"
    return {bool: "true or false", int: "integer", float: "number", str: "text"}[hint]


def _bounds(field: FieldInfo) -> Iterator[str]:
    for rule in field.metadata:
        for name, sign in _BOUNDS.items():
            if hasattr(rule, name):
                yield f"{sign} {getattr(rule, name):g}"
