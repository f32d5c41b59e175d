"""audit, errors, me, and the filter of list and bulk: what they print."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from raytasks.cli import tables

Run = Callable[..., Any]


def submitted(tasks: Run, *arguments: str) -> str:
    done = tasks("submit", *arguments)
    assert done.code == 0, done.err
    task_id: str = done.out.strip()
    return task_id


def test_a_cancel_is_told_by_get_events_and_audit(tasks: Run) -> None:
    task_id = submitted(tasks, "noop", "{}", "--delay", "600")
    assert tasks("cancel", task_id, "-m", "not needed").code == 0
    shown = tasks("get", task_id).out
    assert "requested by local: not needed" in shown
    assert "by local" in tasks("events", task_id).out
    listed = tasks("audit", "--action", "cancel", "--limit", "1")
    assert listed.code == 0, listed.err
    assert task_id in listed.out
    entry = json.loads(tasks("audit", "--by", "local", "--limit", "1", "--json").out)["entries"][0]
    assert (entry["action"], entry["target"]) == ("cancel", task_id)
    lines = tasks("audit", "--all", "--json").out.splitlines()
    assert json.loads(lines[0]) == entry
    assert tasks("audit", "--action", "dance").code == 3


def test_what_has_expired_was_cancelled_by_nobody() -> None:
    task = {"cancel_reason": {"code": "expired", "message": None, "by": None}}
    [(name, why)] = tables._acts(task)
    assert (name, str(why)) == ("cancelled", "expired")


def test_failures_are_grouped_and_found_by_their_error(tasks: Run) -> None:
    task_id = submitted(tasks, "scripted", '{"step": "permanent"}')
    assert tasks("get", task_id, "--wait").code == 1
    found = json.loads(tasks("errors", "--json").out)
    group = next(item for item in found["groups"] if item["task_type"] == "scripted")
    assert (group["newest_task_id"], sum(group["hours"])) == (task_id, group["count"])
    shown = tasks("errors", "--type", "scripted").out
    assert group["error_type"] in shown
    assert "raytasks bulk retry --type scripted --error" in shown
    assert tasks("errors", "--type", "noop").out == "no task is FAILED\n"
    by_error = ("--error", group["error_type"], "--state", "failed", "--state", "retrying")
    assert task_id in tasks("list", *by_error).out
    done = tasks("bulk", "retry", "--error", group["error_type"], "--dry-run", "--json")
    assert json.loads(done.out) == {"matched": group["count"]}
    later = tasks("list", "--created-after", "2999-01-01T00:00:00Z", "--json")
    assert json.loads(later.out)["tasks"] == []


def test_me_tells_who_i_am(tasks: Run) -> None:
    done = tasks("me")
    assert done.code == 0, done.err
    assert "local: operate, read, submit" in done.out
    assert json.loads(tasks("me", "--json").out)["namespace"] is None


def test_namespaces_are_listed(tasks: Run) -> None:
    [found] = json.loads(tasks("namespaces", "--json").out)["namespaces"]
    assert found["name"] == "default"
    shown = tasks("namespaces").out
    assert re.search(rf"default +1 +{sum(found['by_state'].values())} ", shown)


def test_events_take_a_filter(tasks: Run) -> None:
    task_id = submitted(tasks, "scripted", '{"lines": 2}')
    tasks("get", task_id, "--wait")
    lines = tasks("events", task_id, "--json", "--type", "log").out.splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["log", "log", "end"]
    lines = tasks("events", task_id, "--json", "--no-logs").out.splitlines()
    assert "log" not in [json.loads(line)["event"] for line in lines]


@pytest.mark.parametrize(
    ("counts", "line"),
    [([], ""), ([0, 0], "  "), ([1, 0, 8], "▁ █"), ([3, 3], "██"), ([1, 1000], "▁█")],
)
def test_a_sparkline(counts: list[int], line: str) -> None:
    from raytasks.cli.error_table import sparkline

    assert sparkline(counts) == line
