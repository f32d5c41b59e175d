"""Fixtures of the tracker's tests: a real store that can have faults, beneath the tracker."""

import pytest

from tests.tracking import FaultyStore


@pytest.fixture
def store(faulty_store: FaultyStore) -> FaultyStore:
    """The tracker's store."""
    return faulty_store
