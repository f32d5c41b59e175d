"""Unique keys and expiry in the queue of the test kit, by its clock."""

import pickle
from typing import Any

import pytest

import raytasks
from raytasks import PartlySubmitted, UniqueConflict
from raytasks.client import Client, Conflict
from raytasks.testing import Queue

KEYED: dict[str, Any] = {"unique": {"key": "k"}}
REJECTED: dict[str, Any] = {"unique": {"key": "k", "on_conflict": "reject"}}


def kit() -> Queue:
    return Queue(["tests.testing_kit.kit_handlers"])


def test_a_submission_returns_the_holder_until_that_has_ended() -> None:
    with kit() as queue:
        first = queue.submit("coroutine", 1, **KEYED)
        again = queue.submit("coroutine", 2, **KEYED)
        assert again.task_id == first.task_id
        assert (first.duplicate, again.duplicate) == (False, True)
        with pytest.raises(UniqueConflict, match=first.task_id) as refused:
            queue.submit("coroutine", 3, **REJECTED)
        assert refused.value.task_id == first.task_id
        assert [run.result for run in queue.run_until_idle()] == [1]
        assert queue.submit("coroutine", 4, **REJECTED).task_id != first.task_id


def test_drivers_get_the_holder_or_an_error() -> None:
    with kit():
        first = raytasks.submit("coroutine", 1, **KEYED)
        again = raytasks.submit("coroutine", 2, **KEYED)
        assert again.id == first.id
        assert (first.duplicate, again.duplicate) == (False, True)
        assert pickle.loads(pickle.dumps(again)).duplicate
        with pytest.raises(UniqueConflict, match=first.id):
            raytasks.submit("coroutine", 3, **REJECTED)
        new, found = raytasks.submit_many(
            [
                {"task_type": "coroutine", "payload": 4},
                {"task_type": "coroutine", "payload": 5, **KEYED},
            ]
        )
        assert found.id == first.id != new.id
        assert (new.duplicate, found.duplicate) == (False, True)
        with pytest.raises(UniqueConflict, match="tasks 1 are held") as refused:
            raytasks.submit_many(
                [
                    {"task_type": "coroutine", "payload": 6},
                    {"task_type": "coroutine", "payload": 7, **REJECTED},
                ]
            )
        assert not isinstance(refused.value, PartlySubmitted)
        assert refused.value.pointers == ("/tasks/1/unique",)


def test_clients_get_the_id_of_the_holder() -> None:
    with kit() as queue, Client(queue.url, transport=queue.transport) as client:
        first = client.submit("coroutine", 1, unique={"key": "k"})
        again = client.submit("coroutine", 2, unique={"key": "k"})
        assert (first["duplicate"], again["duplicate"]) == (False, True)
        both = client.submit_many(
            [
                {"task_type": "coroutine", "payload": 3},
                {"task_type": "coroutine", "payload": 4, "unique": {"key": "k"}},
            ]
        )
        assert [task["duplicate"] for task in both] == [False, True]
        with pytest.raises(Conflict) as refused:
            client.submit("coroutine", 2, unique={"key": "k", "on_conflict": "reject"})
        assert refused.value.task_id == first["task_id"]
        client.cancel(first["task_id"])
        second = client.submit("coroutine", 2, unique={"key": "k"})
        with pytest.raises(Conflict) as refused:
            client.retry(first["task_id"])
        assert refused.value.task_id == second["task_id"]


def test_what_is_held_back_expires_by_the_clock_of_the_test() -> None:
    with kit() as queue, Client(queue.url, transport=queue.transport) as client:
        client.pause("coroutine")
        task = queue.submit("coroutine", 1, expires_seconds=60)
        queue.run_for(59)
        assert task.state == "PENDING"
        queue.run_for(1)
        assert task.state == "CANCELLED"
        assert task.document["cancel_reason"]["code"] == "expired"
        client.resume("coroutine")
        task.retry()
        assert len(queue.run_until_idle()) == 1
