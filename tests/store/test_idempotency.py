"""Idempotency keys: a key that was answered is taken, whoever asks; each conflict names a task."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pytest
from sqlalchemy import insert, select

from raytasks.handling.submission import batch_key
from raytasks.model.states import OutcomeKind, State
from raytasks.model.tasks import Duplicate, NewTask
from raytasks.model.uniqueness import OnConflict, Unique, encode_unique
from raytasks.store.compiled import CompiledQuery
from raytasks.store.idempotency import find_taken
from raytasks.store.schema import key_aliases
from raytasks.store.store import Store
from raytasks.tracker.outbox_intake import OutboxEntry
from raytasks.tracker.tick import TickResult
from tests.making import NOW, Tracking, new_task, task_id
from tests.outbox_tools import outbox_values, write_rows

HELD = Duplicate(task_id(1), same=True, unique=OnConflict.RETURN)
"""The answer with task 1, as it holds the unique key."""

CONFLICT = Duplicate(task_id(1), same=False)
"""The refusal of a key that another request has used, which task 1 answered."""


@pytest.fixture
def tracking(store_url: str, open_store: Callable[..., Store]) -> Tracking:
    return Tracking(open_store(store_url))


def keyed(number: int, digest: str = "d", *, key: str = "i", **changes: Any) -> NewTask:
    """Return a submission with an idempotency key."""
    return new_task(number, idempotency_key=key, request_digest=digest, **changes)


def unique(
    number: int,
    digest: str = "u",
    *,
    key: str | None = "i",
    on_conflict: OnConflict = OnConflict.RETURN,
    **changes: Any,
) -> NewTask:
    """Return a submission with the unique key `k`, and with an idempotency key."""
    spec = encode_unique(Unique("k", on_conflict=on_conflict))
    named = {} if key is None else {"idempotency_key": key, "request_digest": digest}
    return new_task(number, unique_spec=spec, **named, **changes)


def answer(tracking: Tracking, new: NewTask) -> Duplicate | None:
    """Submit a task; return why it was not stored, or None."""
    return tracking.tick(submissions=[new]).duplicates.get(new.task_id)


def hand_in(tracking: Tracking, *new: NewTask) -> TickResult:
    """Commit rows of the outbox that ask for these tasks, and take them in one tick."""
    write_rows(tracking.store, *(outbox_values(int(task.task_id[-4:], 16)) for task in new))
    return tracking.tick(outbox=[OutboxEntry(task.task_id, task) for task in new])


def are_named(tracking: Tracking, done: TickResult) -> bool:
    """Return whether all tasks exist that the answers of a tick name."""
    named = {found.task_id for found in done.duplicates.values()} - {""}
    with tracking.store.transaction(now=tracking.now) as transaction:
        return transaction.tasks(sorted(named)).keys() == named


class TestAKeyThatWasAnsweredWithAnotherTask:
    @pytest.fixture(autouse=True)
    def _answered(self, tracking: Tracking) -> None:
        assert answer(tracking, unique(1, key=None)) is None
        assert answer(tracking, unique(2)) == HELD

    def test_is_taken_for_a_request_without_a_unique_key(self, tracking: Tracking) -> None:
        assert answer(tracking, keyed(3)) == CONFLICT
        assert answer(tracking, unique(4)) == HELD  # the first request has its answer again
        assert answer(tracking, unique(5, "other")) == CONFLICT

    @pytest.mark.parametrize("policy", OnConflict)
    def test_is_taken_for_a_request_with_one(self, tracking: Tracking, policy: OnConflict) -> None:
        assert answer(tracking, unique(3, "other", on_conflict=policy)) == CONFLICT
        tracking.settle(tracking.claim()[0], OutcomeKind.SUCCEEDED)
        assert answer(tracking, unique(4, "other", on_conflict=policy)) == CONFLICT

    def test_is_free_in_another_namespace(self, tracking: Tracking) -> None:
        done = tracking.tick(submissions=[keyed(3, namespace="other"), keyed(4)])
        assert done.duplicates == {task_id(4): CONFLICT}

    def test_is_taken_for_a_batch(self, tracking: Tracking) -> None:
        new = [keyed(3 + place, key=batch_key("i", place)) for place in range(3)]
        done = tracking.tick(submissions=[*new, keyed(9, key="j")])
        nothing = Duplicate("", same=False)
        assert done.duplicates == {task_id(3): CONFLICT, task_id(4): nothing, task_id(5): nothing}

    def test_is_taken_for_a_row_of_the_outbox(self, tracking: Tracking) -> None:
        done = hand_in(tracking, keyed(3), unique(4))
        assert done.duplicates == {task_id(3): CONFLICT, task_id(4): HELD}
        assert (tracking.state(3), tracking.state(4)) == (State.FAILED, State.CANCELLED)
        assert task_id(1) in (tracking.task(3).error or "")

    def test_needs_no_room(self, tracking: Tracking) -> None:
        found = tracking.store.duplicates([keyed(3), unique(4), keyed(5, key="j")])
        assert found == {task_id(3): CONFLICT, task_id(4): HELD}

    def test_is_free_when_that_task_was_pruned(self, tracking: Tracking) -> None:
        tracking.settle(tracking.claim()[0], OutcomeKind.SUCCEEDED)
        assert answer(tracking, keyed(3)) == CONFLICT
        tracking.tick(prunings=[([task_id(1)], NOW + 1.0)])
        assert answer(tracking, keyed(4)) is None

    def test_is_free_when_that_task_was_deleted(self, tracking: Tracking) -> None:
        tracking.tick(cancels=[task_id(1)])
        tracking.delete(1)
        assert answer(tracking, keyed(4)) is None
        assert answer(tracking, unique(5)) == Duplicate(task_id(4), same=False)

    def test_that_came_again_by_mistake_has_both_answers(self, tracking: Tracking) -> None:
        """Earlier versions stored the second request."""
        answer(tracking, keyed(3, key="j"))
        alias = {"namespace": "default", "idempotency_key": "j", "task_id": task_id(1)}
        with tracking.store._database.writing() as connection:
            connection.execute(insert(key_aliases), alias | {"request_digest": "u"})
        assert answer(tracking, unique(4, key="j")) == HELD
        assert answer(tracking, keyed(5, key="j")) == Duplicate(task_id(3), same=True)
        assert answer(tracking, keyed(6, "other", key="j")) == CONFLICT
        assert tracking.tick(submissions=[keyed(3, key="j")]).duplicates == {}


class TestInOneTick:
    """The answers are those that the submissions would get one after the other."""

    @pytest.fixture(autouse=True)
    def _held(self, tracking: Tracking) -> None:
        assert answer(tracking, unique(1, key=None)) is None

    def test_a_conflict_names_the_task_that_answered_the_key(self, tracking: Tracking) -> None:
        done = tracking.tick(submissions=[unique(2), keyed(3), unique(4)])
        assert done.duplicates == {task_id(2): HELD, task_id(3): CONFLICT, task_id(4): HELD}

    def test_a_refused_submission_takes_no_key(self, tracking: Tracking) -> None:
        refused = unique(2, on_conflict=OnConflict.REJECT)
        again = unique(4, on_conflict=OnConflict.REJECT)
        done = tracking.tick(submissions=[refused, keyed(3), again])
        assert done.duplicates == {
            task_id(2): Duplicate(task_id(1), same=False, unique=OnConflict.REJECT),
            task_id(4): Duplicate(task_id(3), same=False),
        }
        assert tracking.state(3) is State.PENDING

    def test_the_same_request_is_refused_twice(self, tracking: Tracking) -> None:
        new = [unique(number, on_conflict=OnConflict.REJECT) for number in (2, 3)]
        done = tracking.tick(submissions=new)
        refusal = Duplicate(task_id(1), same=False, unique=OnConflict.REJECT)
        assert done.duplicates == {task_id(2): refusal, task_id(3): refusal}

    def test_a_replacement_is_made_once(self, tracking: Tracking) -> None:
        new = [
            unique(number, on_conflict=OnConflict.REPLACE, payload=str(number)) for number in (2, 3)
        ]
        done = tracking.tick(submissions=[*new, keyed(4)])
        told = Duplicate(task_id(1), same=True, unique=OnConflict.REPLACE)
        assert done.duplicates == {task_id(2): told, task_id(3): told, task_id(4): CONFLICT}
        assert (tracking.task(1).payload, tracking.task(1).revision) == ("2", 1)

    def test_a_refused_batch_takes_no_keys(self, tracking: Tracking) -> None:
        def batch(first: int, digest: str, *, long: bool) -> list[NewTask]:
            return [
                keyed(first + place, digest, key=batch_key("b", place)) for place in range(2 + long)
            ]

        tracking.tick(submissions=[keyed(9, "first", key="b")])
        done = tracking.tick(
            submissions=[*batch(10, "second", long=False), *batch(20, "third", long=True)]
        )
        taken, nothing = Duplicate(task_id(9), same=False), Duplicate("", same=False)
        assert done.duplicates == {
            task_id(number): taken if number in (10, 20) else nothing
            for number in (10, 11, 20, 21, 22)
        }

    def test_a_batch_that_is_refused_for_a_unique_key_takes_none(self, tracking: Tracking) -> None:
        new = [
            keyed(2, key="b", batch="2"),
            unique(3, key=batch_key("b", 1), on_conflict=OnConflict.REJECT, batch="2"),
        ]
        done = tracking.tick(submissions=[*new, keyed(4, "other", key="b")])
        assert task_id(4) not in done.duplicates
        assert are_named(tracking, done)

    def test_a_batch_that_was_stored_and_comes_again_has_its_answer(
        self, tracking: Tracking
    ) -> None:
        """Ray may deliver a call twice."""
        new = [
            keyed(2, key="b", batch="2"),
            unique(3, "d", key=batch_key("b", 1), batch="2"),
        ]
        assert tracking.tick(submissions=new).duplicates == {task_id(3): HELD}
        again = tracking.tick(submissions=[*new, keyed(4, key="j")])
        assert (again.duplicates, again.duplicates.at) == ({task_id(3): HELD}, None)
        assert [change.task_id for change in again.changes] == [task_id(4)]

    def test_rows_of_the_outbox_have_one_task_for_a_key(self, tracking: Tracking) -> None:
        refused = unique(2, on_conflict=OnConflict.REJECT)
        done = hand_in(tracking, refused, keyed(3), keyed(4, "other"))
        states = [tracking.state(number) for number in (2, 3, 4)]
        assert states == [State.FAILED, State.PENDING, State.FAILED]
        assert done.duplicates[task_id(4)] == Duplicate(task_id(3), same=False)

    def test_the_rest_of_a_batch_belongs_to_no_other_one(self, tracking: Tracking) -> None:
        """The tracker leaves out what was deleted, so the first task may be missing."""
        tracking.tick(submissions=[keyed(9, "first", key=batch_key("b", 1))])
        done = tracking.tick(submissions=[keyed(2, key="j"), keyed(3, key=batch_key("b", 1))])
        assert done.duplicates == {task_id(3): Duplicate(task_id(9), same=False)}

    def test_no_alias_is_stored_for_what_is_not_an_answer(self, tracking: Tracking) -> None:
        tracking.tick(submissions=[unique(2), keyed(3), unique(4), keyed(5, key="j")])
        with tracking.store._database.reading() as connection:
            rows = connection.execute(select(key_aliases.c.idempotency_key, key_aliases.c.task_id))
            assert [tuple(row) for row in rows] == [("i", task_id(1))]


def test_postgresql_finds_keys_and_their_aliases_in_their_indexes(
    postgres_url: str, open_store: Callable[..., Store]
) -> None:
    tracking = Tracking(open_store(postgres_url))
    tracking.tick(submissions=[unique(1, key=None), *(keyed(n, key=f"k{n}") for n in range(2, 90))])
    tracking.tick(submissions=[unique(number, key=f"a{number}") for number in range(100, 190)])
    found: list[str] = []

    def explain(query: CompiledQuery, bound: Mapping[str, Any]) -> Iterable[Sequence[Any]]:
        values = tuple(query.values(bound))
        found.extend(connection.exec_driver_sql(f"EXPLAIN {query.text}", values).scalars())
        return connection.exec_driver_sql(query.text, values).all()

    with tracking.store._database.writing() as connection:
        taken = find_taken(explain, [keyed(5, key="k5"), keyed(6, key="a100")], postgres=True)
    assert (taken.has(keyed(5, key="k5")), taken.duplicate(keyed(6, key="a100"))) == (
        True,
        CONFLICT,
    )
    plan = "\n".join(found)
    assert plan.count("ix_tasks_idempotency_key") == plan.count("pk_key_aliases") == 1, plan
    assert "Seq Scan" not in plan
