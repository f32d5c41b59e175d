"""The cost of schedules for the tracker: its core and SQL, without Ray and HTTP.

    python -m benchmarks.schedule_cost [--schedules N] [--minutes N] [--on KIND ...] [--real]

The tracker's clock is virtual: each step is a second of it. The tracker is woken when a schedule is
due, and every four seconds, as it wakes by itself for its leases. So ten minutes take seconds. What
is told is the processor time of the whole process for these minutes, as a part of one core over as
many real minutes. There are no runners: what schedules submit stays. With `--real` the clock is
that of the machine, and only `none` and `spread` are measured.

- `none`: without schedules; this is in the other figures, too.
- `idle`: hourly schedules, none of which is due in these minutes.
- `spread`: hourly schedules with their minutes spread over the hour; a sixth fires in ten minutes.
- `together`: hourly schedules that are all due at one moment within these minutes.
"""

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.servers.postgres import running_postgres
from raytasks.model.handler_info import HandlerInfo, HandlerKind
from raytasks.model.schedule_specs import DeclaredSchedule, ScheduleKey, ScheduleSpec
from raytasks.store.store import Store
from raytasks.tracker.core import Tracker

START = 1_800_000_000.0  # at 0 minutes past the hour
WAKE_SECONDS = 4
_TYPE = "hourly"
_TURNS = 5

MINUTES: dict[str, Callable[[int], int]] = {
    "none": lambda _number: 0,
    "idle": lambda _number: 59,
    "spread": lambda number: number % 60,
    "together": lambda _number: 5,
}
"""The minute of the hour of each schedule, by its number."""


class VirtualClock:
    """A clock that the benchmark moves."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


@dataclass
class Cost:
    """The cost of some minutes: processor seconds, and the part of a core; what was submitted."""

    case: str
    schedules: int
    tasks: int
    processor_seconds: float
    core_percent: float


def infos(case: str, number: int) -> list[HandlerInfo]:
    """Return a version of the handlers with so many schedules."""
    minute = MINUTES[case]
    declared = tuple(
        DeclaredSchedule(
            ScheduleKey("default", f"s{place}"),
            ScheduleSpec(_TYPE, "{}", 3, cron=f"{minute(place)} * * * *"),
        )
        for place in range(number if case != "none" else 0)
    )
    return [HandlerInfo(_TYPE, HandlerKind.FUNCTION, (0, 0), schedules=declared)]


async def cost_of(url: str, case: str, number: int, minutes: int, *, real: bool) -> Cost:
    """Return the cost of some minutes of a tracker with these schedules."""
    store, clock = Store(url), VirtualClock()
    store.upgrade()
    tracker = Tracker(store, lease_seconds=15.0, clock=time.time if real else clock)
    await tracker.start()
    tracker.set_handlers(infos(case, number))
    running = asyncio.ensure_future(tracker.run())
    book = tracker.ticker.schedules
    try:
        await tracker.ticker.background.schedules.in_force.wait()
        begun = time.process_time()
        if real:
            await asyncio.sleep(60 * minutes)
        else:
            await _pass(tracker, clock, minutes)
        used = time.process_time() - begun
        return Cost(case, len(book.rows), tracker.backlog, used, 100 * used / (60 * minutes))
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await tracker.close()


async def _pass(tracker: Tracker, clock: VirtualClock, minutes: int) -> None:
    """Move the clock by some minutes, and let the tracker do what is due."""
    book, ticker = tracker.ticker.schedules, tracker.ticker
    for second in range(1, 60 * minutes + 1):
        clock.now = START + second
        while book.next_time <= clock.now:
            await tracker.prune((), 0.0)  # a command is answered by a tick
        if second % WAKE_SECONDS == 0:
            ticker.wake.set()
            for _ in range(_TURNS):
                await asyncio.sleep(0)
            await ticker.wait_for_tick()


def main() -> None:
    """Measure, and print the figures as a table and as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--schedules", type=int, default=10_000)
    parser.add_argument("--minutes", type=int, default=10)
    parser.add_argument("--on", nargs="*", default=["sqlite"], choices=["sqlite", "postgresql"])
    parser.add_argument("--real", action="store_true", help="real minutes, not simulated ones")
    options = parser.parse_args()
    cases = ("none", "spread") if options.real else tuple(MINUTES)
    found: dict[str, list[Cost]] = {}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for kind in options.on:
            server = stack.enter_context(running_postgres()) if kind == "postgresql" else None
            for case in cases:
                url = f"sqlite:///{folder / case}.db" if server is None else server.new_database()
                cost = asyncio.run(
                    cost_of(url, case, options.schedules, options.minutes, real=options.real)
                )
                found.setdefault(kind, []).append(cost)
                print(
                    f"{kind:10} {case:9} {cost.schedules:6} schedules, {cost.tasks:6} tasks: "
                    f"{cost.processor_seconds:6.2f} s, {cost.core_percent:5.2f} % of a core",
                    file=sys.stderr,
                )
    print(json.dumps({kind: [asdict(cost) for cost in costs] for kind, costs in found.items()}))


if __name__ == "__main__":
    main()
