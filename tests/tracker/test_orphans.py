"""Files that no task names are found and given up; those of a task, or of others, never are."""

import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from raytasks.artifacts.artifact_store import ArtifactStore
from raytasks.artifacts.large_values import LargeValues
from raytasks.model.schedule_specs import ScheduleKey
from raytasks.model.tasks import NewTask, StoreUnavailable
from raytasks.protocol.queries import TasksById
from raytasks.store.transaction import Superseded
from raytasks.testing import FakeClock
from raytasks.tracker import orphans as module
from raytasks.tracker.core import Tracker
from raytasks.tracker.orphans import AGE_SECONDS, SEEN_SECONDS, Orphans
from raytasks.tracker.retention import Retention
from raytasks.tracker.schedule_book import task_id_of
from tests.making import new_task
from tests.tracking import FaultyStore, tracker_on

START = 1_800_000_000.0


def large(values: LargeValues, made_at: float) -> NewTask:
    """Return a submission of a time whose payload was written to its file."""
    milliseconds = int(made_at * 1000) << 80
    name = str(uuid.UUID(int=milliseconds | 7 << 76 | 2 << 62 | uuid.uuid4().int >> 66))
    [kept] = values.externalize_payloads([new_task(1, task_id=name, payload='"' + "x" * 100 + '"')])
    return kept


class Place:
    """A tracker and its artifact store, on one clock."""

    def __init__(self, tracker: Tracker, artifacts: ArtifactStore, clock: FakeClock) -> None:
        self.tracker = tracker
        self.clock = clock
        self.artifacts = artifacts
        self.values = LargeValues(artifacts, offload_bytes=10)
        self.orphans = Orphans(tracker, artifacts, clock=clock, monotonic=clock)
        self.retention = Retention(tracker, artifacts.remove, seconds=None, clock=clock)

    def there(self) -> set[str]:
        return set(self.artifacts.overview()[0])

    async def sweep(self) -> list[str]:
        found = await self.orphans.sweep()
        await self.retention.remove_due()
        return found


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(START)


@pytest.fixture(params=["{}/artifacts", "memory://orphans{}"])
async def place(
    request: pytest.FixtureRequest, store: FaultyStore, clock: FakeClock, tmp_path: Path
) -> object:
    async with tracker_on(store, clock=clock) as tracker:
        yield Place(tracker, ArtifactStore(request.param.format(tmp_path)), clock)


async def test_the_payload_of_a_submission_that_never_came_to_be_goes(place: Place) -> None:
    lost = large(place.values, START)
    kept = large(place.values, START)
    await place.tracker.submit([kept])
    place.clock.advance(AGE_SECONDS + 1)
    assert await place.sweep() == []  # seen for the first time
    place.clock.advance(SEEN_SECONDS - 1)
    assert await place.sweep() == []
    place.clock.advance(1)
    assert await place.sweep() == [lost.task_id]
    assert place.there() == {kept.task_id}
    assert place.values.load_payload(
        (await place.tracker.read(TasksById([kept.task_id])))[kept.task_id]
    )
    assert await place.sweep() == []


async def test_those_of_a_schedule_go_too(place: Place) -> None:
    """Their ids are of another version, and begin with the time of the schedule."""
    key = ScheduleKey("default", "nightly")
    lost, known = (task_id_of(key, START - seconds, START) for seconds in (5, 6))
    for name in (lost, known):
        place.artifacts.save(name, "report.pdf", b"x")
    await place.tracker.submit([new_task(1, task_id=known)])
    place.clock.advance(AGE_SECONDS - 10)
    for _ in range(2):
        assert await place.sweep() == []
        place.clock.advance(SEEN_SECONDS)
    assert await place.sweep() == [lost]
    assert place.there() == {known}


@pytest.mark.parametrize(
    "name",
    [
        "9f2c0f0e-5d0b-4c39-9d4c-0a0a5a3a7f10",
        "ffffffff-ffff-8c39-9d4c-0a0a5a3a7f10",
        "00000000-0000-0000-0000-000000000000",
    ],
    ids=["chance", "no time", "nothing"],
)
async def test_an_id_that_tells_no_time_must_be_seen_for_a_day(place: Place, name: str) -> None:
    """A row of the outbox may bring any id."""
    place.artifacts.save(name, "picture.png", b"x")
    for _ in range(4):
        assert await place.sweep() == []
        place.clock.advance(AGE_SECONDS / 4 - 1)
    assert await place.sweep() == []
    place.clock.advance(4)
    assert await place.sweep() == [name]
    assert place.there() == set()


async def test_one_on_its_way_stays(place: Place) -> None:
    young = large(place.values, START)
    place.clock.advance(AGE_SECONDS - 10)
    for _ in range(3):
        assert await place.sweep() == []
    assert place.there() == {young.task_id}


async def test_a_wall_clock_that_jumps_ends_nothing(place: Place) -> None:
    """A file that is a day old by the wall clock only was not seen for long."""
    steady = FakeClock(0.0)
    place.orphans._monotonic = steady
    young = large(place.values, START)
    place.clock.advance(100 * AGE_SECONDS)
    for _ in range(3):
        assert await place.sweep() == []
        steady.advance(SEEN_SECONDS / 10)
    assert place.there() == {young.task_id}


async def test_one_that_is_committed_at_the_last_moment_stays(place: Place) -> None:
    late = large(place.values, START)
    place.clock.advance(AGE_SECONDS + 1)
    await place.sweep()
    place.clock.advance(SEEN_SECONDS)
    store = place.tracker.ticker.store
    read = store.read
    store.read = lambda query: set()  # type: ignore[method-assign, assignment, return-value]
    await place.tracker.submit([late])
    assert await place.sweep() == [late.task_id]
    store.read = read  # type: ignore[method-assign]
    assert place.there() == {late.task_id}


async def test_where_another_database_keeps_its_files_nothing_is_touched(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    foreign = large(place.values, START)
    place.artifacts.mark_used_by("another")
    place.clock.advance(AGE_SECONDS + 1)
    for _ in range(3):
        assert await place.sweep() == []
        place.clock.advance(SEEN_SECONDS)
    assert place.there() == {foreign.task_id}
    [record] = [item for item in caplog.records if "another" in item.getMessage()]
    assert "ARTIFACTS_URL" in record.getMessage()


async def test_what_cannot_be_of_a_task_is_not_looked_at(place: Place) -> None:
    files, root = place.artifacts._place
    for name in ("pictures", str(uuid.uuid4()).upper(), uuid.uuid4().hex):
        files.makedirs(f"{root}/{name}", exist_ok=True)
        files.pipe_file(f"{root}/{name}/picture.png", b"x")
    place.clock.advance(AGE_SECONDS + 1)
    for _ in range(3):
        assert await place.sweep() == []
        place.clock.advance(AGE_SECONDS)
    assert place.there() == set()
    assert len(files.ls(root, detail=False)) == 4  # and the mark


async def test_an_id_without_a_time_is_not_old_by_the_wall_clock(place: Place) -> None:
    place.artifacts.save(str(uuid.uuid4()), "picture.png", b"x")
    place.clock.advance(AGE_SECONDS + 1)
    for _ in range(3):
        assert await place.sweep() == []
        place.clock.advance(SEEN_SECONDS)
    assert len(place.there()) == 1


async def test_a_database_has_one_id_in_all_its_life(
    sqlite_url: str, store: FaultyStore, clock: FakeClock
) -> None:
    store.upgrade()
    first = store.database_id()
    assert first == store.database_id() == FaultyStore(sqlite_url).database_id()


async def test_an_outage_is_told(place: Place, store: FaultyStore) -> None:
    store.away = True
    large(place.values, START)
    place.clock.advance(AGE_SECONDS + 1)
    await place.orphans.sweep()
    place.clock.advance(SEEN_SECONDS)
    with pytest.raises(StoreUnavailable):
        await place.orphans.sweep()
    store.away = False
    assert time.time()


async def test_it_looks_again_sooner_after_an_outage_until_another_tracker_has_taken_over(
    tracker: Tracker, tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: Iterator[list[str] | Exception] = iter(
        [[], StoreUnavailable("away"), OSError("the files are away"), Superseded()]
    )
    pauses: list[float] = []

    async def sweep(_: Orphans) -> list[str]:
        one = next(found)
        if isinstance(one, Exception):
            raise one
        return one

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        assert len(pauses) < 10

    monkeypatch.setattr(Orphans, "sweep", sweep)
    monkeypatch.setattr(module, "asyncio", SimpleNamespace(sleep=sleep))
    await Orphans(tracker, ArtifactStore(str(tmp_path)), clock=clock).run()
    assert not [*found]
    looks, after_outage, after_error = pauses
    assert looks == after_error == module.SWEEP_SECONDS
    assert after_outage < looks / 100
