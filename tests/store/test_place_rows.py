"""The places of attempts: one row for each process of a warm runner, and none is lost."""

from collections.abc import Callable

import pytest
from sqlalchemy import func, select

from raytasks.model.states import OutcomeKind
from raytasks.model.tasks import AttemptRecord, StoreUnavailable
from raytasks.protocol.queries import TaskDetail
from raytasks.store.place_rows import SEEN_SECONDS, attempt_places, forget
from raytasks.store.schema import attempts
from raytasks.store.store import Store
from raytasks.store.task_reads import PostgresPoints, SqlitePoints
from tests.making import Tracking, task_id

HERE = {"node_id": "n" * 56, "worker_id": "w" * 56, "host": "machine", "pid": 7}


@pytest.fixture
def tracking(store_url: str, open_store: Callable[..., Store]) -> Tracking:
    """A tracker's part on a database of each kind."""
    return Tracking(open_store(store_url))


def run(tracking: Tracking, number: int, **where: object) -> None:
    tracking.submit(number)
    [running] = tracking.claim()
    tracking.settle(running, OutcomeKind.SUCCEEDED, **where)


def shown(tracking: Tracking, number: int) -> dict[str, object]:
    found = tracking.store.read(TaskDetail(task_id(number)))
    assert found is not None
    [attempt] = found[1]
    return where(attempt)


def where(attempt: AttemptRecord) -> dict[str, object]:
    return {name: getattr(attempt, name) for name in HERE}


def places(tracking: Tracking) -> int:
    with tracking.store.reading() as connection:
        return connection.scalar(select(func.count()).select_from(attempt_places)) or 0


def test_a_process_is_stored_once_for_all_its_attempts(tracking: Tracking) -> None:
    for number in range(3):
        run(tracking, number, **HERE)
    run(tracking, 3, **HERE | {"pid": 8})
    assert places(tracking) == 2
    assert [shown(tracking, number) for number in range(4)] == [HERE] * 3 + [HERE | {"pid": 8}]
    with tracking.store.reading() as connection:
        kept = connection.execute(select(*[attempts.c[name] for name in HERE])).all()
    assert {tuple(row) for row in kept} == {(None,) * 4}


def test_the_point_reads_find_the_place(tracking: Tracking, store_url: str) -> None:
    run(tracking, 1, **HERE)
    if store_url.startswith("sqlite"):
        one = SqlitePoints(store_url)
        found = one.read(task_id(1))
        one.close()
    else:
        many = PostgresPoints(store_url)
        found = many.read([task_id(1)])[task_id(1)]
        many.close()
    assert found is not None
    assert where(found[1][0]) == HERE


def test_a_remote_task_of_its_own_keeps_its_place_itself(tracking: Tracking) -> None:
    run(tracking, 1, **HERE, ray_task_id="t")
    assert places(tracking) == 0
    assert shown(tracking, 1) == HERE


def test_an_attempt_that_ran_nowhere_has_no_place(tracking: Tracking) -> None:
    run(tracking, 1)
    assert places(tracking) == 0
    assert shown(tracking, 1) == dict.fromkeys(HERE)


@pytest.mark.parametrize("error", [StoreUnavailable("away"), ValueError("ours")])
def test_a_place_that_was_not_committed_is_stored_again(
    tracking: Tracking, error: Exception
) -> None:
    tracking.submit(1)
    [running] = tracking.claim()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("raytasks.store.count_steps.write", _raiser(error))
        with pytest.raises(type(error)):
            tracking.settle(running, OutcomeKind.SUCCEEDED, **HERE)
    assert places(tracking) == 0
    tracking.settle(running, OutcomeKind.SUCCEEDED, **HERE)
    assert shown(tracking, 1) == HERE


def test_places_are_stored_again_after_the_database_was_away(tracking: Tracking) -> None:
    run(tracking, 1, **HERE)
    with tracking.store.writing_own() as connection:
        connection.execute(attempt_places.delete())  # what takes over may lack the last commits
    with pytest.raises(StoreUnavailable):
        _meet_outage(tracking)
    run(tracking, 2, **HERE)
    assert shown(tracking, 2) == HERE


def test_places_go_when_no_kept_attempt_can_have_used_them(tracking: Tracking) -> None:
    begun = tracking.now
    run(tracking, 1, **HERE)
    run(tracking, 2, **HERE | {"pid": 8})
    tracking.now = begun + 1.5 * SEEN_SECONDS
    run(tracking, 3, **HERE)  # it is seen again
    before = begun + 3 * SEEN_SECONDS
    with tracking.store.transaction(now=tracking.now) as transaction:
        transaction.renew(tracking.epoch)
        assert forget(transaction.connection, begun + 2 * SEEN_SECONDS, 10) == 0
        assert forget(transaction.connection, before, 10) == 1
    assert shown(tracking, 3) == HERE
    assert shown(tracking, 2) == dict.fromkeys(HERE)
    tracking.now = begun + 4 * SEEN_SECONDS
    run(tracking, 4, **HERE | {"pid": 8})  # remembered, but deleted meanwhile
    assert shown(tracking, 4) == HERE | {"pid": 8}


def _meet_outage(tracking: Tracking) -> None:
    with tracking.store.transaction(now=tracking.now):
        raise StoreUnavailable("away")


def _raiser(error: Exception) -> Callable[..., None]:
    def fail(*_given: object) -> None:
        raise error

    return fail
