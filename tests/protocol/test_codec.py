"""Messages on their way: what goes in comes out, whatever version of raytasks the other side is."""

import msgspec
import pytest

from raytasks.model.states import OutcomeKind
from raytasks.model.task_events import LogLine
from raytasks.model.tasks import Duplicate
from raytasks.protocol import codec as wire
from raytasks.protocol.messages import AttemptLog, Claim, Exchange, Orders, Outcome, Report
from tests.making import new_task

EXCHANGE = Exchange(
    "life",
    "name",
    "shared",
    "g",
    capacity_by_type={"a": 1, "b": 256},
    capacity=3,
    last_batch=7,
    node_id="node",
    outcomes=[
        Outcome("t1", 1, OutcomeKind.SUCCEEDED, 1.5, 2.5, result='{"a": "ü\\u0000"}'),
        Outcome("t2", 2, OutcomeKind.LOST, 1.5, 2.5, error="{}", charged=False, ray_attempt=3),
    ],
    reports=[Report("t3", 1, 4, 0.5, "half", checkpoint="[1]")],
    logs=[AttemptLog("t3", 1, 5, [LogLine(1, 3.5, "INFO", "line")])],
    held=[("t3", 1)],
    leaving=True,
)
ORDERS = Orders(
    batch=8,
    claims=[Claim("t4", "a", 1, "{}", 0, 3, None, None, payload_ref="{}")],
    cancels=[("t3", 1)],
    stale=[("t5", 2)],
    acknowledged=[("t1", 1)],
    acknowledged_reports=[4],
    acknowledged_logs=[5],
    resync=True,
    end=True,
    queued=True,
)


def test_an_exchange_arrives_as_it_was_sent() -> None:
    found = wire.exchange_of(wire.encode(EXCHANGE))
    assert found == msgspec.structs.replace(EXCHANGE, held=found.held)
    assert list(map(tuple, found.held or ())) == EXCHANGE.held
    assert found.outcomes[1].kind is OutcomeKind.LOST


def test_orders_arrive_as_they_were_sent() -> None:
    assert wire.orders_of(wire.encode(ORDERS)) == ORDERS


def test_attempts_in_orders_can_be_looked_up() -> None:
    """They are keys in the runner's books."""
    assert {wire.orders_of(wire.encode(ORDERS)).acknowledged[0]: 1} == {("t1", 1): 1}


@pytest.mark.parametrize("held", [None, ()])
def test_to_hold_nothing_is_not_the_same_as_not_to_say(held: object) -> None:
    sent = msgspec.structs.replace(EXCHANGE, held=held)
    found = wire.exchange_of(wire.encode(sent)).held
    assert (found is None) == (held is None)


def test_new_tasks_and_duplicates_arrive() -> None:
    tasks = [new_task(1), new_task(2, tags='["a"]', timeout_seconds=1.5, namespace="b")]
    assert wire.new_tasks_of(wire.encode(tasks)) == tasks
    duplicates = {"t1": Duplicate("t0", same=True)}
    assert wire.duplicates_of(wire.encode(duplicates)) == duplicates


def test_a_field_of_a_later_version_is_skipped_and_a_missing_one_has_its_default() -> None:
    message = msgspec.msgpack.decode(wire.encode(ORDERS))
    del message["queued"]
    message["of_tomorrow"] = 1
    found = wire.orders_of(msgspec.msgpack.encode(message))
    assert found == msgspec.structs.replace(ORDERS, queued=False)
