"""How long the tracker's event loop stands still as it starts with a day of statistics.

Run `python -m benchmarks.stats_start --pairs 1000`. Each pair of namespace and task type has a row
for each of the last 60 minutes. Before these it has one for each ten minutes, as a tracker leaves
them. With `--minutes` it has a row for every minute of the day.
"""

import argparse
import asyncio
import gc
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from raytasks.protocol.queries import Statistics
from raytasks.store.stats_rows import MinuteRow, StatsWrite, write_stats
from raytasks.store.store import Store
from raytasks.tracker.core import Tracker

DAY_MINUTES = 1440
FINE_MINUTES = 60
_BEAT_SECONDS = 0.002
_CHUNK = 5000
_TALLY = [100, 3, {str(n): 4 for n in range(40, 65)}, {str(n): 5 for n in range(60, 80)}]


def rows(pairs: int, *, minutes: bool, data: str) -> Iterator[MinuteRow]:
    """Yield the rows of a day, the oldest first."""
    now = int(time.time() // 60)
    for age in range(DAY_MINUTES - 1, -1, -1):
        if age >= FINE_MINUTES and not minutes and (now - age) % 10:
            continue
        for pair in range(pairs):
            yield MinuteRow(now - age, f"space {pair % 10}", f"type {pair}", data)


def fill(url: str, pairs: int, *, minutes: bool, data: str) -> int:
    """Write the rows into a new database, and return how many."""
    store = Store(url)
    store.upgrade()
    epoch = store.begin_epoch(time.time(), "")
    count, chunk = 0, []
    for row in [*rows(pairs, minutes=minutes, data=data), None]:
        if row is not None:
            chunk.append(row)
            count += 1
        if len(chunk) == _CHUNK or row is None:
            with store.transaction(now=time.time()) as transaction:
                transaction.renew(epoch)
                write_stats(transaction, StatsWrite(chunk))
                transaction.finish()
            chunk = []
    store.close()
    return count


async def start(url: str) -> dict[str, float]:
    """Start a tracker, and return how long it took and the longest stand-still of its loop."""
    gc.freeze()  # as the tracker's actor does
    tracker = Tracker(Store(url))
    longest, beats = 0.0, 0

    async def beat() -> None:
        nonlocal longest, beats
        before = time.perf_counter()
        while True:
            await asyncio.sleep(_BEAT_SECONDS)
            now = time.perf_counter()
            longest, before = max(longest, now - before - _BEAT_SECONDS), now
            beats += 1

    began = time.perf_counter()
    heart = asyncio.ensure_future(beat())
    await tracker.start()
    running = asyncio.ensure_future(tracker.run())
    await tracker.ticker.ledger.stats.read_back(600.0)
    restored = time.perf_counter() - began
    await asyncio.sleep(8.0)  # the care for old rows begins after five seconds
    for task in (heart, running):
        task.cancel()
    await asyncio.gather(heart, running, return_exceptions=True)
    shown = await tracker.read(Statistics("space 0"))
    await tracker.close()
    return {
        "restored_after_seconds": round(restored, 2),
        "longest_standstill_ms": round(longest * 1000, 1),
        "types_shown": len(shown["by_type"]),
    }


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--minutes", action="store_true", help="a row for every minute of the day")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'tasks.db'}"
        data = json.dumps({"all": _TALLY})
        count = fill(url, asked.pairs, minutes=asked.minutes, data=data)
        print(json.dumps({"rows": count, **asyncio.run(start(url))}))


if __name__ == "__main__":
    main()
