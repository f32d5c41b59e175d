"""Signs of life that other clusters write into the database, and how long each has been silent."""

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass


@dataclass
class _Heard:
    """The last sign of one cluster, and when it was new."""

    sign: Hashable
    at: float


class SignsOfLife:
    """The times at which each of some clusters was last heard of, by looks at its last sign.

    Silence counts only as long as somebody looked: after an outage of the database, or if this
    process was frozen, it proves nothing. So each silence begins again at a look that comes more
    than half a lease after the one before, or after `missed`.
    """

    def __init__(self, lease_seconds: float) -> None:
        self._lease_seconds = lease_seconds
        self._heard: dict[str, _Heard] = {}
        self._looked_at = -math.inf

    def look(self, now: float, signs: Mapping[str, Hashable]) -> None:
        """Take in the last sign of each cluster, by owner; those not among them are forgotten."""
        is_continued = now - self._looked_at <= self._lease_seconds / 2
        self._looked_at = now
        before, self._heard = self._heard, {}
        for owner, sign in signs.items():
            known = before.get(owner)
            is_silent = known is not None and known.sign == sign and is_continued
            self._heard[owner] = known if known and is_silent else _Heard(sign, now)

    def missed(self) -> None:
        """Take in that the database could not be asked: the next look proves no silence."""
        self._looked_at = -math.inf

    def seen_at(self, owner: str) -> float:
        """Return since when a cluster is silent, in seconds of the monotonic clock."""
        return self._heard[owner].at

    def silent(self, now: float) -> list[str]:
        """Return the owners that have been silent for more than a lease."""
        return [
            owner for owner, heard in self._heard.items() if now - heard.at > self._lease_seconds
        ]
