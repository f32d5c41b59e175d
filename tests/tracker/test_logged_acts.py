"""The acts of people in the service's log."""

import logging
import time
from contextlib import suppress

import pytest

from raytasks.model.acts import ActionName, AuditEntry, NewAudit
from raytasks.model.tasks import StoreUnavailable
from raytasks.protocol.commands import CancelTask, Command, NudgeOutbox, RetryTask, StartBulk
from raytasks.protocol.queries import AuditList
from raytasks.store.store import Store
from raytasks.store.transaction import Superseded
from raytasks.tracker.logged_acts import log_acts, write_act
from tests.making import new_task, task_id
from tests.tracking import tracker_on


def test_an_act_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    log_acts(
        [
            AuditEntry("id", 1.0, "anna", "cancel", "default", "task-1", '{"message":"no"}'),
            AuditEntry("id", 1.0, "ben@here", "pause"),
            AuditEntry("id", 1.0, "ben", "bulk_retry", "a", "b", '{"state":["FAILED"]}'),
        ]
    )
    assert [record.getMessage() for record in caplog.records] == [
        "cancel of task-1 by anna",
        "pause of the service by ben@here",
        "bulk_retry of b by ben",
    ]


async def test_the_tracker_logs_what_it_has_committed(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "raytasks.observe.acts_log")
    async with tracker_on(store) as tracker:
        await tracker.submit([new_task(1)])
        await tracker.execute(CancelTask(task_id(1), by="anna"))
        await tracker.execute(RetryTask(task_id(1), by="ben"))
        for _ in range(2):
            await tracker.pause("carl@here")
        await tracker.resume("carl@here")
        found = await tracker.read(AuditList())
    assert [(item.action, item.by) for item in reversed(found.entries)] == [
        ("cancel", "anna"),
        ("retry", "ben"),
        ("pause", "carl@here"),
        ("resume", "carl@here"),
    ]
    assert [record.getMessage().split()[0] for record in caplog.records] == [
        "cancel",
        "retry",
        "pause",
        "resume",
    ]


STOP = NewAudit("dora@here", ActionName.STOP, details={"grace_seconds": 3.0})


async def test_a_stop_is_written_down_whatever_the_epoch(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "raytasks")
    with suppress(Superseded):  # by which the tracker ends
        async with tracker_on(store) as tracker:
            store.begin_epoch(time.time())  # another tracker has taken over
            await write_act(tracker.ticker.access, STOP, 5.0, 2.0)
            [found] = store.read(AuditList()).entries
    assert (found.by, found.action, found.at) == ("dora@here", "stop", 5.0)
    assert found.details == '{"grace_seconds":3.0}'
    assert "stop of the service by dora@here" in caplog.messages


async def test_a_stop_without_a_database_is_in_the_log(
    store: Store, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> None:
        raise StoreUnavailable("no such host")

    caplog.set_level(logging.INFO, "raytasks")
    async with tracker_on(store) as tracker:
        monkeypatch.setattr(store, "writing_own", away)
        await write_act(tracker.ticker.access, STOP, 5.0, 2.0)
    [told, lacking] = caplog.messages[-2:]
    assert told == "stop of the service by dora@here"
    assert lacking.startswith("the audit may lack this stop: ")
    assert store.read(AuditList()).entries == []


def test_each_command_says_who_asks() -> None:
    """`StartBulk` has it in its operation; a nudge changes nothing."""
    commands = set(Command.__subclasses__()) - {StartBulk, NudgeOutbox}
    assert [kind for kind in commands if "by" not in kind.__struct_fields__] == []
