"""The judge of counts and totals: what SQL counts must be what is there, and what has happened."""

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping

from tests.simulation.account import FINAL, Row

Key = tuple[str, str, str]
"""Namespace, task type, and a state or the name of a total."""

_STATES = {
    "P": "PENDING",
    "R": "RUNNING",
    "T": "RETRYING",
    "C": "COMPLETED",
    "F": "FAILED",
    "X": "CANCELLED",
}


class Counts:
    """Compares the counts of each namespace, type and state with the rows, after each write."""

    def __init__(self, reader: sqlite3.Connection, fail: Callable[[str], None]) -> None:
        self._reader = reader
        self._fail = fail
        self._totals: Counter[Key] = Counter()

    def look(self, rows: Mapping[str, Row], happened: Counter[str]) -> None:
        """Judge what is counted, by the tasks that are there and what has `happened` so often."""
        found = Counter((row.namespace, row.task_type, row.state) for row in rows.values())
        counts, totals = self._in_sql()
        kept = {key: number for key, number in counts.items() if number}
        if kept != dict(found):
            self._fail(f"the counts are {kept}, but there are {dict(found)}")
        self._add_up(found, totals, happened)

    def _in_sql(self) -> tuple[Counter[Key], Counter[Key]]:
        """Return the counts and the totals as they are in SQL: what is folded, and the steps."""
        read = self._reader.execute
        counts: Counter[Key] = Counter()
        totals: Counter[Key] = Counter()
        for space, kind, state, number in read(
            "SELECT namespace, task_type, state, tasks FROM task_counts"
        ):
            counts[space, kind, state] += number
        for space, kind, name, number in read(
            "SELECT namespace, task_type, name, value FROM totals"
        ):
            totals[space, kind, name] += number
        for space, kind, changes in read("SELECT namespace, task_type, changes FROM count_steps"):
            step = {_STATES.get(name, name): number for name, number in json.loads(changes).items()}
            states = {name: change for name, change in step.items() if name.isupper()}
            step.setdefault("submitted", max(0, sum(states.values())))
            for name in states.keys() & FINAL:
                step.setdefault(f"finished.{name}", max(0, states[name]))
            for name, change in step.items():
                (counts if name in states else totals)[space, kind, name] += change
        return counts, totals

    def _add_up(self, counts: Counter[Key], totals: Counter[Key], happened: Counter[str]) -> None:
        """See that the totals are those of all that has happened, and add up."""
        sums: Counter[tuple[str, str]] = Counter()
        by_name: Counter[str] = Counter()
        for (space, kind, name), number in totals.items():
            by_name[name] += number
            if name in ("submitted", "retried"):
                sums[space, kind] += number
            elif name.startswith("finished."):
                sums[space, kind] -= number
        for (space, kind, state), number in counts.items():
            sums[space, kind] -= 0 if state in FINAL else number
        if any(sums.values()):
            self._fail(f"the totals do not add up: {totals}, with {dict(counts)}")
        before, self._totals = self._totals, totals
        if any(totals.get(key, 0) < number for key, number in before.items()):
            self._fail(f"a total has fallen from {before} to {totals}")
        kept = {
            name.removeprefix("attempts."): number
            for name, number in by_name.items()
            if name.startswith("attempts.") or name in ("retried", "submitted")
        }
        kept["succeeded"] = by_name["finished.COMPLETED"]
        if +Counter(kept) != +happened:
            self._fail(f"the totals say {kept}, and what has happened is {dict(happened)}")
