"""The store, on every database: each verb, each fence, the schema, the counts, the lists."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from raytasks.model.states import OutcomeKind, State
from raytasks.model.tasks import Running
from raytasks.protocol.messages import Report
from raytasks.protocol.queries import TaskDetail, TasksById
from raytasks.store import transaction as transaction_module
from raytasks.store.database import Database
from raytasks.store.schema import metadata, tasks
from raytasks.store.settlement import Settlement
from raytasks.store.store import Store
from raytasks.store.transaction import FenceBroken, Superseded
from raytasks.tracker.settling import settlement_of
from tests.making import (
    NOW,
    Tracking,
    capacity_request,
    counted,
    ids,
    lane_ask,
    new_task,
    outcome,
    task_id,
    task_query,
)

OpenStore = Callable[..., Store]


@pytest.fixture
def tracking(store: Store) -> Tracking:
    return Tracking(store)


def everything(store: Store) -> tuple[Any, ...]:
    """Return all that the database holds, to see whether something was written."""
    with store._database.reading() as connection:
        return tuple(
            tuple(connection.execute(select(table).order_by(*table.primary_key.columns)).all())
            for table in metadata.sorted_tables
        )


def stored_row(number: int, **changes: Any) -> dict[str, Any]:
    """Return a row of `tasks` that every CHECK allows, but for the changes."""
    return {
        "task_id": task_id(number),
        "task_type": "short",
        "state": "PENDING",
        "payload": "{}",
        "priority": 0,
        "rank": NOW,
        "ready": False,
        "attempt": 0,
        "max_attempts": 1,
        "failures": 0,
        "crashes": 0,
        "cancel_requested": False,
        "created_at": NOW,
        "run_at": NOW,
        "updated_at": NOW,
        **changes,
    }


def real_counts(store: Store) -> Counter[tuple[str, State]]:
    """Count the rows themselves."""
    with store._database.reading() as connection:
        rows = connection.execute(select(tasks.c.task_type, tasks.c.state))
        return Counter((task_type, State(state)) for task_type, state in rows)


def settlement(running: Running, kind: OutcomeKind = OutcomeKind.SUCCEEDED) -> Settlement:
    return settlement_of(running, outcome(running, kind), max_crashes=1, now=NOW)


class TestSchema:
    def test_the_migrations_make_just_the_tables_of_the_schema(self, store_url: str) -> None:
        database = Database(store_url)
        with database.writing() as connection:
            context = MigrationContext.configure(
                connection, opts={"compare_type": True, "compare_server_default": True}
            )
            assert compare_metadata(context, metadata) == []
        database.close()

    def test_every_check_of_the_schema_is_in_the_database(self, store_url: str) -> None:
        database = Database(store_url)
        question = (
            "SELECT sql FROM sqlite_master WHERE name = 'tasks'"
            if database.is_sqlite
            else "SELECT string_agg(conname, ' ') FROM pg_constraint WHERE contype = 'c'"
        )
        with database.reading() as connection:
            found = connection.exec_driver_sql(question).scalar_one()
        database.close()
        names = {str(item.name) for item in tasks.constraints if str(item.name).startswith("ck_")}
        assert len(names) == 4
        assert {name for name in names if name in found} == names

    def test_upgrading_again_changes_nothing(self, tracking: Tracking) -> None:
        tracking.submit(1)
        before = everything(tracking.store)
        tracking.store.upgrade()
        tracking.store.upgrade()
        assert everything(tracking.store) == before

    @pytest.mark.parametrize(
        "changes",
        [
            {"state": "SLEEPING"},
            {"state": "COMPLETED"},
            {"state": "FAILED"},
            {"state": "CANCELLED"},
            {"state": "PENDING", "finished_at": NOW},
            {"state": "RETRYING", "finished_at": NOW},
            {"state": "RUNNING", "runner_id": "r1", "finished_at": NOW},
            {"state": "RUNNING", "runner_id": "r1", "ready": True},
            {"state": "COMPLETED", "finished_at": NOW, "ready": True},
            {"state": "RUNNING"},
            {"state": "PENDING", "runner_id": "r1"},
            {"state": "COMPLETED", "finished_at": NOW, "runner_id": "r1"},
        ],
        ids=lambda changes: "-".join(map(str, changes)),
    )
    def test_a_row_that_contradicts_itself_is_refused(
        self, store: Store, changes: dict[str, Any]
    ) -> None:
        with store._database.writing() as connection:
            connection.execute(insert(tasks).values(stored_row(1)))
        with pytest.raises(IntegrityError), store._database.writing() as connection:
            connection.execute(insert(tasks).values(stored_row(2, **changes)))
        assert list(store.read(TasksById(ids([1, 2])))) == ids([1])


class TestVerbs:
    def test_a_submitted_task_is_stored_as_it_came(self, tracking: Tracking) -> None:
        tracking.submit(
            1, task_type="long", payload='{"a": 1}', priority=2, max_attempts=5,
            timeout_seconds=1.5, run_at=NOW + 5, created_at=NOW - 1,
        )  # fmt: skip
        task = tracking.task(1)
        assert (task.state, task.task_type, task.payload) == (State.PENDING, "long", '{"a": 1}')
        assert (task.priority, task.max_attempts, task.timeout_seconds) == (2, 5, 1.5)
        assert (task.run_at, task.created_at, task.updated_at) == (NOW + 5, NOW - 1, NOW - 1)
        assert (task.attempt, task.failures, task.crashes) == (0, 0, 0)
        assert (task.started_at, task.finished_at, task.result, task.error) == (None,) * 4

    def test_a_claim_numbers_the_attempt_and_names_its_runner(self, tracking: Tracking) -> None:
        tracking.submit(1, max_attempts=2, priority=3, timeout_seconds=9.0)
        tracking.now += 7
        [running] = tracking.claim("r7")
        assert running == Running(
            task_id(1), "short", 1, "r7", NOW + 7, priority=3, failures=0, crashes=0,
            max_attempts=2, timeout_seconds=9.0, rank=NOW - 3 * 60.0,
        )  # fmt: skip
        assert tracking.store.running() == [running]
        assert (tracking.state(1), tracking.task(1).started_at) == (State.RUNNING, NOW + 7)
        assert tracking.claim() == []

    @pytest.mark.parametrize(
        ("kind", "more", "state"),
        [
            (OutcomeKind.SUCCEEDED, {"result": "[1]"}, State.COMPLETED),
            (OutcomeKind.FAILED, {"error": "{}", "retryable": True}, State.RETRYING),
            (OutcomeKind.FAILED, {"error": "{}", "retryable": False}, State.FAILED),
            (OutcomeKind.LOST, {"error": "{}"}, State.RETRYING),
            (OutcomeKind.SNOOZED, {"delay_seconds": 9.0}, State.PENDING),
            (OutcomeKind.RELEASED, {}, State.PENDING),
            (OutcomeKind.CANCELLED, {}, State.CANCELLED),
        ],
    )
    def test_a_settled_attempt_moves_its_task_on_and_is_kept(
        self, tracking: Tracking, kind: OutcomeKind, more: dict[str, Any], state: State
    ) -> None:
        tracking.submit(1)
        [running] = tracking.claim()
        tracking.now += 3
        where = {"node_id": "n", "worker_id": "w", "ray_task_id": "t", "ray_attempt": 2}
        tracking.settle(running, kind, **more, **where)
        stored = tracking.store.read(TaskDetail(task_id(1)))
        assert stored is not None
        task, [attempt] = stored
        assert task.state is state
        assert (task.result, task.error) == (more.get("result"), more.get("error"))
        assert task.finished_at == (NOW + 3 if state.final else None)
        assert task.failures == int(kind is OutcomeKind.FAILED)
        assert task.crashes == int(kind is OutcomeKind.LOST)
        assert (attempt.attempt, attempt.outcome, attempt.runner_id) == (1, kind, "r1")
        assert (attempt.node_id, attempt.worker_id, attempt.ray_task_id) == ("n", "w", "t")
        assert (attempt.ray_attempt, attempt.error) == (2, more.get("error"))
        assert tracking.store.running() == []

    def test_a_failed_attempt_is_due_again_after_its_delay_only(self, tracking: Tracking) -> None:
        tracking.submit(1)
        [running] = tracking.claim()
        tracking.settle(running, OutcomeKind.FAILED, retryable=True, delay_seconds=10.0)
        assert tracking.store.next_due() == NOW + 10
        tracking.now += 9.5
        assert tracking.tick(promote=True, requests=[capacity_request()]).claimed == []
        tracking.now += 0.5
        done = tracking.tick(promote=True, requests=[capacity_request()])
        assert [running.attempt for running, _ in done.claimed] == [2]
        assert done.next_due is None

    def test_the_history_lists_the_attempts_in_order(self, tracking: Tracking) -> None:
        tracking.submit(1, max_attempts=3)
        kinds = [
            OutcomeKind.SNOOZED, OutcomeKind.FAILED, OutcomeKind.LOST, OutcomeKind.RELEASED,
            OutcomeKind.SUCCEEDED,
        ]  # fmt: skip
        for kind in kinds:
            [running] = tracking.claim()
            tracking.settle(running, kind, retryable=True)
            tracking.now += 1
            tracking.tick(promote=True)
        stored = tracking.store.read(TaskDetail(task_id(1)))
        assert stored is not None
        assert [(item.attempt, item.outcome) for item in stored[1]] == list(enumerate(kinds, 1))

    def test_progress_and_checkpoints_are_kept_until_newer_ones_come(
        self, tracking: Tracking
    ) -> None:
        tracking.submit(1)
        [running] = tracking.claim()

        def report(attempt: int = 1, **news: Any) -> None:
            tracking.tick(reports=[Report(running.task_id, attempt, 1, **news)])

        report(fraction=0.25, message="a quarter")
        report(checkpoint="[1]")
        report(fraction=0.5)
        report(attempt=2, fraction=0.9, checkpoint="[9]")
        report(attempt=0, message="old")
        task = tracking.task(1)
        assert (task.progress_fraction, task.progress_message) == (0.5, "a quarter")
        tracking.settle(running, OutcomeKind.FAILED, retryable=True)
        report(fraction=1.0, checkpoint="[8]")
        assert tracking.task(1).progress_fraction == 0.5
        [(_, claim)] = tracking.tick(requests=[capacity_request()]).claimed
        assert claim.checkpoint == "[1]"

    def test_an_earlier_checkpoint_that_comes_late_replaces_no_later_one(
        self, tracking: Tracking
    ) -> None:
        tracking.submit(1)
        [running] = tracking.claim()
        for number in (7, 9, 8, 7):
            report = Report(running.task_id, 1, number, number / 10, checkpoint=f"[{number}]")
            tracking.tick(reports=[report])
        tracking.settle(running, OutcomeKind.RELEASED)
        [(running, claim)] = tracking.tick(requests=[capacity_request()]).claimed
        assert claim.checkpoint == "[9]"
        # The next attempt's runner numbers from 1.
        tracking.tick(reports=[Report(running.task_id, 2, 1, checkpoint="[1]")])
        tracking.settle(running, OutcomeKind.RELEASED)
        [(_, claim)] = tracking.tick(requests=[capacity_request()]).claimed
        assert claim.checkpoint == "[1]"

    def test_cancel_ends_what_waits_marks_what_runs_and_leaves_what_ended(
        self, tracking: Tracking
    ) -> None:
        tracking.submit(1)
        [ended] = tracking.claim()
        tracking.settle(ended, OutcomeKind.SUCCEEDED)
        tracking.submit(2)
        tracking.claim()
        tracking.submit(3)
        tracking.submit(4, run_at=NOW + 100)
        tracking.now += 1
        done = tracking.tick(cancels=ids([1, 2, 3, 4, 5]), requests=[capacity_request()])
        assert [row.task_id for row in done.acted.before.values()] == ids([1, 2, 3, 4])
        states = {number: tracking.state(number) for number in (1, 2, 3, 4)}
        assert states == {
            1: State.COMPLETED, 2: State.RUNNING, 3: State.CANCELLED, 4: State.CANCELLED
        }  # fmt: skip
        assert [tracking.task(n).cancel_requested for n in (1, 2, 3)] == [False, True, True]
        assert tracking.task(3).finished_at == NOW + 1
        assert tracking.store.running()[0].cancel_requested
        assert tracking.store.next_due() is None
        assert done.claimed == []

    def test_retry_gives_a_fresh_budget_and_keeps_the_history(self, tracking: Tracking) -> None:
        tracking.submit(1, max_attempts=1)
        tracking.submit(2)
        tracking.submit(3, task_type="long")
        first, second = tracking.claim()
        tracking.settle(first, OutcomeKind.FAILED, error='"bad"')
        tracking.tick(cancels=ids([2, 3]))
        tracking.settle(second, OutcomeKind.CANCELLED)
        tracking.now += 60
        tracking.tick(retries=ids([1, 2, 3, 4]))
        for number in (1, 2, 3):
            task = tracking.task(number)
            assert task.state is State.PENDING
            assert (task.failures, task.crashes, task.cancel_requested) == (0, 0, False)
            assert (task.error, task.finished_at, task.run_at) == (None, None, NOW + 60)
        again = {item.task_id: item.attempt for item in tracking.claim(short=9, long=9)}
        assert again == {task_id(1): 2, task_id(2): 2, task_id(3): 1}
        assert len(tracking.store.read(TaskDetail(task_id(1)))[1]) == 1  # type: ignore[index]

    @pytest.mark.parametrize("state", [State.PENDING, State.RUNNING, State.COMPLETED])
    def test_retry_leaves_what_did_not_fail(self, tracking: Tracking, state: State) -> None:
        tracking.submit(1)
        if state is not State.PENDING:
            [running] = tracking.claim()
            if state is State.COMPLETED:
                tracking.settle(running, OutcomeKind.SUCCEEDED)
        before = tracking.task(1)
        tracking.tick(retries=[task_id(1)])
        assert tracking.task(1) == before

    def test_promote_is_bounded_and_takes_the_earliest_first(
        self, tracking: Tracking, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(transaction_module, "PROMOTE_LIMIT", 2)
        for number, delay in ((1, 3.0), (2, 1.0), (3, 2.0), (4, 99.0)):
            tracking.submit(number, run_at=NOW + delay)
        tracking.now += 10
        done = tracking.tick(promote=True, requests=[capacity_request()])
        assert [running.task_id for running, _ in done.claimed] == ids([2, 3])
        assert done.next_due == NOW + 3
        done = tracking.tick(promote=True, requests=[capacity_request()])
        assert [running.task_id for running, _ in done.claimed] == ids([1])
        assert done.next_due == NOW + 99

    def test_only_what_is_due_counts_as_ready(self, tracking: Tracking) -> None:
        tracking.submit(1, task_type="later", run_at=NOW + 1)
        tracking.submit(2, task_type="now")
        assert tracking.store.any_ready(["later", "now"])
        assert not tracking.store.any_ready(["later", "unknown"])

    def test_reading_nothing_asks_nothing(self, store: Store) -> None:
        assert store.read(TasksById([])) == {}
        assert store.read(TaskDetail(task_id(1))) is None
        assert store.read(TasksById(ids([1]))) == {}
        store.ping()


class TestFences:
    """A tick that believes what is not so is refused, and nothing of it is written."""

    @pytest.fixture
    def running(self, tracking: Tracking) -> Running:
        tracking.submit(1)
        [running] = tracking.claim()
        return running

    @staticmethod
    def refused(tracking: Tracking, **work: Any) -> None:
        before = everything(tracking.store)
        with pytest.raises(FenceBroken):
            tracking.tick(submissions=[new_task(9)], **work)
        assert everything(tracking.store) == before

    @staticmethod
    def other(running: Running, **changes: Any) -> Running:
        values = {name: getattr(running, name) for name in Running.__struct_fields__}
        return Running(**values | changes)

    @pytest.mark.parametrize("change", [{"attempt": 0}, {"attempt": 2}, {"task_id": task_id(7)}])
    def test_the_outcome_of_another_attempt(
        self, tracking: Tracking, running: Running, change: dict[str, Any]
    ) -> None:
        stale = self.other(running, **change)
        self.refused(tracking, outcomes=[(stale, outcome(stale))])

    def test_a_stale_outcome_beside_a_good_one(self, tracking: Tracking, running: Running) -> None:
        tracking.submit(2)
        [good] = tracking.claim()
        stale = self.other(running, attempt=2)
        self.refused(tracking, outcomes=[(good, outcome(good)), (stale, outcome(stale))])

    @pytest.mark.parametrize("kind", list(OutcomeKind))
    def test_a_second_outcome_of_the_same_attempt(
        self, tracking: Tracking, running: Running, kind: OutcomeKind
    ) -> None:
        tracking.settle(running, kind, retryable=True)
        self.refused(tracking, outcomes=[(running, outcome(running))])

    def test_an_earlier_attempt_while_a_later_one_runs(
        self, tracking: Tracking, running: Running
    ) -> None:
        tracking.settle(running, OutcomeKind.LOST)
        assert tracking.claim("r2")[0].attempt == 2
        self.refused(tracking, outcomes=[(running, outcome(running))])

    def test_a_claim_of_what_does_not_wait_any_more(self, tracking: Tracking, store: Store) -> None:
        tracking.submit(1)
        with store.transaction(now=NOW) as transaction:
            rows = transaction.candidates([lane_ask(1)])
        tracking.claim()
        before = everything(store)
        with pytest.raises(FenceBroken), store.transaction(now=NOW) as transaction:
            transaction.claim([(rows[0], "r2")])
        assert everything(store) == before

    @pytest.mark.parametrize("verb", ["cancel", "retry"])
    def test_an_action_on_a_task_that_has_moved_on(
        self, tracking: Tracking, store: Store, verb: str
    ) -> None:
        tracking.submit(1)
        if verb == "retry":
            tracking.tick(cancels=[task_id(1)])
        seen = tracking.task(1)
        if verb == "retry":
            tracking.tick(retries=[task_id(1)])
        tracking.claim()
        before = everything(store)
        with pytest.raises(FenceBroken), store.transaction(now=NOW) as transaction:
            getattr(transaction, verb)([seen])
        assert everything(store) == before

    def test_a_mark_on_an_attempt_that_has_ended(
        self, tracking: Tracking, store: Store, running: Running
    ) -> None:
        seen = tracking.task(1)
        tracking.settle(running, OutcomeKind.SUCCEEDED)
        with pytest.raises(FenceBroken), store.transaction(now=NOW) as transaction:
            transaction.cancel([seen])
        assert not tracking.task(1).cancel_requested


class TestEpoch:
    def test_an_older_epoch_writes_nothing(
        self, tracking: Tracking, store_url: str, open_store: OpenStore
    ) -> None:
        tracking.submit(1)
        successor = Tracking(open_store(store_url))
        assert successor.epoch == tracking.epoch + 1
        before = everything(tracking.store)
        with pytest.raises(Superseded):
            tracking.tick(
                submissions=[new_task(2)], requests=[capacity_request()], cancels=[task_id(1)]
            )
        assert everything(tracking.store) == before
        assert len(successor.claim()) == 1

    def test_each_tick_renews_its_epoch(self, tracking: Tracking) -> None:
        tracking.now += 5
        tracking.tick()
        assert ((1, tracking.epoch, NOW + 5, "", None, True),) in everything(tracking.store)


class TestPlace:
    def test_what_is_given_back_keeps_its_place(self, tracking: Tracking) -> None:
        tracking.submit(1)
        [running] = tracking.claim()
        tracking.now += 600
        tracking.submit(2, created_at=tracking.now, run_at=tracking.now)
        tracking.settle(running, OutcomeKind.RELEASED)
        assert tracking.task(1).run_at == NOW
        assert [item.task_id for item in tracking.claim(capacity=1)] == ids([1])

    def test_all_that_one_read_returns_is_of_one_moment(self, tracking: Tracking) -> None:
        tracking.submit(1)
        [running] = tracking.claim()
        with tracking.store._database.reading() as connection:
            before = connection.exec_driver_sql("SELECT state FROM tasks").scalar_one()
            tracking.settle(running, OutcomeKind.SUCCEEDED)
            history = connection.exec_driver_sql("SELECT count(*) FROM attempts").scalar_one()
        assert (before, history) == ("RUNNING", 0)


class TestCounts:
    def test_they_are_those_of_the_rows_after_every_verb(self, tracking: Tracking) -> None:
        def check() -> None:
            assert counted(tracking.store.counts()) == counted(real_counts(tracking.store))

        for number in range(10):
            tracking.submit(number, task_type="short" if number % 2 else "long", max_attempts=1)
            check()
        running = tracking.claim(short=4, long=4)
        check()
        kinds = list(OutcomeKind)
        for item, kind in zip(running, kinds, strict=True):
            tracking.settle(item, kind)
            check()
        tracking.tick(cancels=ids(range(10)))
        check()
        tracking.tick(prunings=[(ids(range(4)), tracking.now + 1)])
        check()
        tracking.tick(retries=ids(range(10)))
        check()
        tracking.tick(
            requests=[capacity_request(short=1)], cancels=ids([0, 1]), submissions=[new_task(20)]
        )
        check()

    def test_a_tick_tells_what_it_changed(self, tracking: Tracking) -> None:
        done = tracking.tick(
            submissions=[new_task(1), new_task(2)], requests=[capacity_request(capacity=1)]
        )
        assert counted(done.counts) == {("short", State.PENDING): 1, ("short", State.RUNNING): 1}

    def test_nothing_is_counted_of_a_tick_that_failed(self, tracking: Tracking) -> None:
        tracking.submit(1)
        before = tracking.store.counts()
        with pytest.raises(IntegrityError):
            tracking.tick(submissions=[new_task(2), new_task(1)])
        assert tracking.store.counts() == before
        assert tracking.store.read(TasksById(ids([2]))) == {}


class TestOrderOfClaims:
    def order(self, tracking: Tracking, capacity: int = 1000, **capacity_by_type: int) -> list[str]:
        return [
            item.task_id for item in tracking.claim("r1", capacity=capacity, **capacity_by_type)
        ]

    def test_the_earlier_due_goes_first_and_ids_break_ties(self, tracking: Tracking) -> None:
        tracking.submit(3)
        tracking.submit(1)
        tracking.submit(2, run_at=NOW - 1)
        assert self.order(tracking) == ids([2, 1, 3])

    def test_a_higher_priority_goes_first(self, tracking: Tracking) -> None:
        for number, priority in ((1, 0), (2, 5), (3, -5), (4, 1)):
            tracking.submit(number, priority=priority)
        assert self.order(tracking, capacity=1) == ids([2])
        assert self.order(tracking, short=2) == ids([4, 1])
        assert self.order(tracking) == ids([3])

    def test_waiting_raises_a_low_priority(self, tracking: Tracking) -> None:
        tracking.submit(1, run_at=NOW - 61)
        tracking.submit(2, run_at=NOW - 59)
        tracking.submit(3, priority=1)
        assert self.order(tracking) == ids([1, 3, 2])

    def test_the_step_of_priorities_can_be_set(self, store_url: str, open_store: OpenStore) -> None:
        tracking = Tracking(open_store(store_url, priority_step=1.0))
        tracking.submit(1, run_at=NOW - 2)
        tracking.submit(2, priority=1)
        assert self.order(tracking) == ids([1, 2])

    def test_the_rank_counts_anew_for_a_retried_attempt(self, tracking: Tracking) -> None:
        tracking.submit(1, priority=1)
        [running] = tracking.claim()
        tracking.submit(2, run_at=NOW - 10)
        tracking.settle(running, OutcomeKind.FAILED, retryable=True)
        assert self.order(tracking) == ids([1, 2])

    def test_urgent_tasks_of_the_future_do_not_block_due_ones(self, tracking: Tracking) -> None:
        for number in range(50):
            tracking.submit(number, priority=100, run_at=NOW + 1000)
        tracking.submit(60, priority=-100)
        assert self.order(tracking, capacity=1) == ids([60])
        assert self.order(tracking) == []

    def test_each_type_has_its_limit_and_the_best_come_of_all(self, tracking: Tracking) -> None:
        for number in range(5):
            tracking.submit(number, task_type="long", run_at=NOW - 10)
            tracking.submit(10 + number, run_at=NOW - 20)
            tracking.submit(20 + number, task_type="other", run_at=NOW - 30)
        with tracking.store.transaction(now=NOW) as transaction:
            rows = transaction.candidates([lane_ask(2), lane_ask(3, "long")])
            assert [row.task_id for row in rows] == ids([10, 11, 0, 1, 2])
            assert transaction.candidates([]) == []
        assert self.order(tracking, capacity=4, short=2, long=3) == ids([10, 11, 0, 1])
        assert self.order(tracking, short=1, long=9) == ids([12, 2, 3, 4])


class TestLists:
    @pytest.fixture
    def listed(self, tracking: Tracking) -> Store:
        """Ten tasks: even ones are `long`; 0 to 3 are cancelled, 4 and 5 run, the rest waits."""
        for number in range(10):
            tracking.submit(number, task_type="short" if number % 2 else "long")
        tracking.tick(cancels=ids(range(4)))
        assert len(tracking.claim(short=1, long=1)) == 2
        return tracking.store

    @pytest.mark.parametrize(
        ("query", "numbers", "total"),
        [
            ({}, [9, 8, 7, 6, 5, 4, 3, 2, 1, 0], 10),
            ({"limit": 3}, [9, 8, 7], 10),
            ({"limit": 3, "offset": 8}, [1, 0], 10),
            ({"offset": 10}, [], 10),
            ({"state": State.CANCELLED}, [3, 2, 1, 0], 4),
            ({"state": State.CANCELLED, "limit": 2, "offset": 1}, [2, 1], 4),
            ({"state": State.FAILED}, [], 0),
            ({"task_type": "long"}, [8, 6, 4, 2, 0], 5),
            ({"task_type": "unknown"}, [], 0),
            ({"task_type": "short", "state": State.PENDING}, [9, 7], 2),
            ({"task_type": "long", "state": State.RUNNING}, [4], 1),
        ],
    )
    def test_a_page_is_filtered_counted_and_newest_first(
        self, listed: Store, query: dict[str, Any], numbers: list[int], total: int
    ) -> None:
        page = listed.read(task_query(**query))
        assert [task.task_id for task in page.tasks] == ids(numbers)
        assert page.total == total


class TestTexts:
    @pytest.mark.parametrize(
        "text",
        [
            '{"text": "Žluťoučký kůň 🐎 漢字 \u202e"}',
            '"' + "ä" * 1_000_000 + '"',
            r'{"nul": "\u0000", "lone": "\ud800"}',
            '{"quotes": "it\'s \\" %s :name ? $1"}',
            '"\x7f\x01"',
        ],
        ids=["unicode", "long", "escaped", "quotes", "control"],
    )
    def test_payload_result_error_and_checkpoint_come_back_as_they_were(
        self, tracking: Tracking, text: str
    ) -> None:
        tracking.submit(1, payload=text)
        [(running, claim)] = tracking.tick(requests=[capacity_request()]).claimed
        assert claim.payload == text
        tracking.tick(reports=[Report(task_id(1), 1, 1, checkpoint=text)])
        tracking.settle(running, OutcomeKind.FAILED, error=text, retryable=True)
        [(running, claim)] = tracking.tick(requests=[capacity_request()]).claimed
        assert claim.checkpoint == text
        assert tracking.task(1).error == text
        tracking.settle(running, OutcomeKind.SUCCEEDED, result=text)
        stored = tracking.store.read(TaskDetail(task_id(1)))
        assert stored is not None
        assert (stored[0].payload, stored[0].result, stored[1][0].error) == (text, text, text)


def test_late_outcomes_of_several_attempts_are_noted_in_one_tick(store: Store) -> None:
    tracking = Tracking(store)
    tracking.submit(1, 2)
    lost = tracking.claim()
    for running in lost:
        tracking.settle(running, OutcomeKind.LOST)
    tracking.tick(late=[("r1", outcome(running, OutcomeKind.SUCCEEDED)) for running in lost])
    for running in lost:
        found = store.read(TaskDetail(running.task_id))
        assert found is not None
        assert found[1][0].late_outcome == OutcomeKind.SUCCEEDED
