"""Limits, rates and order by key in a schedule, and their judge, which counts from the database."""

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, NamedTuple

from raytasks.model.controls import Limit, default_burst
from raytasks.model.handler_info import HandlerInfo, HandlerKind
from raytasks.model.lane_names import lane_of, limit_values_of
from raytasks.tracker.lane_book import Lanes
from tests.simulation.account import Account

_ALL = Limit("all", running=1)
_TWO = Limit("two", running=2)
_KEY = Limit("key", running=1, by="/key")
_RATE = Limit("rate", rate=2.0, burst=2)
_KEYED_RATE = Limit("keyed-rate", rate=1.0, burst=1, by="/key")
_ORDER = Limit("order", running=1, by="/key", ordered=True)
_OTHER = Limit("other", running=1, by="/other")

_CHOICES: tuple[Mapping[str, tuple[Limit, ...]], ...] = (
    {"short": (_ALL,), "other": (_ALL,), "far": (_ALL,)},
    {"short": (_KEY, _TWO), "other": (_KEY,)},
    {"short": (_RATE,), "other": (_KEYED_RATE,), "far": (_RATE,)},
    {"short": (_ORDER,), "other": (_OTHER,)},
    {"short": (_ORDER, _OTHER), "other": (_ORDER,), "far": (_ORDER, _TWO)},
    {"short": (_KEYED_RATE, _ORDER), "far": (_TWO,)},
)

_COLUMNS = "task_id, task_type, state, namespace, limit_values, rank, ready, attempt"

Key = tuple[str, str | None]
"""A limit, and the namespace and value of its key as JSON; None for one without a key."""


class _Row(NamedTuple):
    """A task, as far as limits are concerned."""

    task_id: str
    task_type: str
    state: str
    namespace: str
    limit_values: str | None
    rank: float
    ready: int
    attempt: int


class Flow:
    """The limits of a schedule. Many have none, as faults that have nothing to do with them do."""

    def __init__(
        self,
        seed: int,
        reader: sqlite3.Connection,
        account: Account,
        fail: Callable[[str], None],
        *,
        has_spaces: bool,
    ) -> None:
        draw = Random(seed + 5_000_000_011)
        self.limits = draw.choice(_CHOICES) if draw.random() < 0.5 else {}
        self.is_active = has_spaces or bool(self.limits)
        self._reader = reader
        self._account = account
        self._fail = fail
        self._rows: dict[str, _Row] = {}
        self._claims: defaultdict[Key, list[tuple[float, tuple[str, int]]]] = defaultdict(list)

    @property
    def infos(self) -> list[HandlerInfo]:
        """The handlers of the schedule; none if it has no limits."""
        kinds = {"short": HandlerKind.FUNCTION, "other": HandlerKind.FUNCTION}
        kinds["far"] = HandlerKind.REMOTE
        return [
            HandlerInfo(name, kind, (0, 1), limits=self.limits.get(name, ()))
            for name, kind in kinds.items()
            if self.limits
        ]

    def placed(self, task_type: str, number: int, namespace: str) -> dict[str, Any]:
        """Return the payload, the limit values and the lane of a task, as a replica makes them."""
        payload = {"n": number, "key": number % 2, "other": number % 3}
        values = limit_values_of(payload, self.limits.get(task_type, ()))
        return {
            "payload": json.dumps(payload),
            "limit_values": values,
            "lane": lane_of(namespace, values),
        }

    def look(self, now: float) -> None:
        """Judge what a write has changed that was committed now, by the loop's time."""
        if not self.is_active:
            return
        read = self._reader.execute(f"SELECT {_COLUMNS} FROM tasks")
        before, self._rows = self._rows, {row[0]: _Row(*row) for row in read}
        running: Counter[Key] = Counter()
        for row in self._rows.values():
            if row.state != "RUNNING":
                continue
            running.update(self._keys(row))
            old = before.get(row.task_id)
            if old is None or old.attempt != row.attempt:
                for key in self._keys(row):
                    self._claims[key].append((now, (row.task_id, row.attempt)))
                self._judge_order(row, before)
        for name, limit in self._declared.items():
            for key, number in running.items():
                if key[0] == name and limit.running is not None and number > limit.running:
                    self._fail(f"{number} attempts of {key} run, and {limit.running} may")

    def judge_memory(self, lanes: Lanes) -> None:
        """See that a tracker's memory has what is on disk."""
        if not self.is_active:
            return
        ready: Counter[tuple[str, str]] = Counter()
        running: Counter[Key] = Counter()
        for row in self._rows.values():
            if row.ready:
                ready[row.task_type, lane_of(row.namespace, row.limit_values)] += 1
            if row.state == "RUNNING":
                running.update(self._keys(row))
        known = {(row.task_type, row.lane): row.waiting for row in lanes.rows()}
        if known != dict(ready):
            self._fail(f"the tracker knows the lanes {known}, and there are {dict(ready)}")
        counted = Counter(
            {
                (limit.name, None if key is None else json.dumps(key[:2])): gate.running
                for limit in lanes.limits.by_name.values()
                for key, gate in limit.gates.items()
            }
        )
        if +counted != running:
            self._fail(f"the tracker counts {+counted}, and these run: {running}")

    def at_the_end(self, lanes: Lanes) -> None:
        """See that no slot has leaked, and that rates were kept."""
        is_idle = all(row.state != "RUNNING" for row in self._rows.values())
        for known in lanes.limits.by_name.values() if is_idle else ():
            for place, gate in known.gates.items():
                if gate.running or gate.ending or gate.reserved or gate.put_off:
                    self._fail(f"all has ended, and {known.name} of {place} is used")
        for key, claims in self._claims.items():
            limit = self._declared[key[0]]
            if limit.rate is None:
                continue
            per_second = limit.rate / limit.per_seconds
            burst = limit.burst or default_burst(limit.rate, limit.per_seconds)
            times = sorted(at for at, attempt in claims if attempt in self._account.begun)
            for first, since in enumerate(times):
                for last in range(first, len(times)):
                    allowed = per_second * (times[last] - since) + burst
                    if last - first + 1 > allowed + 1e-6:
                        self._fail(f"{key} began too often: {times[first : last + 1]}")

    @property
    def _declared(self) -> dict[str, Limit]:
        return {limit.name: limit for limits in self.limits.values() for limit in limits}

    def _keys(self, row: _Row) -> list[Key]:
        values = {} if row.limit_values is None else json.loads(row.limit_values)
        return [
            (
                limit.name,
                None if limit.by is None else json.dumps((row.namespace, values.get(limit.name))),
            )
            for limit in self.limits.get(row.task_type, ())
        ]

    def _judge_order(self, row: _Row, before: Mapping[str, _Row]) -> None:
        """See that no task of the same ordered key should have come before this one."""
        ordered = {key for key in self._keys(row) if self._declared[key[0]].ordered}
        for other in self._rows.values() if ordered else ():
            if other.task_id == row.task_id or other.state not in ("PENDING", "RETRYING"):
                continue
            known = before.get(other.task_id)
            # A change of its payload may just have given it the key.
            if known is None or not ordered.intersection(self._keys(other), self._keys(known)):
                continue
            is_put_off = other.attempt > 0 and not other.ready and known.attempt == other.attempt
            is_put_off = is_put_off and not known.ready  # if it was, a person has just put it off
            is_first = known.ready and (other.rank, other.task_id) < (row.rank, row.task_id)
            if (old := before.get(row.task_id)) is not None:  # a person may have changed the order
                is_first = is_first and (known.rank, known.task_id) < (old.rank, old.task_id)
            if is_put_off or (other.ready and is_first):
                self._fail(f"{row} was claimed before {other}")
