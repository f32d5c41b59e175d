"""Old places of names: what README and docs of 0.1 show is found there until version 0.4."""

import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def moved(old: str, places: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the `__getattr__` of the module `old`. `places` say where each name is now.

    It warns with a `DeprecationWarning` that names the new place.
    """

    def find(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {old!r} has no attribute {name!r}")
        warnings.warn(
            f"import {name} from {places[name]}, not from {old}", DeprecationWarning, stacklevel=2
        )
        return getattr(import_module(places[name]), name)

    return find
