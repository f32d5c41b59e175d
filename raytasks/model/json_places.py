"""Places in JSON, and faults that most readers of JSON pass over: where they are, and which."""

import json
from collections.abc import Iterator, Sequence
from typing import Any


def pointer(*parts: str | int) -> str:
    """Return a JSON pointer to a place, e.g. `/payload/text`; empty for the whole value."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def name_twice(text: bytes | str) -> tuple[str, str] | None:
    """Return the first object that has a name twice: a pointer to it, and the name.

    Readers keep one of the two values, so the other gets lost. Returns None if there is none. The
    text is JSON that can be read.
    """
    if isinstance(text, bytes):
        text = text.decode()
    try:
        _CHECKER.decode(text)
    except _FoundTwice:
        found = _walk(_FINDER.decode(text))
        return next((pointer(*place), item.name) for place, item in found if type(item) is _Twice)
    return None


class _FoundTwice(Exception):
    """There is an object that has a name twice."""


class _Twice(dict[str, Any]):
    """An object that has a name twice."""

    name = ""


def _distinct(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) < len(pairs):
        raise _FoundTwice


def _marked(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    twice = _Twice(found)
    names: set[str] = set()
    for name, _ in pairs:
        if name in names:
            twice.name = name
            break
        names.add(name)
    return twice


_CHECKER = json.JSONDecoder(object_pairs_hook=_distinct)
_FINDER = json.JSONDecoder(object_pairs_hook=_marked)


def _walk(value: Any) -> Iterator[tuple[Sequence[str | int], Any]]:
    """Yield all values with their places, in the order of the text."""
    waiting: list[tuple[tuple[str | int, ...], Any]] = [((), value)]
    while waiting:
        place, found = waiting.pop()
        yield place, found
        if isinstance(found, dict):
            waiting += [((*place, name), item) for name, item in reversed(found.items())]
        elif isinstance(found, list):
            inner = [((*place, index), item) for index, item in enumerate(found)]
            waiting += inner[::-1]
