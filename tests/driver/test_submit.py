"""Calls of drivers, handlers and deployments, on the queue of a test, which is a real service."""

import pickle
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel

import raytasks
from raytasks.driver import submit as driver
from raytasks.handling.declaration import handler
from raytasks.model.errors import InvalidSubmission
from raytasks.model.tasks import KeyConflict, StoreUnavailable, TaskFailed
from raytasks.protocol.person import person_here
from raytasks.testing import Queue


class Order(BaseModel):
    number: int


@handler("order")
def order(order: Order) -> int:
    """Return the number, unless it is 13."""
    if order.number == 13:
        raise raytasks.PermanentError("no luck")
    return order.number


def orders(*numbers: Any) -> list[dict[str, Any]]:
    return [{"task_type": "order", "payload": {"number": number}} for number in numbers]


def by_function(number: int) -> dict[str, Any]:
    return {"task_type": order, "payload": Order(number=number)}


@pytest.fixture
def queue() -> Any:
    with Queue([order], max_batch_bytes=100) as queue:
        yield queue


def test_submit_and_wait(queue: Queue) -> None:
    task = raytasks.submit("order", Order(number=5), priority=3, tags=["a"])
    assert queue.get(task.id)["priority"] == 3
    assert task.wait() == 5
    with pytest.raises(TaskFailed, match="FAILED: PermanentError: no luck"):
        raytasks.submit("order", {"number": 13}).wait()


def test_a_wait_of_no_time(queue: Queue) -> None:
    task = raytasks.submit("order", Order(number=5))
    with pytest.raises(ValueError, match="timeout_seconds are nan"):
        task.wait(timeout_seconds=float("nan"))


def test_by_function(queue: Queue) -> None:
    assert raytasks.submit(order, Order(number=5)).wait() == 5
    assert [task.wait() for task in raytasks.submit_many([*orders(1), by_function(2)])] == [1, 2]
    queue.submit(order, Order(number=3))
    assert [run.result for run in queue.run_until_idle()] == [3]
    with pytest.raises(raytasks.HandlerError, match=r"orders is not decorated with @handler"):
        raytasks.submit(orders, {})


async def test_on_an_event_loop(queue: Queue) -> None:
    task = await raytasks.submit_async(order, Order(number=5))
    assert await task == 5
    assert await raytasks.result_async(task.id) == 5
    assert await task.ref == 5
    assert [await each for each in await raytasks.submit_many_async(orders(1, 2))] == [1, 2]


def test_the_same_key_is_the_same_task(queue: Queue) -> None:
    first = raytasks.submit("order", {"number": 5}, idempotency_key="k")
    assert raytasks.submit("order", {"number": 5}, idempotency_key="k") == first
    with pytest.raises(KeyConflict, match=first.id):
        raytasks.submit("order", {"number": 6}, idempotency_key="k")


class TestAcceptedBefore:
    """The same call again, when today's checks would refuse it."""

    def soon(self, queue: Queue) -> str:
        return datetime.fromtimestamp(queue.clock() + 60, UTC).isoformat()

    def test_one(self, queue: Queue) -> None:
        options = {"idempotency_key": "k", "expires_at": self.soon(queue)}
        first = raytasks.submit("order", {"number": 5}, **options)
        kit = queue.submit("order", {"number": 5}, **options | {"idempotency_key": "kit"})
        queue.clock.advance(3600)
        assert raytasks.submit(order, Order(number=5), **options) == first
        again = queue.submit("order", {"number": 5}, **options | {"idempotency_key": "kit"})
        assert again.task_id == kit.task_id
        for key in ("new", None):
            with pytest.raises(InvalidSubmission, match="/expires_at: must be in the future"):
                raytasks.submit("order", {"number": 5}, **options | {"idempotency_key": key})
        with pytest.raises(InvalidSubmission, match="/expires_at"):
            raytasks.submit("order", {"number": 6}, **options)

    async def test_on_an_event_loop(self, queue: Queue) -> None:
        options = {"idempotency_key": "k", "expires_at": self.soon(queue)}
        first = await raytasks.submit_async("order", {"number": 5}, **options)
        asked = [order | {"expires_at": options["expires_at"]} for order in orders(1, 2)]
        many = await raytasks.submit_many_async(asked, idempotency_key="m")
        queue.clock.advance(3600)
        assert await raytasks.submit_async("order", {"number": 5}, **options) == first
        assert await raytasks.submit_many_async(asked, idempotency_key="m") == many

    def test_many(self, queue: Queue) -> None:
        """The first call of a thousand has one that expires, and the second has none."""
        asked = orders(*range(1100))
        asked[7]["expires_at"] = self.soon(queue)
        first = raytasks.submit_many(asked, idempotency_key="k")
        queue.clock.advance(3600)
        assert raytasks.submit_many(asked, idempotency_key="k") == first
        with pytest.raises(InvalidSubmission) as caught:
            raytasks.submit_many(asked, idempotency_key="new")
        assert [error.pointer for error in caught.value.errors] == ["/tasks/7/expires_at"]
        asked.append({"task_type": "order", "payload": {"number": "x"}})
        with pytest.raises(InvalidSubmission) as caught:
            raytasks.submit_many(asked, idempotency_key="k")
        assert [error.pointer for error in caught.value.errors] == ["/tasks/1100/payload/number"]


def test_a_task_can_be_sent(queue: Queue) -> None:
    task = raytasks.submit("order", {"number": 5})
    assert task.ref is task.ref
    assert pickle.loads(pickle.dumps(task)) == task


class TestMany:
    def test_in_parts_of_a_thousand_and_of_so_many_bytes(
        self, queue: Queue, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sizes: list[int] = []
        real = driver._instead[-1].submit

        async def submit(tasks: Any) -> Any:
            sizes.append(len(tasks))
            return await real(tasks)

        monkeypatch.setattr(driver._instead[-1], "submit", submit)
        tasks = raytasks.submit_many(orders(*range(100, 120)))  # 14 bytes each
        assert sizes == [7, 7, 6]
        assert [task.wait() for task in tasks] == list(range(100, 120))
        assert raytasks.submit_many([]) == []

    def test_nothing_is_sent_when_one_is_bad(self, queue: Queue) -> None:
        asked = orders(*range(1000), "x", 5, float("nan"))
        with pytest.raises(InvalidSubmission) as caught:
            raytasks.submit_many(asked)
        assert [error.pointer for error in caught.value.errors] == [
            "/tasks/1000/payload/number",
            "/tasks/1002/payload/number",
        ]
        assert "/tasks/1000/payload/number" in str(caught.value)
        assert queue.run_due() == []

    def test_again_with_the_same_key(self, queue: Queue) -> None:
        asked = orders(*range(1100))
        first = raytasks.submit_many(asked, idempotency_key="k")
        assert len({task.id for task in first}) == 1100
        assert raytasks.submit_many(asked, idempotency_key="k") == first
        with pytest.raises(KeyConflict):
            raytasks.submit_many(orders(7), idempotency_key="k")

    def test_what_was_sent_before_a_failure_is_told(
        self, queue: Queue, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real, failing = driver._instead[-1].submit, [False, True]

        async def submit(tasks: Any) -> Any:
            if failing.pop(0):
                raise StoreUnavailable("the database is away")
            return await real(tasks)

        monkeypatch.setattr(driver._instead[-1], "submit", submit)
        with pytest.raises(
            raytasks.PartlySubmitted, match="after 7 tasks were submitted: the database"
        ) as caught:
            raytasks.submit_many(orders(*range(100, 120)))
        assert [task.wait() for task in caught.value.tasks] == list(range(100, 107))
        assert isinstance(caught.value.__cause__, StoreUnavailable)
        failing[:] = [True]
        with pytest.raises(StoreUnavailable):
            raytasks.submit_many(orders(1))


def test_an_option_that_is_none_is_named(queue: Queue) -> None:
    with pytest.raises(InvalidSubmission, match="/namespace: Extra inputs are not permitted"):
        raytasks.submit("order", {"number": 1}, namespace="x")


def test_what_replaces_a_task_says_who_it_was(queue: Queue) -> None:
    unique = {"key": "k", "on_conflict": "replace"}
    later = [{**task, "delay_seconds": 60, "unique": unique} for task in orders(1, 2)]
    first = raytasks.submit(**later[0])
    assert raytasks.submit(**later[1]).id == first.id
    raytasks.submit_many(later)
    acts = queue.get(first.id)["actions"]
    assert [(act["action"], act["by"]) for act in acts] == [("replace", person_here())] * 3
