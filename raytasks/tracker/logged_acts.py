"""The acts of people, once they are on disk: each is a line of the service's log."""

import logging
from collections.abc import Iterable

from msgspec import json

from raytasks.model.acts import AuditEntry, NewAudit
from raytasks.model.tasks import StoreUnavailable
from raytasks.observe.acts_log import log_act
from raytasks.store.act_rows import write_audit
from raytasks.tracker.access import StoreAccess

log = logging.getLogger(__name__)


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


async def write_act(access: StoreAccess, act: NewAudit, now: float, seconds: float) -> None:
    """Write an act into the audit that changes no row, such as a stop, and log it.

    It has no fence, as it happens in whatever epoch. If the database does not answer within
    `seconds`, the log alone has it, and says so.
    """

    def write() -> list[AuditEntry]:
        with access.store.writing_own() as connection:
            return write_audit(connection, [act], now)

    try:
        log_acts(await access.write(write, seconds))
    except StoreUnavailable as error:
        log_act(act.by, act.action, act.namespace, act.target or "the service")
        log.warning("the audit may lack this %s: %s", act.action, error)
