"""Answers that are given again."""

import asyncio

import pytest

from raytasks.api import kept_answers as module
from raytasks.api.kept_answers import KeptAnswers
from raytasks.testing import FakeClock


class Maker:
    """Makes answers, each another one, when the test lets it."""

    def __init__(self) -> None:
        self.made = 0
        self.error: Exception | None = None
        self.may = asyncio.Event()
        self.may.set()

    async def __call__(self) -> bytes:
        self.made += 1
        answer = b"%d" % self.made
        await self.may.wait()
        if self.error is not None:
            raise self.error
        return answer


async def test_an_answer_is_given_again_for_a_moment() -> None:
    clock, make = FakeClock(), Maker()
    kept: KeptAnswers[bytes] = KeptAnswers(2.0, clock)
    assert [await kept.get("a", make), await kept.get("b", make)] == [b"1", b"2"]
    clock.advance(1.9)
    assert [await kept.get("a", make), await kept.get("b", make)] == [b"1", b"2"]
    clock.advance(0.1)
    assert await kept.get("a", make) == b"3"


async def test_those_who_ask_at_once_share_one_even_if_the_first_leaves() -> None:
    make = Maker()
    make.may.clear()
    kept: KeptAnswers[bytes] = KeptAnswers(2.0, FakeClock())
    first, second = (asyncio.ensure_future(kept.get("a", make)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    make.may.set()
    assert await second == b"1"
    assert make.made == 1


async def test_an_error_is_not_kept() -> None:
    make = Maker()
    make.error = ValueError("away")
    kept: KeptAnswers[bytes] = KeptAnswers(2.0, FakeClock())
    with pytest.raises(ValueError, match="away"):
        await kept.get("a", make)
    make.error = None
    assert await kept.get("a", make) == b"2"


async def test_only_so_many_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_KEPT", 2)
    make = Maker()
    kept: KeptAnswers[bytes] = KeptAnswers(2.0, FakeClock())
    for asked in ("a", "b", "c"):
        await kept.get(asked, make)
    assert await kept.get("c", make) == b"3"
    assert await kept.get("a", make) == b"4"
