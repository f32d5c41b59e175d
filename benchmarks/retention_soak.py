"""Retention under a steady load: does pruning keep up with what comes in?

    python -m benchmarks.retention_soak [--retention S] [--seconds S] [--rate N] [--on DATABASE ...]

No-ops are submitted and run without a pause, by the tracker's core on a real database. The runners
are made up, and there is no Ray and no HTTP. Once the retention has passed, the table is looked at
each second. What has to be kept are the tasks that ended within the last retention. The table may
be 1.3 times that, in the median and at the end.
"""

import argparse
import asyncio
import contextlib
import json
import statistics
import tempfile
import time
from collections import deque
from pathlib import Path

from benchmarks.flow_cost import PLAIN, RUNNERS, MadeUpRunner, new_tasks, tracking
from benchmarks.servers.postgres import running_postgres
from raytasks.model.states import State
from raytasks.tracker.core import Tracker
from raytasks.tracker.retention import Retention

BOUND = 1.3
_MAX_OPEN = 4000
_BATCH = 500


class Soak:
    """Tasks that come and go on one tracker; `ended` of them so far."""

    def __init__(self, tracker: Tracker, rate: float) -> None:
        self._tracker = tracker
        self._rate = rate
        self._runners = [MadeUpRunner(tracker, number) for number in range(RUNNERS)]
        self._submitted = 0

    @property
    def ended(self) -> int:
        """How many tasks have ended."""
        return sum(runner.ended for runner in self._runners)

    async def run(self) -> None:
        """Submit and run tasks until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            for runner in self._runners:
                group.create_task(runner.run([PLAIN]))
            group.create_task(self._submit())

    async def _submit(self) -> None:
        began = time.monotonic()
        while True:
            due = self._rate * (time.monotonic() - began) if self._rate else float("inf")
            if self._submitted + _BATCH > due or self._submitted - self.ended > _MAX_OPEN:
                await asyncio.sleep(0.01)
                continue
            for batch in new_tasks(PLAIN, _BATCH):
                await self._tracker.submit(batch)
            self._submitted += _BATCH

    async def rows(self) -> int:
        """Return how many finished tasks are stored."""
        store = self._tracker.ticker.store
        counts = await asyncio.to_thread(store.counts)
        return sum(number for key, number in counts.items() if key[2] is State.COMPLETED)


async def measure(url: str, retention: float, seconds: float, rate: float) -> dict[str, float]:
    """Return the rate, the size of the table, and its ratio to what has to be kept."""
    async with tracking(url) as tracker:
        soak = Soak(tracker, rate)
        pruning = Retention(tracker, _no_files, seconds=retention, clock=time.time)
        working = [asyncio.ensure_future(soak.run()), asyncio.ensure_future(pruning.run())]
        try:
            found = await _watch(soak, retention, seconds)
        finally:
            for task in working:
                task.cancel()
            await asyncio.gather(*working, return_exceptions=True)
    return found


async def _watch(soak: Soak, retention: float, seconds: float) -> dict[str, float]:
    began = time.monotonic()
    seen: deque[tuple[float, int]] = deque([(began, 0)])  # of the last retention
    ratios: list[float] = []
    while (now := time.monotonic()) - began < seconds:
        await asyncio.sleep(1.0)
        seen.append((time.monotonic(), soak.ended))
        while seen[1][0] <= now - retention:
            seen.popleft()
        if now - began > 1.2 * retention:  # by then pruning has found its pace
            kept = seen[-1][1] - seen[0][1]
            ratios.append(await soak.rows() / kept)
    kept_seconds = seen[-1][0] - seen[0][0]
    return {
        "tasks_per_second": (seen[-1][1] - seen[0][1]) / kept_seconds,
        "rows": await soak.rows(),
        "ratio": statistics.median(ratios),
        "ratio_max": max(ratios),
        "ratio_at_the_end": statistics.median(ratios[-5:]),
    }


def _no_files(_task_id: str) -> None:
    """Remove nothing: the tasks have no files."""


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--retention", type=float, default=60.0, help="RETENTION_SECONDS")
    parser.add_argument("--seconds", type=float, default=480.0)
    parser.add_argument("--rate", type=float, default=0.0, help="tasks a second; 0: all it can")
    parser.add_argument("--on", nargs="*", default=["sqlite", "postgresql"])
    asked = parser.parse_args()
    for database in asked.on:
        with contextlib.ExitStack() as stack:
            if database == "sqlite":
                folder = stack.enter_context(tempfile.TemporaryDirectory())
                url = f"sqlite:///{Path(folder) / 'tasks.db'}"
            else:
                url = stack.enter_context(running_postgres()).new_database()
            found = asyncio.run(measure(url, asked.retention, asked.seconds, asked.rate))
        kept = max(found["ratio"], found["ratio_at_the_end"])
        verdict = "met" if kept <= BOUND else "missed"
        numbers = {name: round(value, 2) for name, value in found.items()}
        print(json.dumps({"database": database, **numbers, f"at most {BOUND}": verdict}))


if __name__ == "__main__":
    main()
