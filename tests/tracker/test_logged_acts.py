"""The acts of people in the service's log."""

import logging

import pytest

from raytasks.model.acts import AuditEntry
from raytasks.protocol.commands import CancelTask, RetryTask
from raytasks.protocol.queries import AuditList
from raytasks.store.store import Store
from raytasks.tracker.logged_acts import log_acts
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
