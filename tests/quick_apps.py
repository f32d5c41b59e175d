"""A pytest plugin: apps that are built again share what FastAPI has derived from equal parameters.

Hundreds of tests build the API. Most of that time goes into one pydantic adapter for each
parameter and body, which is the same each time.
"""

from collections.abc import Hashable
from typing import Any

import pytest
from fastapi._compat import v2
from pydantic import TypeAdapter
from pydantic.fields import FieldInfo

_SLOTS = tuple(
    name
    for name in FieldInfo.__slots__
    if not name.startswith("_original") and name not in ("annotation", "metadata")
)


class SharedAdapters:
    """The adapters of all fields so far, by all that makes a field what it is."""

    def __init__(self) -> None:
        self._known: dict[Hashable, TypeAdapter[Any]] = {}
        self._derive = v2.ModelField.__post_init__

    def give(self, field: v2.ModelField) -> None:
        """Give a field its adapter: that of an equal field, if there was one."""
        key = _key(field)
        if key is None:
            self._derive(field)
        elif key in self._known:
            field._type_adapter = self._known[key]
        else:
            self._derive(field)
            self._known[key] = field._type_adapter


def _key(field: v2.ModelField) -> Hashable | None:
    """Return what two fields must have in common; None where one has what cannot be compared."""
    info = field.field_info
    if field.config is not None:
        return None
    parts: list[Any] = [type(info), info.annotation]
    parts += [(type(part), part, repr(part)) for part in info.metadata]
    for name in _SLOTS:
        value = getattr(info, name)
        if isinstance(value, dict | set):
            value = tuple(value.items()) if isinstance(value, dict) else frozenset(value)
        parts.append((type(value), value))
    key = tuple(parts)
    try:
        hash(key)
    except TypeError:
        return None
    return key


def pytest_configure(config: pytest.Config) -> None:
    """Have all apps of this process share their adapters."""
    shared = SharedAdapters()

    def post_init(field: v2.ModelField) -> None:
        shared.give(field)

    patch = pytest.MonkeyPatch()
    patch.setattr(v2.ModelField, "__post_init__", post_init)
    config.add_cleanup(patch.undo)
