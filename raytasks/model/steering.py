"""The settings of people at run time: they go before what the handlers declare.

Data only. Times are in seconds since the epoch (UTC). The tracker keeps one `Steering` in memory,
and the database has its rows.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from msgspec import Struct

from raytasks.model.controls import Limit

EVERYTHING = ("", "")
"""The key of the pause of the whole service."""


class LimitSetting(Struct, frozen=True, omit_defaults=True):
    """The bounds of a limit that a person has set. They replace the declared ones. See `Limit`."""

    name: str
    running: int | None
    rate: float | None
    per_seconds: float
    burst: int | None
    changed_at: float
    by: str


class PoolSetting(Struct, frozen=True, omit_defaults=True):
    """The fewest and the most runners of a pool that a person has set."""

    name: str
    least: int
    most: int
    changed_at: float
    by: str


class NamespaceSetting(Struct, frozen=True, omit_defaults=True):
    """The share of a namespace. `max_backlog` is how many of its tasks may wait; None: no bound."""

    namespace: str
    weight: float
    max_backlog: int | None
    changed_at: float
    by: str


class Pause(Struct, frozen=True, omit_defaults=True):
    """A pause: tasks of this namespace and type are not claimed. An empty text means all of them.

    It ends at `until`; None: when a person ends it. The pause of a `drain` is ended by a deployment
    as well.
    """

    namespace: str
    task_type: str
    since: float
    until: float | None
    by: str
    drain: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """The namespace and the type."""
        return self.namespace, self.task_type

    def holds(self, now: float) -> bool:
        """Return whether it has not ended yet."""
        return self.until is None or now < self.until


Setting: TypeAlias = LimitSetting | PoolSetting | NamespaceSetting | Pause
"""One thing that a person has set: a row of its table."""


class Removal(NamedTuple):
    """The end of a setting, by its class and key: a name, or the `key` of a pause."""

    kind: type[Setting]
    key: Any


SteeringChange: TypeAlias = Setting | Removal
"""A setting to be written in place of that with the same key, or one that ends."""


@dataclass
class Steering:
    """All that people have set, by name; pauses by namespace and type."""

    limits: dict[str, LimitSetting] = field(default_factory=dict)
    pools: dict[str, PoolSetting] = field(default_factory=dict)
    namespaces: dict[str, NamespaceSetting] = field(default_factory=dict)
    pauses: dict[tuple[str, str], Pause] = field(default_factory=dict)

    def find(self, kind: type[Setting], key: Any) -> Setting | None:
        """Return the setting of this class and key; None if nobody has set it."""
        return self._of(kind).get(key)

    def changed(self, changes: Iterable[SteeringChange], now: float) -> "Steering":
        """Return what is set after these changes, without pauses that have ended."""
        after = Steering(
            dict(self.limits),
            dict(self.pools),
            dict(self.namespaces),
            {key: pause for key, pause in self.pauses.items() if pause.holds(now)},
        )
        for change in changes:
            if isinstance(change, Removal):
                after._of(change.kind).pop(change.key, None)
            else:
                after._of(type(change))[key_of(change)] = change
        return after

    def _of(self, kind: type[Setting]) -> dict[Any, Any]:
        tables: dict[type[Setting], dict[Any, Any]] = {
            LimitSetting: self.limits,
            PoolSetting: self.pools,
            NamespaceSetting: self.namespaces,
            Pause: self.pauses,
        }
        return tables[kind]

    def pause_of(self, namespace: str, task_type: str, now: float) -> Pause | None:
        """Return the pause that holds back such tasks, the widest first; None if none does."""
        if not self.pauses:
            return None
        for key in (EVERYTHING, (namespace, ""), ("", task_type), (namespace, task_type)):
            pause = self.pauses.get(key)
            if pause is not None and pause.holds(now):
                return pause
        return None

    def in_force(self, now: float) -> list[Pause]:
        """Return the pauses that hold, the widest first, then by namespace and type."""
        pauses = (pause for pause in self.pauses.values() if pause.holds(now))
        return sorted(pauses, key=lambda pause: (sum(map(bool, pause.key)), pause.key))

    def next_end(self, now: float) -> float | None:
        """Return when the next pause ends by itself; None if none does."""
        ends = [pause.until for pause in self.pauses.values() if pause.holds(now)]
        return min((end for end in ends if end is not None), default=None)

    def weight_of(self, namespace: str) -> float:
        """Return the share of a namespace; 1 unless a person has set it."""
        known = self.namespaces.get(namespace)
        return 1.0 if known is None else known.weight

    def bounds_of(self, limit: Limit) -> Limit:
        """Return a limit with the bounds that are in force."""
        known = self.limits.get(limit.name)
        if known is None:
            return limit
        return Limit(
            name=limit.name,
            # An ordered limit stays at one, whatever was set before it was declared so.
            running=1 if limit.ordered else known.running,
            rate=known.rate,
            per_seconds=known.per_seconds,
            burst=known.burst,
            by=limit.by,
            ordered=limit.ordered,
        )


def key_of(setting: Setting) -> Any:
    """Return the key of a setting: a name, or the namespace and type of a pause."""
    match setting:
        case Pause():
            return setting.key
        case NamespaceSetting():
            return setting.namespace
        case _:
            return setting.name
