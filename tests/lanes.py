"""A memory of lanes that knows only the store's changes, to be compared with the store itself."""

from collections.abc import Iterable

from raytasks.store.lane_rows import LaneRow, ReadyChange


class KnownLanes:
    """The lanes as somebody knows them who has read them once, and is told all changes since."""

    def __init__(self, rows: Iterable[LaneRow]) -> None:
        self.lanes = {(row.task_type, row.lane): row for row in rows}

    def apply(self, changes: Iterable[ReadyChange]) -> None:
        """Apply changes in order. No lane may ever have less than no task."""
        for change in changes:
            key = change.task_type, change.lane
            known = self.lanes.get(key)
            if known is None:
                known = LaneRow(*key, change.namespace, change.limit_values, 0, change.rank)
            waiting = known.waiting + change.change
            assert waiting >= 0, (change, known)
            assert (known.namespace, known.limit_values) == (change.namespace, change.limit_values)
            rank = min(known.rank, change.rank) if change.change > 0 else known.rank
            self.lanes[key] = known._replace(waiting=waiting, rank=rank)
            if waiting == 0:
                del self.lanes[key]

    def check(self, rows: Iterable[LaneRow]) -> None:
        """Check that these rows of the store are what is known, and no rank is below its bound."""
        stored = {(row.task_type, row.lane): row for row in rows}
        assert stored.keys() == self.lanes.keys()
        for key, row in stored.items():
            known = self.lanes[key]
            assert row.rank >= known.rank
            assert row == known._replace(rank=row.rank)
