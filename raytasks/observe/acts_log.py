"""The acts of people in the service's log."""

import logging
from collections.abc import Mapping

from raytasks.observe.log_record import with_fields

log = logging.getLogger(__name__)


def log_act(
    by: str,
    action: str,
    namespace: str | None,
    target: str,
    details: Mapping[str, str | int | float | bool | None] | None = None,
) -> None:
    """Log that a person has changed something. Call it once the change is on disk.

    - `by`: who it was: the name of a key, `local`, or `user@host`.
    - `action`: the verb, such as `cancel`, `retry`, `bulk.cancel`, `pause` or `deploy`.
    - `namespace`: where; None for the whole service.
    - `target`: what was changed: the id of a task or of a bulk operation, or a name.
    - `details`: further fields of the line. A value that is None is left out.
    """
    fields = {"by": by, "action": action, "namespace": namespace, "target": target}
    log.info(
        "%s of %s by %s", action, target, by, extra=with_fields(**{**(details or {}), **fields})
    )
