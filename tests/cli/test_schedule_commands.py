"""`raytasks schedules`: list, set, delete, run, pause, resume."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console

from raytasks.cli import tables
from raytasks.cli.schedules import schedule_details, schedules_table
from raytasks.client.schedule_documents import ScheduleDocument
from tests.local_service import LocalService, served

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def scheduled_url(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a service whose handlers have schedules."""
    folder = tmp_path_factory.mktemp("scheduled")
    file = shutil.copy(sqlite_template, folder / "tasks.db")
    modules = ("tests.schedule_handlers",)
    with served(LocalService(f"sqlite:///{file}", folder, task_modules=modules)) as url:
        yield url


@pytest.fixture
def at(run: Run, scheduled_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command against the service."""
    monkeypatch.setenv("RAYTASKS_URL", scheduled_url)
    monkeypatch.setattr(tables, "console", Console(width=200, highlight=False))
    return run


def lines(run: Run, *arguments: str) -> list[str]:
    """Run a command that must succeed, and return its words line by line."""
    done = run(*arguments)
    assert done.code == 0, done.err
    return [" ".join(line.split()) for line in done.out.splitlines()]


def document(run: Run, *arguments: str) -> Any:
    """Run a command that must succeed, and return its JSON."""
    done = run(*arguments, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_they_are_shown(at: Run) -> None:
    head, nightly, often = lines(at, "schedules")
    assert head == "SCHEDULE TYPE TIMES NEXT LAST SET BY"
    assert nightly.startswith("nightly report 30 2 * * * Europe/Berlin 2")
    assert often.startswith("often report every 10 min 2")
    assert lines(at, "schedules", "list")[0] == head
    found = document(at, "schedules")["schedules"]
    assert [item["name"] for item in found] == ["nightly", "often"]
    assert lines(at, "schedules", "--namespace", "empty") == ["there are no schedules"]


def test_one_is_shown_with_its_next_times(at: Run) -> None:
    shown = lines(at, "schedules", "show", "nightly")
    coming = document(at, "schedules", "show", "nightly")["next_times"]
    assert len(coming) == 5
    assert shown[0] == "name nightly"
    assert "times 30 2 * * * Europe/Berlin" in shown
    assert 'payload {"account":7,"token":"**********"}' in shown
    place = shown.index(f"next times {coming[0]}")
    assert shown[place + 1 : place + 5] == coming[1:]
    assert "tags night" in shown
    assert "overlap skip" in lines(at, "schedules", "show", "often")
    refused = at("schedules", "show", "mine")
    assert refused.code == 3
    assert "there is no schedule 'mine'; `raytasks schedules` lists them" in refused.err


def test_one_is_set_and_deleted(at: Run) -> None:
    made = document(
        at,
        *("schedules", "set", "mine", "--type", "report", "--cron", "0 9 * * MON-FRI"),
        *("--timezone", "Asia/Kolkata", "--payload", '{"account": 1}', "--catch-up", "all"),
        *("--max-catch-up", "5", "--priority", "3", "--tag", "a", "--tag", "b"),
        *("--max-attempts", "9", "--timeout", "40", "--expires", "500"),
        *("--limit-value", "account=11"),
    )
    times = made["override"]
    assert (times["cron"], times["timezone"]) == ("0 9 * * MON-FRI", "Asia/Kolkata")
    assert (times["catch_up"], times["max_catch_up"]) == ("all", 5)
    assert (times["priority"], times["tags"], times["payload"]["account"]) == (3, ["a", "b"], 1)
    assert (times["max_attempts"], times["timeout_seconds"]) == (9, 40)
    assert (times["expires_seconds"], times["limit_values"]) == (500, {"account": 11})
    changed = lines(
        at, "schedules", "set", "mine", "--type", "report", "--every", "90s", "--overlap", "skip",
        "--payload", '{"account": 1}',
    )  # fmt: skip
    assert changed[1].startswith("mine report every 1 min 30 s 2")
    assert lines(at, "schedules", "delete", "mine") == ["the schedule mine has ended"]
    refused = at("schedules", "delete", "mine")
    assert refused.code == 3
    assert "there is no schedule 'mine'" in refused.err


def test_one_is_paused_run_and_resumed(at: Run) -> None:
    assert "paused by" in lines(at, "schedules", "pause", "often")[1]
    [task_id] = lines(at, "schedules", "run", "often")
    assert document(at, "get", task_id)["schedule"] == "often"
    assert any(line.startswith("schedule often, for 2") for line in lines(at, "get", task_id))
    assert lines(at, "schedules", "show", "often")[-1].endswith(f", task {task_id}")
    assert document(at, "schedules", "run", "often")["task_type"] == "report"
    assert "paused by" not in lines(at, "schedules", "resume", "often")[1]


def test_wrong_usage_is_refused(at: Run) -> None:
    for more in ([], ["--cron", "0 9 * * *", "--every", "2h"]):
        refused = at("schedules", "set", "mine", "--type", "report", *more)
        assert refused.code == 2
        assert "give --cron or --every, one of them" in refused.err
    refused = at("schedules", "set", "mine", "--type", "report", "--cron", "nine")
    assert refused.code == 3
    assert "five fields" in refused.err


def test_one_that_stands_still_says_why(at: Run) -> None:
    [item] = [one for one in document(at, "schedules")["schedules"] if one["name"] == "often"]
    item |= {"error": "timezone: there is no time zone 'X'", "next_times": []}
    console = Console(width=200, highlight=False)
    with console.capture() as captured:
        console.print(schedules_table([item]), schedule_details(item))
    found = [" ".join(line.split()) for line in captured.get().splitlines()]
    why = "timezone: there is no time zone 'X'"
    assert found[1].startswith(f"often report every 10 min stands still: {why}")
    assert f"stands still {why}; it is tried again each minute" in found
    older = {name: value for name, value in item.items() if name != "error"}
    schedules_table([cast("ScheduleDocument", older)])  # of a service before 0.6
