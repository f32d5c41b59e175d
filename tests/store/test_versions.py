"""The numbers of the handlers' versions in the database."""

import pytest
from sqlalchemy import text

from raytasks.store.store import Store
from raytasks.store.transaction import Superseded
from raytasks.store.version_rows import VersionRow, VersionState


@pytest.fixture
def epoch(store: Store) -> int:
    """The epoch of a tracker that has taken over."""
    return store.begin_epoch(1.0, "owner")


def test_a_build_is_numbered_at_first_sight(store: Store, epoch: int) -> None:
    first, new = store.number_version(epoch, "t1", "g", {}, 10.0)
    assert new
    assert first == VersionRow(first.number, "t1", "g", VersionState.TRIAL, 10.0, None)
    second, _ = store.number_version(epoch, "t2", "g", {}, 5.0)  # clocks play no part
    assert second.number > first.number
    assert store.number_version(epoch, "t1", "g", {}, 20.0) == (first, False)
    assert [row.token for row in store.versions(10)] == ["t2", "t1"]
    assert [row.token for row in store.versions(1)] == ["t2"]


def test_what_each_declares_is_stored_with_it(store: Store, epoch: int) -> None:
    for token, declared in (("t1", {"a": "1"}), ("t2", {"a": "2", "b": "1"}), ("t3", {})):
        store.number_version(epoch, token, "g", declared, 10.0)
    store.number_version(epoch, "t1", "g", {"other": "1"}, 20.0)  # it stays as it was first seen
    with store.writing_own() as connection:  # of a release that stored none
        connection.execute(
            text("UPDATE handlers_versions SET declarations = NULL WHERE number = 2")
        )
    assert store.version_declarations(10) == {1: {"a": "1"}, 3: {}}
    assert store.version_declarations(1) == {3: {}}


def test_the_first_word_of_a_trial_counts(store: Store, epoch: int) -> None:
    store.number_version(epoch, "t1", "g", {}, 1.0)
    store.judge_version(epoch, "t1", VersionState.FAILED, "module 'x' is missing")
    store.judge_version(epoch, "t1", VersionState.PASSED, None)
    [row] = store.versions(10)
    assert (row.state, row.detail) == (VersionState.FAILED, "module 'x' is missing")


def test_an_earlier_tracker_numbers_nothing(store: Store, epoch: int) -> None:
    store.number_version(epoch, "t1", "g", {}, 1.0)
    later = store.begin_epoch(2.0, "other")
    with pytest.raises(Superseded):
        store.number_version(epoch, "t2", "g", {}, 1.0)
    with pytest.raises(Superseded):
        store.judge_version(epoch, "t1", VersionState.PASSED, None)
    assert [row.state for row in store.versions(10)] == [VersionState.TRIAL]
    store.number_version(later, "t2", "g", {}, 1.0)
