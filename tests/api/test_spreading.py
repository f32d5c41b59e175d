"""Replicas on several hosts: which of them make way, and when none does."""

import pytest

from raytasks.api.spreading import SETTLED_SECONDS, MakesWay, Spreading


class Hosts:
    """Hosts and a replica on one of them; the test sets them, and the time."""

    def __init__(self, replicas: int, rank: int, hosts: int) -> None:
        self.rank, self.now = rank, 0.0
        self.names = frozenset(f"10.0.0.{number}" for number in range(hosts))
        self.asked: set[str] = set()
        self.spreading = Spreading(
            replicas,
            self._may_go,
            rank=lambda: self.rank,
            hosts=lambda: self.names,
            clock=lambda: self.now,
        )

    async def _may_go(self, name: str) -> bool:
        first = name not in self.asked
        self.asked.add(name)
        return first

    async def goes(self, *, after: float = SETTLED_SECONDS) -> bool:
        """Return whether the replica makes way after two looks with this time between them."""
        await self.spreading.look()
        self.now += after
        await self.spreading.look()
        try:
            self.spreading.check()
        except MakesWay:
            return True
        return False


@pytest.mark.parametrize(
    ("replicas", "rank", "hosts", "goes"),
    [
        (2, 0, 2, False),
        (2, 1, 2, True),
        (2, 1, 1, False),  # one host has them all
        (2, 1, 3, True),
        (5, 2, 2, False),  # three on one host, two on the other
        (5, 3, 2, True),
        (2, 1, 0, False),  # no host is known: nothing is certain
    ],
)
async def test_too_many_on_one_host_make_way(
    replicas: int, rank: int, hosts: int, goes: bool
) -> None:
    assert await Hosts(replicas, rank, hosts).goes() is goes


async def test_none_goes_before_things_have_settled() -> None:
    world = Hosts(2, 1, 2)
    assert not await world.goes(after=SETTLED_SECONDS - 1)
    world.rank = 0
    await world.spreading.look()
    world.rank = 1
    assert not await world.goes(after=SETTLED_SECONDS - 1)
    assert await world.goes(after=1)


async def test_replicas_do_not_go_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    world = Hosts(2, 1, 2)
    for number in range(4):
        world.asked.add(f"way {number} to {' '.join(sorted(world.names))}")
    assert not await world.goes()
    assert not await world.goes()
    assert caplog.text.count("came to the same host again") == 1
    world.names |= {"10.0.0.9"}  # another host is another chance
    assert await world.goes()
