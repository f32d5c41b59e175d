"""Runners of another version of the messages: told to end, or kept idle; `/health` names them."""

import logging
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from raytasks.protocol import codec as wire
from raytasks.protocol import protocol_version
from raytasks.protocol.messages import Exchange
from raytasks.protocol.protocol_version import PROTOCOL
from raytasks.protocol.queries import Health
from raytasks.tracker.core import Tracker
from tests.making import new_task
from tests.tracking import FaultyStore, ScriptedRunner, tracker_on

OLD: dict[str, Any] = {"protocol": 0, "needs": 0}
NEW: dict[str, Any] = {"protocol": PROTOCOL + 1, "needs": PROTOCOL + 1}
NEWER_THAT_KNOWS_US: dict[str, Any] = {"protocol": PROTOCOL + 5, "needs": PROTOCOL}


@pytest.fixture
async def tracker(faulty_store: FaultyStore) -> AsyncIterator[Tracker]:
    """A tracker with a task, whose heartbeat is short."""
    async with tracker_on(faulty_store, lease_seconds=0.3) as tracker:
        await tracker.submit([new_task(1)])
        yield tracker


async def reasons(tracker: Tracker) -> list[dict[str, Any]]:
    report = await tracker.read(Health())
    return [reason for reason in report["reasons"] if reason["code"] == "other_version"]


@pytest.mark.parametrize("version", [OLD, NEWER_THAT_KNOWS_US])
async def test_one_that_is_understood_works(tracker: Tracker, version: dict[str, Any]) -> None:
    [claim] = await ScriptedRunner(tracker).claim(**version)
    assert claim.attempt == 1
    assert await reasons(tracker) == []


async def test_one_that_is_too_old_is_told_to_end_with_one_line(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(protocol_version, "NEEDS", 1)
    runner = ScriptedRunner(tracker)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            orders = await runner.exchange(**OLD)
            assert orders.end
            assert "the runner r1 speaks version 0 of the messages" in orders.reason
    assert len([line for line in caplog.messages if "another version" in line]) == 1
    [reason] = await reasons(tracker)
    assert reason["count"] == 1
    assert "raytasks stop" in reason["fix"]
    # Its pool makes one of the present code, which works.
    [claim] = await ScriptedRunner(tracker, "r2").claim(protocol=PROTOCOL)
    assert claim.attempt == 1


async def test_one_that_is_too_new_stays_idle_and_is_not_made_again(tracker: Tracker) -> None:
    for _ in range(2):
        orders = await ScriptedRunner(tracker).exchange(**NEW)
        assert (orders.end, list(orders.claims)) == (False, [])
        assert f"which needs {PROTOCOL + 1}, and this process {PROTOCOL}" in orders.reason
    [reason] = await reasons(tracker)
    assert "1 runners of another version get no tasks (r1)" in reason["message"]
    tracker.ticker.foreign._monotonic = lambda: 1e12  # much later
    assert await reasons(tracker) == []


def test_a_message_of_a_later_version_is_decoded_as_far_as_it_is_known() -> None:
    """So a tracker can tell its sender's version, whatever else is in it."""
    sent = msgspec.msgpack.decode(wire.encode(Exchange("id", "name", "pool", "g", {}, 0, 0, **NEW)))
    found = wire.exchange_of(msgspec.msgpack.encode(sent | {"later": [1]}))
    assert (found.protocol, found.needs) == (PROTOCOL + 1, PROTOCOL + 1)
