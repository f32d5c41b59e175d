"""Figures: the tracker is asked for windows once a second, however many ask; counts are exact."""

import asyncio

import pytest

from raytasks.api.figures import KEPT_SECONDS, Figures
from raytasks.model.tasks import StoreUnavailable
from raytasks.protocol.queries import Query, Statistics
from raytasks.testing import FakeClock
from tests.local_service import Api
from tests.making import NOW


class Tracker:
    """A reader that counts what it is asked, and fails when it is told to."""

    def __init__(self) -> None:
        self.windows = 0
        self.counts = 0
        self.failure: Exception | None = None

    async def read(self, query: Query[dict[str, int]]) -> dict[str, int]:
        """Answer with how often that was asked."""
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
        if isinstance(query, Statistics):
            self.windows += 1
            return {"windows": self.windows}
        self.counts += 1
        return {"count": self.counts}


@pytest.fixture
def tracker() -> Tracker:
    """The reader."""
    return Tracker()


@pytest.fixture
def figures(tracker: Tracker, clock: FakeClock) -> Figures:
    """Figures by a clock that only the test moves."""
    assert clock() == NOW
    return Figures(tracker, clock)  # type: ignore[arg-type] # its answers are of one kind


async def test_many_who_ask_cost_the_tracker_one_call(
    figures: Figures, tracker: Tracker, clock: FakeClock
) -> None:
    found = await asyncio.gather(*(figures.of("a") for _ in range(50)))
    assert (tracker.windows, tracker.counts) == (1, 50)
    assert {one["windows"] for one in found} == {1}
    assert (await figures.of("b"))["windows"] == 2
    clock.advance(KEPT_SECONDS)
    assert (await figures.of("a"))["windows"] == 3


async def test_a_failure_is_not_kept(figures: Figures, tracker: Tracker) -> None:
    tracker.failure = StoreUnavailable("away")
    with pytest.raises(StoreUnavailable):
        await figures.of("a")
    tracker.failure = None
    assert (await figures.of("a"))["windows"] == 1


async def test_who_leaves_takes_nothing_from_the_others(figures: Figures) -> None:
    first = asyncio.ensure_future(figures.of("a"))
    second = asyncio.ensure_future(figures.of("a"))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second)["windows"] == 1


async def test_counts_come_from_the_database_alone(api: Api) -> None:
    task = await api.submit()
    await api.finished(task)
    for number in (1, 2):
        await api.submit(delay_seconds=60)
        found = (await api.client.get("/stats")).json()
        assert found["counts"]["by_state"]["PENDING"] == number
    assert api.service.backend.calls["Statistics"] == 1
