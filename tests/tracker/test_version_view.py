"""The versions as documents: their types, and what each has changed."""

from typing import Any

from raytasks.store.version_rows import VersionRow, VersionState
from raytasks.tracker.version_view import version_documents

PASSED, FAILED, TRIAL = VersionState.PASSED, VersionState.FAILED, VersionState.TRIAL


def rows(*states: VersionState) -> list[VersionRow]:
    """Return versions with these states from number 1 on, the newest first."""
    return [
        VersionRow(number, f"t{number}", "g", state, 1000.0)
        for number, state in enumerate(states, 1)
    ][::-1]


def changes(since: int, **types: list[str]) -> dict[str, Any]:
    return {"since": since, "added": [], "gone": [], "changed": [], **types}


def test_each_is_compared_with_the_one_before_that_had_passed() -> None:
    declared = {
        1: {"a": "1", "b": "1"},
        2: {"a": "9", "z": "1"},
        3: {"a": "1", "b": "2", "c": "1"},
        4: {"c": "1"},
        5: {"c": "1"},
    }
    found = version_documents(rows(PASSED, FAILED, PASSED, TRIAL, PASSED), 5, {}, declared)
    assert [item["changes"] for item in found[::-1]] == [
        None,  # there is none before
        changes(1, added=["z"], gone=["b"], changed=["a"]),
        changes(1, added=["c"], changed=["b"]),  # not with the one that was refused
        changes(3, gone=["a", "b"]),
        changes(3, gone=["a", "b"]),
    ]
    assert [item["task_types"] for item in found] == [sorted(declared[n]) for n in (5, 4, 3, 2, 1)]
    assert [item["in_force"] for item in found] == [True, False, False, False, False]


def test_the_same_declarations_are_no_change() -> None:
    newest, _ = version_documents(rows(PASSED, PASSED), 2, {}, {1: {"a": "1"}, 2: {"a": "1"}})
    assert newest["changes"] == changes(1)


def test_what_an_earlier_release_has_stored_is_not_known() -> None:
    found = version_documents(rows(PASSED, PASSED, PASSED), 3, {3: ["b", "a"]}, {2: {"a": "1"}})
    assert [item["task_types"] for item in found] == [["a", "b"], ["a"], None]
    assert [item["changes"] for item in found] == [None, None, None]
