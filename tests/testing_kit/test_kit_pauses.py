"""Pauses and limit values in a test's queue: as in the service, with the test's clock."""

import pytest

from raytasks import InvalidSubmission
from raytasks.client import Client
from raytasks.testing import Queue
from raytasks.testing.queue import NotIdle


def client_of(queue: Queue) -> Client:
    return Client(queue.url, transport=queue.transport)


def test_what_is_paused_does_not_run_until_it_is_resumed() -> None:
    with Queue(["tests.testing_kit.kit_handlers"]) as queue, client_of(queue) as client:
        client.pause("coroutine")
        held = queue.submit("coroutine", 1)
        later = queue.submit("coroutine", 2, delay_seconds=60)
        assert queue.run_for(120) == []
        assert (held.state, later.state) == ("PENDING", "PENDING")
        with pytest.raises(NotIdle, match="coroutine"):
            queue.run_until_idle()
        assert client.resume("coroutine")["ended"]
        assert [run.result for run in queue.run_until_idle()] == [1, 2]


def test_a_pause_ends_by_the_clock_of_the_test() -> None:
    with Queue(["tests.testing_kit.kit_handlers"]) as queue, client_of(queue) as client:
        client.pause(seconds=300)
        task = queue.submit("coroutine", 1)
        assert queue.run_for(299) == []
        assert len(queue.run_for(1)) == 1
        assert task.state == "COMPLETED"
        assert client.pauses() == []


def test_limit_values_are_those_of_the_payload_or_given() -> None:
    with Queue(["tests.flow_handlers"]) as queue:
        task = queue.submit("mail", {"account": 7})
        assert task.document["limit_values"] == {"customer": 7}
        task = queue.submit("mail", {"account": 7}, limit_values={"customer": "all"})
        assert task.document["limit_values"] == {"customer": "all"}
        assert queue.submit("letter", {}).document["limit_values"] == {}
        with pytest.raises(InvalidSubmission, match="limits cannot be told"):
            queue.submit("mail", {"account": [7]})
        with pytest.raises(InvalidSubmission) as caught:
            queue.submit("letter", {}, limit_values={"customer": 7})
        [error] = caught.value.errors
        assert (error.pointer, error.message) == (
            "/limit_values/customer", "is no keyed limit of this type; it has: none",
        )  # fmt: skip
