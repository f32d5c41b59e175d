"""Schedules of `@handler`: what is declared is checked, and what cannot work is refused."""

import subprocess
import sys
from typing import Any

import pytest
from pydantic import BaseModel

from raytasks import Limit, Schedule, handler
from raytasks.handling.declaration import handler_of
from raytasks.handling.registry import Registry
from raytasks.model.errors import HandlerError
from raytasks.model.schedule_specs import CatchUp, Overlap, ScheduleKey


class Report(BaseModel):
    """The payload of a report."""

    account: int


def registry(*schedules: Schedule, **options: Any) -> Registry:
    """A registry of one handler with these schedules."""

    @handler("report", schedules=schedules, **options)
    def report(payload: Report) -> int:
        """Return the account."""
        return payload.account

    return Registry([handler_of(report)])


def test_what_is_declared_is_in_the_description_for_the_tracker() -> None:
    schedule = Schedule(
        "daily",
        "0 9 * * MON-FRI",
        timezone="Asia/Kolkata",
        payload=Report(account=3),
        catch_up="all",
        max_catch_up=7,
        namespace="shop",
        priority=5,
        tags=("a", "b"),
        limit_values={"account": "x"},
        expires_seconds=60,
    )
    limits = [Limit("account", running=1, by="/account")]
    [info] = registry(schedule, limits=limits, timeout=20).infos()
    [declared] = info.schedules
    assert declared.key == ScheduleKey("shop", "daily")
    spec = declared.spec
    assert (spec.task_type, spec.payload, spec.tags) == ("report", '{"account":3}', '["a","b"]')
    assert (spec.catch_up, spec.max_catch_up, spec.overlap) == (CatchUp.ALL, 7, Overlap.ALLOW)
    assert (spec.priority, spec.max_attempts, spec.timeout_seconds) == (5, 3, 20.0)
    assert (spec.given_values, spec.expires_seconds) == ({"account": "x"}, 60)
    assert spec.timing == ("0 9 * * MON-FRI", None, "Asia/Kolkata")


def test_one_needs_no_list() -> None:
    @handler("once", schedules=Schedule("one", every_seconds=5))  # type: ignore[call-overload,untyped-decorator]
    def once(payload: None) -> None:
        """Do nothing."""

    assert [item.name for item in handler_of(once).schedules] == ["one"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "a b", "cron": "0 9 * * *"}, "bad name 'a b'"),
        ({"name": "a"}, "give cron= or every_seconds=, one of them"),
        ({"name": "a", "cron": "0 9 * * *", "every_seconds": 5}, "one of them"),
        ({"name": "a", "every_seconds": 5, "namespace": "Shop"}, "bad namespace 'Shop'"),
        ({"name": "a", "every_seconds": 5, "tags": "night"}, "tags must be a list"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused_at_once(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Schedule(**values)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cron": "0 25 * * *"}, "report: the schedule 'daily': cron: is no cron expression"),
        ({"timezone": "Berlin"}, "timezone: there is no time zone 'Berlin'"),
        ({"payload": {}}, "payload/account: Field required"),
        ({"payload": object()}, "its payload cannot be JSON"),
        ({"catch_up": "some"}, "catch_up: "),
        ({"overlap": "replace"}, "overlap: "),
        ({"catch_up": "all", "overlap": "skip"}, "write catch_up last"),
        ({"limit_values": {"who": 1}}, "is no keyed limit of this type"),
        ({"tags": ["a b"]}, "tags/0: "),
        ({"priority": "high"}, "priority: "),
    ],
)
def test_one_that_cannot_work_is_refused_with_its_handler(
    changes: dict[str, Any], message: str
) -> None:
    values = {"cron": "0 9 * * *", "payload": {"account": 1}, **changes}
    found = registry(Schedule("daily", **values))
    with pytest.raises(HandlerError, match=message):
        found.infos()


def test_other_things_are_no_schedules() -> None:
    for wrong in ("0 9 * * *", [{"cron": "0 9 * * *"}], 5):
        with pytest.raises(HandlerError, match=r"schedules must be"):
            registry(*wrong) if isinstance(wrong, list) else handler("t", schedules=wrong)(print)  # type: ignore[arg-type]


def test_a_name_is_there_once_in_a_namespace() -> None:
    twice = Schedule("a", every_seconds=5)
    with pytest.raises(HandlerError, match="different names"):
        registry(twice, twice)

    @handler("other", schedules=[twice])
    def other(payload: None) -> None:
        """Do nothing."""

    found = registry(Schedule("a", every_seconds=9, payload={"account": 1}))
    found.add(handler_of(other))
    with pytest.raises(HandlerError, match="the schedule 'a' is declared by"):
        found.infos()


def test_a_declaration_needs_neither_pydantic_nor_the_library_of_cron() -> None:
    code = (
        "import sys; from raytasks import Schedule, handler; "
        "handler('t', schedules=[Schedule('a', '0 9 * * *')])(lambda payload: None); "
        "assert not {'pydantic', 'cronsim'} & sys.modules.keys(), sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
