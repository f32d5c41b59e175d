"""Fixtures of the pools' tests: a real store that can have faults."""

import pytest

from tests.tracking import FaultyStore


@pytest.fixture
def store(faulty_store: FaultyStore) -> FaultyStore:
    """A store of its own for one test."""
    return faulty_store
