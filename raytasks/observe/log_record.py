"""The fields of a line of the service's log, on their way through Python's logging."""

import logging
from collections.abc import Mapping

FieldValue = str | int | float | bool
"""A value of a field."""

_ATTRIBUTE = "raytasks_fields"


def with_fields(**fields: FieldValue | None) -> dict[str, object]:
    """Return the `extra` of a call of a logger that gives its line these fields.

    A field that is None is left out.
    """
    return {_ATTRIBUTE: {name: value for name, value in fields.items() if value is not None}}


def fields_of(record: logging.LogRecord) -> Mapping[str, FieldValue]:
    """Return the fields of a record."""
    found: Mapping[str, FieldValue] = getattr(record, _ATTRIBUTE, {})
    return found
