"""Replicas of the API on several hosts: a replica with company makes way to a host without one.

Serve starts all replicas where there is a host, and that is often the head alone. It never moves
one later. So a replica that finds too many of them on its host reports itself as unfit. Serve
stops it in order, and starts another one on the next host in turn.
"""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)

SETTLED_SECONDS = 20.0
"""How long a replica has company before it makes way: hosts and replicas come one by one."""

_LOOK_SECONDS = 5.0


class MakesWay(Exception):
    """This replica makes way: another host is to have one instead."""


class Spreading:
    """The watch of one replica over its company.

    - `replicas`: how many the service should have.
    - `rank`: returns the number of this replica among those of its host, from 0.
    - `hosts`: returns the addresses of the hosts that can have one; it blocks.
    - `may_go`: returns True to the first who asks with a name, so that replicas do not go for ever.
    """

    def __init__(
        self,
        replicas: int,
        may_go: Callable[[str], Awaitable[bool]],
        *,
        rank: Callable[[], int],
        hosts: Callable[[], frozenset[str]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._replicas = replicas
        self._may_go = may_go
        self._rank = rank
        self._hosts = hosts
        self._clock = clock
        self._since: float | None = None
        self._told = frozenset[str]()
        self._goes = False

    async def run(self) -> None:
        """Look for ever, now and then. A single replica never has to go."""
        while self._replicas > 1 and not self._goes:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                await self.look()
            except Exception as error:
                log.warning("where the API's replicas are cannot be had: %r", error)

    async def look(self) -> None:
        """Decide whether this replica makes way."""
        hosts = await asyncio.to_thread(self._hosts)
        most = math.ceil(self._replicas / max(1, len(hosts)))
        if self._rank() < most:
            self._since = None
            return
        if self._since is None:
            self._since = self._clock()
        if self._clock() - self._since < SETTLED_SECONDS or hosts == self._told:
            return
        for number in range(2 * self._replicas):
            if await self._may_go(f"way {number} to {' '.join(sorted(hosts))}"):
                log.info("this replica makes way: %d on each of %d hosts do", most, len(hosts))
                self._goes = True
                return
        self._told = hosts
        log.warning("the API's replicas are not on all hosts: new ones came to the same host again")

    def check(self) -> None:
        """Raise `MakesWay` if Serve is to replace this replica."""
        if self._goes:
            raise MakesWay("another host is to have a replica of the API instead of this one")
