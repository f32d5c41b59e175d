"""Foreign runners: their code speaks a version of the messages that this tracker does not."""

import logging
from collections.abc import Callable

from raytasks.protocol import protocol_version as version
from raytasks.protocol.messages import Exchange, Orders
from raytasks.tracker.work_health import MAX_NAMED, HealthReason, health_reason

log = logging.getLogger(__name__)

MAX_KEPT = 1000
"""Maximum number of foreign runners that are remembered."""

_FORGET_LEASES = 2.0


class ForeignRunners:
    """The foreign runners that have called lately: each is logged once, and named in `/health`.

    One that is too old is told to end, so that its pool makes one of the present code. One that is
    too new would only be made again, as the code on its machine was replaced. So it stays idle
    until somebody acts. `monotonic` returns seconds.
    """

    def __init__(self, lease_seconds: float, monotonic: Callable[[], float]) -> None:
        self._lease_seconds = lease_seconds
        self._monotonic = monotonic
        self._seen: dict[str, tuple[float, str]] = {}

    def orders_for(self, exchange: Exchange) -> Orders | None:
        """Return the orders for a foreign runner; None for one that is understood."""
        protocol, needs = exchange.protocol, exchange.needs
        if not (version.is_too_old(protocol) or version.is_too_new(needs)):
            return None
        why = version.difference(f"the runner {exchange.name}", protocol, needs)
        if exchange.name not in self._seen:
            log.warning("no task is given to a runner of another version: %s", why)
            while len(self._seen) >= MAX_KEPT:
                del self._seen[next(iter(self._seen))]
        self._seen[exchange.name] = self._monotonic(), why
        return Orders(end=not version.is_too_new(needs), reason=why)

    def reasons(self) -> list[HealthReason]:
        """Return the reason of `/health`, if such runners have called lately."""
        oldest = self._monotonic() - _FORGET_LEASES * self._lease_seconds
        self._seen = {name: seen for name, seen in self._seen.items() if seen[0] >= oldest}
        if not self._seen:
            return []
        _, why = next(iter(self._seen.values()))
        names = ", ".join(list(self._seen)[:MAX_NAMED])
        text = f"{len(self._seen)} runners of another version get no tasks ({names}): {why}"
        return [health_reason("other_version", text, version.FIX, count=len(self._seen))]
