"""The versions of the handlers as JSON documents for people, with what each has changed."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from raytasks.model.time_text import rfc3339
from raytasks.store.version_rows import VersionRow, VersionState

Declarations = Mapping[str, str]
"""A digest of each declaration, by task type."""


def version_documents(
    rows: Sequence[VersionRow],
    in_force: int | None,
    types: Mapping[int, Collection[str]],
    declared: Mapping[int, Declarations],
) -> list[dict[str, Any]]:
    """Return versions of the handlers; `rows` are the newest first.

    - `in_force`: the number of the one in force.
    - `types`: the task types that memory knows, by number of the version.
    - `declared`: what versions declare, as far as it is stored. Each is compared with the newest
      version before it that has passed its trial.
    """
    return [
        {
            "number": row.number,
            "generation": row.generation,
            "state": row.state.value,
            "seen_at": rfc3339(row.seen_at),
            "in_force": row.number == in_force,
            "error": row.detail,
            "task_types": _types(row.number, types, declared),
            "changes": _changes(row.number, rows[place + 1 :], declared),
        }
        for place, row in enumerate(rows)
    ]


def _types(
    number: int, types: Mapping[int, Collection[str]], declared: Mapping[int, Declarations]
) -> list[str] | None:
    found = types.get(number, declared.get(number))
    return None if found is None else sorted(found)


def _changes(
    number: int, earlier: Sequence[VersionRow], declared: Mapping[int, Declarations]
) -> dict[str, Any] | None:
    """Return what a version declares otherwise than the one before; None if that is unknown."""
    before = next((row.number for row in earlier if row.state is VersionState.PASSED), None)
    if before is None or number not in declared or before not in declared:
        return None
    new, old = declared[number], declared[before]
    return {
        "since": before,
        "added": sorted(new.keys() - old.keys()),
        "gone": sorted(old.keys() - new.keys()),
        "changed": sorted(name for name in new.keys() & old.keys() if new[name] != old[name]),
    }
