"""The moves of waiting tasks to new lanes, after a version has changed keyed limits."""

import logging
import math
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from pydantic_core import from_json

from raytasks.model.controls import Limit
from raytasks.model.lanes import limit_values_of
from raytasks.model.tasks import HandlerInfo, StoreUnavailable
from raytasks.store.lane_rows import LaneRow
from raytasks.store.relaning import LaneCursor, RelaneResult
from raytasks.store.store import Store
from raytasks.store.transaction import Superseded
from raytasks.tracker.access import StoreAccess
from raytasks.tracker.claim_book import ClaimBook
from raytasks.tracker.limit_book import values_of

log = logging.getLogger(__name__)

PAUSE_SECONDS = 5.0
"""Seconds between a step that failed and the next try."""


class Stepping(Protocol):
    """The ticker, as far as a step needs it."""

    access: StoreAccess
    store: Store
    epoch: int

    @property
    def claims(self) -> ClaimBook:
        """Its memory of lanes."""

    def monotonic(self) -> float:
        """Return seconds since any time."""

    def clock(self) -> float:
        """Return seconds since the epoch."""

    def doubt(self, error: StoreUnavailable) -> None:
        """Read everything again, as a write is in doubt."""


class LaneMoves:
    """The types whose waiting tasks have to move, and how far their moves are.

    A step looks at some hundred tasks, in a transaction of its own between two ticks. A task whose
    payload has no usable value keeps the values that it has.
    """

    def __init__(self) -> None:
        self._infos: dict[str, HandlerInfo] = {}
        self._limits: dict[str, tuple[Limit, ...]] = {}
        self._todo: dict[str, LaneCursor] = {}
        self._moved = self._refused = 0
        self._until = -math.inf

    def begin(self, infos: Sequence[HandlerInfo], lanes: Iterable[LaneRow]) -> None:
        """Compare a new version with the one before it and with all `lanes`; begin the moves."""
        names: dict[str, set[frozenset[str]]] = {}
        for row in lanes:
            names.setdefault(row.task_type, set()).add(frozenset(values_of(row.limit_values)))
        before, self._infos = self._infos, {info.task_type: info for info in infos}
        for info in infos:
            wanted = frozenset(limit.name for limit in info.limits if limit.by is not None)
            known = before.get(info.task_type)
            differs = any(each != wanted for each in names.get(info.task_type, ()))
            if differs or (known is not None and _keys(known) != _keys(info)):
                self._limits[info.task_type] = info.limits
                self._todo[info.task_type] = LaneCursor()

    def is_due(self, now: float) -> bool:
        """Return whether there is a step to do, by the monotonic clock."""
        return bool(self._todo) and now >= self._until

    def seconds_until_due(self, now: float) -> float:
        """Return the seconds until the next step; infinite if there is nothing to do."""
        return self._until - now if self._todo else math.inf

    async def step(self, ticker: Stepping) -> None:
        """Do the next step. Raises `Superseded`."""
        task_type, cursor = next(iter(self._todo.items()))
        limits, epoch, now = self._limits[task_type], ticker.epoch, ticker.clock()

        def values(payload: str) -> str | None:
            return limit_values_of(from_json(payload), limits)

        try:
            done: RelaneResult = await ticker.access.write(
                lambda: ticker.store.relane_step(epoch, now, task_type, cursor, values)
            )
        except Superseded:
            raise
        except Exception as error:
            self._until = ticker.monotonic() + PAUSE_SECONDS
            log.warning("tasks of %s cannot move to their new lanes yet: %r", task_type, error)
            ticker.doubt(
                error if isinstance(error, StoreUnavailable) else StoreUnavailable(str(error))
            )
            return
        ticker.claims.note_step(done.ready_changes, ())
        self._note(task_type, cursor, done)

    def _note(self, task_type: str, asked: LaneCursor, done: RelaneResult) -> None:
        self._moved += done.changed
        self._refused += done.refused
        if self._todo.get(task_type) is not asked:
            return  # another version has begun it again meanwhile
        if done.cursor is not None:
            self._todo[task_type] = done.cursor
            return
        del self._todo[task_type], self._limits[task_type]
        log.info(
            "the waiting tasks of %s have the limits of the version in force: %d were moved, and "
            "%d have no usable value",
            task_type,
            self._moved,
            self._refused,
        )
        self._moved = self._refused = 0


def _keys(info: HandlerInfo) -> set[tuple[str, Any]]:
    return {(limit.name, limit.by) for limit in info.limits if limit.by is not None}
