"""The acts of people, once they are on disk: each is a line of the service's log."""

from collections.abc import Iterable

from msgspec import json

from raytasks.model.acts import AuditEntry
from raytasks.observe.acts_log import log_act


def log_acts(entries: Iterable[AuditEntry]) -> None:
    """Log acts that were committed. Values that are not plain are left out of the line."""
    for item in entries:
        details = {} if item.details is None else json.decode(item.details)
        plain = {
            name: value
            for name, value in details.items()
            if value is None or isinstance(value, str | int | float)
        }
        log_act(item.by, item.action, item.namespace, item.target or "the service", plain)
