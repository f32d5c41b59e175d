"""What the tests of the tracker share: a real store that can have faults, and a tracker on it."""

from collections.abc import AsyncIterator

import pytest
from tracking import FaultyStore, tracker_on

from raytasks.testing import FakeClock
from raytasks.tracker.core import Tracker


@pytest.fixture
def store(sqlite_url: str) -> FaultyStore:
    """A store of its own for one test."""
    return FaultyStore(sqlite_url)


@pytest.fixture
async def tracker(store: FaultyStore, clock: FakeClock) -> AsyncIterator[Tracker]:
    """A tracker that runs, with a clock that only the test moves."""
    async with tracker_on(store, clock=clock) as tracker:
        yield tracker
