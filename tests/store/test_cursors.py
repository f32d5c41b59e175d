"""Statements that go straight to the driver: values, errors and checks are as they would be."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import DataError, IntegrityError

from raytasks.model.states import OutcomeKind, State
from raytasks.model.tasks import StoreUnavailable
from raytasks.protocol.queries import TasksById
from raytasks.store import cursors as direct
from raytasks.store import task_selection
from raytasks.store.store import Store
from raytasks.store.transaction import FenceBroken, Superseded, Transaction
from tests.making import NOW, Tracking, ids, lane_ask, new_task, outcome, task_id, task_query

OpenStore = Callable[..., Store]

TEXTS = ["", "NULL", "null", '"', "\\", '\\"', "{}", '{"a": ["\\\\", ","]}', " x ", "\n\t", "é🙂"]
NUMBERS = [0.1 + 0.2, 1e308, 5e-324, -0.5, 3.0]


@pytest.fixture
def tracking(store: Store) -> Tracking:
    return Tracking(store)


def test_values_arrive_as_they_were(tracking: Tracking) -> None:
    texts = [new_task(n, payload=text, request_digest=text) for n, text in enumerate(TEXTS)]
    numbers = [new_task(100 + n, timeout_seconds=number) for n, number in enumerate(NUMBERS)]
    tracking.tick(submissions=[*texts, *numbers])
    assert [tracking.task(n).payload for n in range(len(TEXTS))] == TEXTS
    assert [tracking.task(100 + n).timeout_seconds for n in range(len(NUMBERS))] == NUMBERS
    claimed = tracking.claim()
    ended = [(item, outcome(item, result=text)) for item, text in zip(claimed, TEXTS, strict=False)]
    tracking.tick(outcomes=ended)
    assert [tracking.task(n).result for n in range(len(TEXTS))] == TEXTS


def test_a_claim_knows_its_company_and_flags_as_flags(tracking: Tracking) -> None:
    tracking.submit(1)
    [lost] = tracking.claim()
    tracking.settle(lost, OutcomeKind.LOST, charged=False, company=4)
    [again] = tracking.claim()
    assert again.company == 4
    assert again.cancel_requested is False


def test_a_text_that_is_too_long_is_refused_not_cut(
    postgres_url: str, open_store: OpenStore
) -> None:
    tracking = Tracking(open_store(postgres_url))
    with pytest.raises(DataError, match="too long"):
        tracking.submit(1, task_type="x" * 101)
    with pytest.raises(DataError, match="too long"):
        tracking.tick(submissions=[new_task(1), new_task(2, request_digest="x" * 65)])
    assert tracking.store.read(TasksById(ids([1, 2]))) == {}


def test_plans_that_were_made_for_few_tasks_are_not_kept_for_many(
    postgres_url: str, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct, "PLANS_KEPT", 12)
    tracking = Tracking(open_store(postgres_url))
    for number in range(20):  # often enough for the server to keep plans
        tracking.submit(number)
        for running in tracking.claim():
            tracking.settle(running, OutcomeKind.SUCCEEDED)
    for first in range(1000, 21_000, 1000):
        tracking.submit(*range(first, first + 1000))
    with tracking.store.transaction(now=NOW) as transaction:
        before = scans(transaction)
        transaction.claim([(row, "r1") for row in transaction.candidates([lane_ask(20)])])
        transaction.finish()
        assert scans(transaction) == before


def scans(transaction: Transaction) -> int:
    """Return how often all tasks were gone through lately."""
    question = "SELECT seq_scan FROM pg_stat_xact_user_tables WHERE relname = 'tasks'"
    number: int = transaction.connection.exec_driver_sql(question).scalar_one()
    return number


def test_an_attempt_that_is_settled_twice_in_a_tick_breaks_the_fence(tracking: Tracking) -> None:
    tracking.submit(1)
    [running] = tracking.claim()
    with pytest.raises((FenceBroken, IntegrityError)):
        tracking.tick(outcomes=[(running, outcome(running)), (running, outcome(running))])
    assert tracking.state(1) is State.RUNNING


def test_a_claim_of_what_is_gone_breaks_the_fence(tracking: Tracking) -> None:
    tracking.submit(1, 2)

    def claim_one_twice() -> None:
        with tracking.store.transaction(now=NOW) as transaction:
            rows = transaction.candidates([lane_ask(2)])
            transaction.claim([(rows[0], "r1")])
            transaction.claim([(row, "r2") for row in rows])
            transaction.finish()

    with pytest.raises(FenceBroken, match="1 of 2"):
        claim_one_twice()
    assert [tracking.state(n) for n in (1, 2)] == [State.PENDING] * 2


def test_who_is_superseded_is_told_so_whatever_else_is_wrong(tracking: Tracking) -> None:
    tracking.submit(1)
    former = tracking.epoch
    tracking.epoch = tracking.store.begin_epoch(NOW)
    current, tracking.epoch = tracking.epoch, former
    with pytest.raises(Superseded):
        tracking.submit(1)
    tracking.epoch = current
    with pytest.raises(IntegrityError):
        tracking.submit(1)


def test_after_an_error_of_the_caller_nothing_is_written_and_all_goes_on(
    tracking: Tracking,
) -> None:
    def fail() -> None:
        with tracking.store.transaction(now=NOW) as transaction:
            transaction.renew(tracking.epoch)
            transaction.submit([new_task(1)])
            raise ValueError("the caller's")

    with pytest.raises(ValueError, match="the caller's"):
        fail()
    tracking.submit(2)
    assert list(tracking.store.read(TasksById(ids([1, 2])))) == ids([2])


def test_what_is_written_without_a_finish_is_checked_at_the_end(tracking: Tracking) -> None:
    tracking.store.begin_epoch(NOW)
    with pytest.raises(Superseded), tracking.store.transaction(now=NOW) as transaction:
        transaction.renew(tracking.epoch)


def test_a_connection_that_is_cut_between_direct_statements(
    postgres_server: Any, postgres_url: str, open_store: OpenStore
) -> None:
    tracking = Tracking(open_store(postgres_url))

    def tick_that_is_cut() -> None:
        with tracking.store.transaction(now=NOW) as transaction:
            asked = transaction.connection.exec_driver_sql("SELECT pg_backend_pid()")
            pid = asked.scalar()
            transaction.submit([new_task(2)])
            transaction.candidates([lane_ask(1)])
            postgres_server.run(f"SELECT pg_terminate_backend({pid})")
            transaction.submit([new_task(3)])
            transaction.candidates([lane_ask(1)])
            transaction.finish()

    with pytest.raises(StoreUnavailable):
        tick_that_is_cut()
    tracking.submit(1)
    assert list(tracking.store.read(TasksById(ids([1, 2, 3])))) == ids([1])


def test_a_tick_waits_for_the_server_only_at_its_end(
    postgres_url: str, open_store: OpenStore, tmp_path: Path
) -> None:
    tracking = Tracking(open_store(postgres_url))
    for number in range(10):  # until its statements are prepared, and the place is known
        tracking.submit(number)
        [running] = tracking.claim()
        tracking.settle(running, OutcomeKind.SUCCEEDED)

    def traced(name: str, tick: Callable[[], object]) -> list[str]:
        with tracking.store.transaction(now=NOW) as transaction:
            driver: Any = transaction.connection.connection.driver_connection
        with (tmp_path / name).open("w+") as file:
            driver.pgconn.trace(file.fileno())
            tick()
            driver.pgconn.untrace()
            file.seek(0)
            return [line.split("\t")[3].split()[0] for line in file if "\tF\t" in line]

    tracking.submit(99)
    [running] = tracking.claim()
    ticks: dict[str, Callable[[], object]] = {
        "lock": lambda: tracking.tick(renew=False, submissions=[new_task(100)]),
        "renew": lambda: tracking.tick(submissions=[new_task(101)]),
        "settle": lambda: tracking.settle(running, OutcomeKind.SUCCEEDED),
    }
    for name, tick in ticks.items():
        sent = traced(name, tick)
        assert "Query" not in sent  # it would be answered by itself
        assert sent.count("Sync") == 1
        assert sent.index("Sync") > max(n for n, kind in enumerate(sent) if kind == "Execute")


@pytest.fixture
def short_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a list by tag look at four tasks for a page."""
    monkeypatch.setattr(task_selection, "STEP", 4)


@pytest.mark.usefixtures("short_steps")
@pytest.mark.parametrize(
    ("number", "query", "pages"),
    [
        (0, {}, [[]]),
        (3, {}, [[2, 1], [0]]),
        (4, {}, [[3, 2], [1, 0]]),
        (6, {"state": State.RUNNING}, [[], [0]]),
        (6, {"state": State.PENDING}, [[5, 4], [3, 2], [1]]),
        (5, {"task_type": "other"}, [[], []]),
        (9, {"state": State.RUNNING, "task_type": "short"}, [[], [], [0]]),
    ],
)
def test_a_list_by_tag_comes_to_its_end_in_pages(
    tracking: Tracking, number: int, query: dict[str, Any], pages: list[list[int]]
) -> None:
    tracking.submit(*range(number), tags='["t"]')
    tracking.submit(50)
    tracking.submit(51, tags='["u"]')
    tracking.claim(capacity=1)
    found = []
    cursor = None
    while True:
        page = tracking.store.read(task_query(limit=2, tag="t", cursor=cursor, **query))
        found.append([task.task_id for task in page.tasks])
        cursor = page.next_cursor
        if cursor is None:
            break
    while len(found) > len(pages) and not found[-1]:  # the last page may be an empty one
        found.pop()
    assert found == [[task_id(n) for n in numbers] for numbers in pages]
