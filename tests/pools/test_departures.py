"""Nodes that leave: when they are looked for, and how long what runs there may take."""

import asyncio
import math
import threading
import time

import pytest

from raytasks.pools.departures import GIVE_BACK_SECONDS, LOOK_SECONDS, Departures


async def seen(departures: Departures) -> None:
    """Have a look end."""
    departures.look()
    assert departures._looking is not None
    await departures._looking


async def test_a_node_that_stays_has_no_end() -> None:
    departures = Departures(lambda: {"leaves": math.inf})
    await seen(departures)
    assert departures.patience(None) is None
    assert departures.patience("stays") is None
    assert departures.patience("leaves") == math.inf


async def test_what_runs_is_given_back_before_the_end() -> None:
    gone_at = time.time() + 10
    departures = Departures(lambda: {"soon": gone_at, "now": gone_at - 10})
    await seen(departures)
    soon, now = departures.patience("soon"), departures.patience("now")
    assert soon is not None
    assert now is not None
    assert 10 - GIVE_BACK_SECONDS - 1 < soon <= 10 - GIVE_BACK_SECONDS
    assert now <= -GIVE_BACK_SECONDS


async def test_a_look_that_hangs_holds_up_nobody_and_is_the_only_one() -> None:
    gate = threading.Event()
    looks: list[float] = []

    def look() -> dict[str, float]:
        looks.append(time.time())
        gate.wait(10)
        return {"one": math.inf}

    departures = Departures(look)
    departures.look()
    departures._looked_at -= LOOK_SECONDS
    departures.look()
    assert departures.patience("one") is None
    gate.set()
    assert await departures.news() == {"one"}
    assert len(looks) == 1


async def test_looks_have_time_between_them() -> None:
    looks: list[float] = []

    def look() -> dict[str, float]:
        looks.append(time.time())
        return {}

    departures = Departures(look)
    await seen(departures)
    await seen(departures)
    assert len(looks) == 1
    departures._looked_at -= LOOK_SECONDS
    await seen(departures)
    assert len(looks) == 2


async def test_a_look_that_fails_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    answers = [{"one": math.inf}]
    departures = Departures(answers.pop)
    await seen(departures)
    departures._looked_at -= LOOK_SECONDS
    await seen(departures)
    assert departures.patience("one") == math.inf
    assert "pop from empty list" in caplog.text


async def test_each_departure_is_news_once() -> None:
    known = {"one": math.inf}
    departures = Departures(lambda: dict(known))
    await seen(departures)
    assert await departures.news() == {"one"}
    known["two"] = math.inf
    departures._looked_at -= LOOK_SECONDS
    await seen(departures)
    assert await departures.news() == {"one", "two"}
    departures._looked_at -= LOOK_SECONDS
    await seen(departures)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await departures.news()
