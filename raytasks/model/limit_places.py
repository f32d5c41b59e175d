"""Where the values of keyed limits come from: JSON pointers into payloads, of each version."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from raytasks.model.controls import Limit

MAX_FORMER = 16
"""Maximum number of former places that are known of a limit."""


class LimitPlaces(NamedTuple):
    """The places of the values of a type's keyed limits.

    - `present`: the JSON pointer of each limit of the version in force, by name.
    - `former`: the pointers of earlier versions, by name. A value may still come from there.
    - `since`: when the present places came into force, in seconds since the epoch.
    - `moved`: whether each waiting task is known to have the values of these limits.
    """

    present: Mapping[str, str]
    former: Mapping[str, Sequence[str]]
    since: float
    moved: bool = False

    @property
    def renewed(self) -> Mapping[str, Sequence[str]]:
        """The former places of the present limits, by name, without limits that have none."""
        return {name: self.former[name] for name in self.present if self.former.get(name)}

    def followed_by(self, present: Mapping[str, str], now: float) -> "LimitPlaces":
        """Return the places after a version with other limits came into force at `now`."""
        if present == self.present:
            return self
        former = {name: list(places) for name, places in self.former.items()}
        for name, place in self.present.items():
            if present.get(name) != place:
                known = former.setdefault(name, [])
                former[name] = [place, *(each for each in known if each != place)][:MAX_FORMER]
        for name, place in present.items():
            former[name] = [each for each in former.get(name, ()) if each != place]
        return LimitPlaces(dict(present), {k: v for k, v in former.items() if v}, now)


def places_of(limits: Sequence[Limit]) -> dict[str, str]:
    """Return the places of the keyed ones of some limits, by name."""
    return {limit.name: limit.by for limit in limits if limit.by is not None}
