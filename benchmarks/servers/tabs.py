"""Visible tabs with the list of tasks: they ask for what the page asks for, without a browser.

`python -m benchmarks.servers.tabs URL` reads a line, the number of tabs that are to be open, and
answers when so many are live. A tab follows the feed of all tasks. It loads the list and the counts
again as `views/tasks/live_list.js` and `core/pacing.js` do. What browsers spend on other machines
is not spent here: changes are counted, not read, at the lowest priority.
"""

import asyncio
import json
import os
import sys
import time
from collections import Counter

import aiohttp
import uvloop

PAGE = 50
TOLD_SECONDS = 1.5
"""How long after a change the list is loaded again, as by `TOLD_MS`."""

REST = 20
"""How many times as long as a load took a tab rests afterwards."""

MIN_REST_SECONDS = 0.5

_CHANGE = b"\ndata:"


class Tab:
    """A tab. `counts` counts what all tabs have asked for and heard."""

    def __init__(self, http: aiohttp.ClientSession, counts: Counter[str]) -> None:
        self._http = http
        self._counts = counts
        self._changed = asyncio.Event()
        self.live = asyncio.Event()

    async def run(self) -> None:
        """Follow the feed and load the list, until it is cancelled."""
        async with asyncio.TaskGroup() as both:
            both.create_task(self._follow())
            both.create_task(self._load_for_ever())

    async def _follow(self) -> None:
        headers = {"Accept": "text/event-stream"}
        async with self._http.get("/tasks/events", headers=headers) as answer:
            answer.raise_for_status()
            self.live.set()
            self._changed.set()  # at the first connection the list is loaded
            end = b""
            async for chunk in answer.content.iter_any():
                self._counts["bytes"] += len(chunk)
                if changes := (end + chunk).count(_CHANGE):
                    self._counts["changes"] += changes
                    self._changed.set()
                end = chunk[-len(_CHANGE) + 1 :]
        raise ConnectionError("the feed has ended")

    async def _load_for_ever(self) -> None:
        first = True
        while True:
            await self._changed.wait()
            if not first:
                await asyncio.sleep(TOLD_SECONDS)
            self._changed.clear()
            began = time.monotonic()
            await asyncio.gather(
                self._get("list", "/tasks/", {"namespace": "default", "limit": str(PAGE)}),
                self._get("counts", "/stats", {"namespace": "default"}),
            )
            rest = REST * (time.monotonic() - began)
            first = False
            # The page rests from its load on; what it waits for a change counts into that.
            await asyncio.sleep(max(0.0, max(MIN_REST_SECONDS, rest) - TOLD_SECONDS))

    async def _get(self, name: str, path: str, query: dict[str, str]) -> None:
        async with self._http.get(path, params=query) as answer:
            answer.raise_for_status()
            await answer.json()
        self._counts[name] += 1


class Tabs:
    """All tabs of this process."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http
        self._running: list[asyncio.Task[None]] = []
        self._counts: Counter[str] = Counter()

    async def open(self, number: int) -> dict[str, int]:
        """Have so many tabs open, and return what those before have asked for and heard."""
        for task in self._running:
            if task.done():
                task.result()  # a tab that has failed has not cost what it should
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        counts, self._counts = dict(self._counts), Counter()
        tabs = [Tab(self._http, self._counts) for _ in range(number)]
        self._running = [asyncio.ensure_future(tab.run()) for tab in tabs]
        await asyncio.gather(*(tab.live.wait() for tab in tabs))
        return counts


async def serve(url: str) -> None:
    """Answer questions until there are no more."""
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(url, connector=connector, timeout=timeout) as http:
        tabs = Tabs(http)
        while line := await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(await tabs.open(json.loads(line))), flush=True)
        await tabs.open(0)


if __name__ == "__main__":
    os.nice(19)
    uvloop.run(serve(sys.argv[1]))
