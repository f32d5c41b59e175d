"""The values of limits by a value, as arguments of commands: NAME=VALUE."""

import re
from collections.abc import Sequence
from typing import Any

from raytasks.cli.options import UsageError

_WHOLE = re.compile("-?[0-9]{1,15}")
_QUOTED = re.compile('"(.*)"', re.DOTALL)
_WORDS = {"true": True, "false": False, "null": None}


def limit_values_of(given: Sequence[str] | None) -> dict[str, Any] | None:
    """Return the values of limits by the limits' names.

    Whole numbers, flags and null are no texts, unless they are in quotes. Raises `UsageError`.
    """
    values: dict[str, Any] = {}
    for item in given or ():
        name, equals, text = item.partition("=")
        if not (name and equals):
            raise UsageError(f"--limit-value: {item!r} is not NAME=VALUE")
        if quoted := _QUOTED.fullmatch(text):
            values[name] = quoted[1]
        else:
            values[name] = int(text) if _WHOLE.fullmatch(text) else _WORDS.get(text, text)
    return values or None
