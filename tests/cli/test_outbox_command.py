"""`raytasks outbox`: what waits, why, and a nudge first."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.cli.test_service_commands import Fake, fake

Run = Callable[..., Any]
__all__ = ["fake"]


@pytest.mark.parametrize(
    ("state", "line"),
    [
        ((0, 0.0, None, 0), "0 rows wait\n"),
        ((3, 7500.0, "backlog_full", 0),
         "3 rows wait, the oldest for 2 h 5 min: the backlog is full\n"),
        ((1, 12.0, "locked", 0),
         "1 rows wait, the oldest for 12 s: "
         "another session of the database has locked the oldest\n"),
        ((1, 12.0, "of_a_later_version", 0),
         "1 rows wait, the oldest for 12 s: of_a_later_version\n"),
        ((1, 2.0, None, 1),
         "1 rows wait, the oldest for 2 s\n1 rows are refused by the database; see /health\n"),
    ],
)  # fmt: skip
def test_what_waits(fake: Fake, run: Run, state: Any, line: str) -> None:
    names = ("rows", "oldest_seconds", "held_by", "set_aside")
    document = dict(zip(names, state, strict=True))
    fake.play = lambda _: httpx.Response(200, json=document)
    assert run("outbox").out == line
    assert json.loads(run("outbox", "--json").out) == document


def test_a_nudge_comes_first(fake: Fake, run: Run) -> None:
    document = {"rows": 0, "oldest_seconds": 0.0, "held_by": None, "set_aside": 0}
    fake.play = lambda _: httpx.Response(200, json=document)
    assert run("outbox", "--nudge").code == 0
    asked = [(request.method, request.url.path) for request in fake.requests]
    assert asked == [("POST", "/outbox/nudge"), ("GET", "/outbox")]
