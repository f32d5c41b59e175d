"""Runners' news with one item per key: a repetition adds none."""

from collections.abc import Callable, Hashable, Iterator
from itertools import islice
from typing import Generic, TypeVar

from msgspec.structs import replace

from raytasks.model.tasks import Running
from raytasks.protocol.messages import AttemptLog, Outcome, Report

Item = TypeVar("Item")

_FIXED = 300
"""Approximate bytes of an item without its texts."""


class News(Generic[Item]):
    """Items in order, one for each key. `size` returns the bytes of an item.

    `merge` makes one item of an earlier and a later one of the same key.
    """

    def __init__(
        self,
        key: Callable[[Item], Hashable],
        size: Callable[[Item], int],
        merge: Callable[[Item, Item], Item],
    ) -> None:
        self._key = key
        self._size = size
        self._merge = merge
        self._items: dict[Hashable, Item] = {}
        self.bytes = 0

    def append(self, item: Item) -> None:
        """Add an item; if its key is known, it keeps the earlier place."""
        key = self._key(item)
        known = self._items.get(key)
        if known is not None:
            self.bytes -= self._size(known)
            item = self._merge(known, item)
        self._items[key] = item
        self.bytes += self._size(item)

    def take_all(self, other: "News[Item]") -> None:
        """Move all items of `other` here, before the present ones."""
        later = list(self._items.values())
        self._items, self.bytes = other._items, other.bytes
        other._items, other.bytes = {}, 0
        for item in later:
            self.append(item)

    def take_first(self, other: "News[Item]", most: int) -> None:
        """Move the first items of `other` here, at most `most`."""
        if len(other) <= most:
            self.take_all(other)
            return
        for key in list(islice(other._items, most)):
            item = other._items.pop(key)
            other.bytes -= self._size(item)
            self.append(item)

    def keep(self, wanted: Callable[[Item], bool]) -> None:
        """Forget all items except those for which `wanted` is true."""
        for key, item in list(self._items.items()):
            if not wanted(item):
                del self._items[key]
                self.bytes -= self._size(item)

    def __iter__(self) -> Iterator[Item]:
        return iter(list(self._items.values()))

    def __len__(self) -> int:
        return len(self._items)

    def has(self, key: Hashable) -> bool:
        """Return whether there is an item of this key."""
        return key in self._items


def outcomes() -> "News[tuple[Running, Outcome]]":
    """Return an empty collection of outcomes: the first one of an attempt stays."""
    return News(
        lambda item: (item[1].task_id, item[1].attempt),
        lambda item: outcome_size(item[1]),
        lambda known, _new: known,
    )


def late_outcomes() -> "News[tuple[str, Outcome]]":
    """Return an empty collection of outcomes of ended attempts, each with its runner's id."""
    return News(
        lambda item: (item[0], item[1].task_id, item[1].attempt),
        lambda item: outcome_size(item[1]),
        lambda known, _new: known,
    )


def reports() -> "News[tuple[str, Report]]":
    """Return an empty collection of progress and checkpoints, each with its runner's id.

    Of progress the newest counts.
    """
    return News(_report_key, lambda item: report_size(item[1]), _merged)


def logs() -> "News[tuple[str, AttemptLog]]":
    """Return an empty collection of attempts' log lines, each with its runner's id.

    Lines that are sent again, perhaps with later ones, take the place of the earlier message.
    """
    return News(
        _log_key,
        lambda item: log_size(item[1]),
        lambda known, new: max(new, known, key=lambda item: len(item[1].lines)),
    )


def outcome_size(outcome: Outcome) -> int:
    """Return the approximate bytes of an outcome."""
    return _FIXED + len(outcome.result or "") + len(outcome.error or "")


def report_size(report: Report) -> int:
    """Return the approximate bytes of a report."""
    return _FIXED + len(report.checkpoint or "") + len(report.message or "")


def log_size(log: AttemptLog) -> int:
    """Return the approximate bytes of the lines of a log."""
    return _FIXED + sum(_FIXED + len(line.message) for line in log.lines)


def _report_key(item: tuple[str, Report]) -> Hashable:
    runner_id, report = item
    if report.is_acknowledged:
        return runner_id, report.number
    return runner_id, report.task_id, report.attempt


def _log_key(item: tuple[str, AttemptLog]) -> Hashable:
    runner_id, log = item
    return runner_id, log.task_id, log.attempt, log.lines[0].number if log.lines else 0


def _merged(known: tuple[str, Report], new: tuple[str, Report]) -> tuple[str, Report]:
    runner_id, report = new
    earlier = known[1]
    return runner_id, replace(
        report,
        fraction=earlier.fraction if report.fraction is None else report.fraction,
        message=earlier.message if report.message is None else report.message,
        began_at=earlier.began_at if report.began_at is None else report.began_at,
    )
