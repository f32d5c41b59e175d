"""The cost of limits, keys and fair shares for the tracker: its core and SQL, without Ray and HTTP.

    python -m benchmarks.flow_cost [--tasks N] [--rounds N] [--on sqlite postgresql]

The runners are made up: they end what they are given at once. So the processor time is that of the
tracker, the store and the made-up runners, which are the same in both parts of a pair. Each round
measures both parts of each pair, one after the other; a ratio is taken within its round. The
medians are told, with the lowest and the highest.

- `keys`: tasks over 1,000 keys with two at a time, beside tasks without limits: the ratio of rates.
- `lanes`: each task with a key of its own.
- `blocked`: tasks without limits, beside very many that wait for one key, whose slots are taken.
  It is the ratio of the processor time a task. These drains are short, and take turns, as the
  machine's speed changes.
- `start`: the seconds until a tracker has taken over a database with so many lanes, beyond one
  with a single lane.
- `spaces`: a namespace with few tasks behind one with very many, in attempts of `WORK_SECONDS`. It
  is the p95 of the waits of the few, beside that of the same tasks alone.
"""

import argparse
import asyncio
import contextlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import uuid_utils

from benchmarks.measures import Summary, percentile, summaries
from benchmarks.servers.postgres import running_postgres
from raytasks.model.controls import Limit
from raytasks.model.handler_info import SHARED_POOL, HandlerInfo, HandlerKind
from raytasks.model.lane_names import lane_of
from raytasks.model.states import OutcomeKind, State
from raytasks.model.tasks import NewTask
from raytasks.protocol.messages import Claim, Exchange, Orders, Outcome
from raytasks.store.store import Store
from raytasks.tracker.core import Tracker
from raytasks.tracker.garbage import keep_present

PLAIN, KEYED = "plain", "keyed"
RUNNERS = 4
CAPACITY = 256
KEYS = 1000
FEW = 100
WORK_SECONDS = 0.05
TURNS = 3
_BATCH = 1000
_INFOS = (
    HandlerInfo(PLAIN, HandlerKind.FUNCTION, (0, 0)),
    HandlerInfo(KEYED, HandlerKind.FUNCTION, (0, 0), limits=(Limit("key", running=2, by="/key"),)),
)


@dataclass
class Cost:
    """The cost of a drain: seconds of the clock and of the processor."""

    tasks: int
    seconds: float
    processor_seconds: float


def new_tasks(
    task_type: str, number: int, keys: int = 0, namespace: str = "default"
) -> Iterator[list[NewTask]]:
    """Yield tasks in batches, over so many keys in turn; 0: without any."""
    batch: list[NewTask] = []
    for place in range(number):
        values = f'{{"key":{place % keys}}}' if keys else None
        task = NewTask(
            str(uuid_utils.uuid7()),
            task_type,
            "{}",
            0,
            3,
            None,
            namespace=namespace,
            lane=lane_of(namespace, values),
            limit_values=values,
        )
        batch.append(task)
        if len(batch) == _BATCH or place == number - 1:
            yield batch
            batch = []


@contextlib.asynccontextmanager
async def tracking(url: str) -> AsyncIterator[Tracker]:
    """Run a tracker on a database."""
    store = Store(url)
    store.upgrade()
    tracker = Tracker(store, lease_seconds=600.0)
    await tracker.start()
    tracker.set_handlers(_INFOS)
    keep_present()
    running = asyncio.ensure_future(tracker.run())
    try:
        yield tracker
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await tracker.close()


async def submit(tracker: Tracker, batches: Iterator[list[NewTask]]) -> None:
    """Store tasks."""
    for batch in batches:
        await tracker.submit(batch)


class MadeUpRunner:
    """A warm runner that ends its attempts at once, or after `seconds` each.

    With `keeps` it ends none. The times at which attempts begin are in `began`, by task.
    """

    def __init__(self, tracker: Tracker, number: int, *, seconds: float = 0.0) -> None:
        self._tracker = tracker
        self._number = number
        self._seconds = seconds
        self.keeps = False
        self._held: set[tuple[str, int]] = set()
        self.began: dict[str, float] = {}
        self.ended = 0

    async def run(self, types: Sequence[str]) -> None:
        """Claim and end attempts until it is cancelled."""
        name = f"runner.shared.{self._number}@bench"
        outcomes: list[Outcome] = []
        batch, number = 0, 0
        held: list[tuple[str, int]] | None = []
        while True:
            number += 1
            capacity = CAPACITY if not self._seconds else 1
            orders = await self._exchange(
                Exchange(
                    f"id-{self._number}",
                    name,
                    SHARED_POOL,
                    "bench",
                    dict.fromkeys(types, capacity),
                    capacity,
                    batch,
                    outcomes=outcomes,
                    held=held,
                    number=number,
                    batch_epoch=self._tracker.ticker.epoch,
                )
            )
            batch = max(batch, orders.batch)
            if self.keeps:
                self._held |= {(claim.task_id, claim.attempt) for claim in orders.claims}
            else:
                outcomes = [await self._run(claim) for claim in orders.claims]
            held = sorted(self._held) if orders.resync else None

    async def _exchange(self, told: Exchange) -> Orders:
        return await self._tracker.exchange(told)

    async def _run(self, claim: Claim) -> Outcome:
        began = time.time()
        self.began[claim.task_id] = began
        if self._seconds:
            await asyncio.sleep(self._seconds)
        self.ended += 1
        return Outcome(claim.task_id, claim.attempt, OutcomeKind.SUCCEEDED, began, time.time())


@contextlib.asynccontextmanager
async def working(
    tracker: Tracker, types: Sequence[str], *, seconds: float = 0.0, runners: int = RUNNERS
) -> AsyncIterator[list[MadeUpRunner]]:
    """Run made-up runners, beside those that there are."""
    first = len(tracker.runners())
    made = [MadeUpRunner(tracker, first + n, seconds=seconds) for n in range(runners)]
    tasks = [asyncio.ensure_future(runner.run(types)) for runner in made]
    try:
        yield made
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(tracker: Tracker, is_so: Callable[[], bool]) -> None:
    """Wait for changes until something is so."""
    epoch = tracker.ticker.epoch
    after = (await tracker.changes(epoch, -1, 0.0)).last
    while not is_so():
        after = (await tracker.changes(epoch, after, 10.0)).last


async def completed(tracker: Tracker, task_type: str, number: int) -> None:
    """Wait until so many tasks of a type are COMPLETED, by the tracker's own count."""
    counts = tracker.ticker.ledger.counts
    await until(tracker, lambda: counts[task_type, State.COMPLETED] >= number)


async def drain(url: str, task_type: str, number: int) -> Cost:
    """Measure a drain of tasks that wait."""
    async with tracking(url) as tracker:
        began, used = time.perf_counter(), time.process_time()
        async with working(tracker, [PLAIN, KEYED]):
            await completed(tracker, task_type, number)
        return Cost(number, time.perf_counter() - began, time.process_time() - used)


async def drain_beside_blocked(url: str, number: int) -> Cost:
    """Measure a drain of plain tasks while those of one key wait, whose slots are taken."""
    async with tracking(url) as tracker, working(tracker, [KEYED], runners=2) as keepers:
        for keeper in keepers:
            keeper.keeps = True
        await until(tracker, lambda: tracker.ticker.ledger.counts[KEYED, State.RUNNING] == 2)
        began, used = time.perf_counter(), time.process_time()
        async with working(tracker, [PLAIN]):
            await completed(tracker, PLAIN, number)
        return Cost(number, time.perf_counter() - began, time.process_time() - used)


async def fill(url: str, *parts: Iterator[list[NewTask]]) -> None:
    """Put tasks that wait into a database."""
    async with tracking(url) as tracker:
        for batches in parts:
            await submit(tracker, batches)


async def start_seconds(url: str) -> float:
    """Return how long a tracker takes to take over a database."""
    began = time.perf_counter()
    async with tracking(url):
        return time.perf_counter() - began


async def waits(url: str, *, crowded: bool, tasks: int) -> float:
    """Return the p95 of the waits of a namespace's few tasks, in seconds."""
    async with tracking(url) as tracker:
        if crowded:
            await submit(tracker, new_tasks(PLAIN, tasks, namespace="crowd"))
        async with working(tracker, [PLAIN], seconds=WORK_SECONDS) as runners:
            if crowded:
                await until(tracker, lambda: len(tracker.fleet.running) >= len(runners))
            few = [task for batch in new_tasks(PLAIN, FEW, namespace="few") for task in batch]
            accepted = (await tracker.submit(few)).at
            assert accepted is not None
            names = {task.task_id for task in few}

            def begun() -> list[float]:
                times = (runner.began.get(name) for runner in runners for name in names)
                return [at - accepted for at in times if at is not None]

            await until(tracker, lambda: len(begun()) == len(names))
            return percentile(begun(), 0.95)


class Databases:
    """Databases that are filled once, and copied for each measurement."""

    def __init__(self, kind: str, folder: Path, fresh: Callable[[], str] | None) -> None:
        self._kind = kind
        self._folder = folder
        self._fresh = fresh
        self._number = 0
        self._seeds: dict[str, Path] = {}

    def empty(self) -> str:
        """Return the URL of a new database."""
        if self._fresh is not None:
            return self._fresh()
        self._number += 1
        return f"sqlite:///{self._folder / f'{self._number}.db'}"

    def filled(self, name: str, *parts: Callable[[], Iterator[list[NewTask]]]) -> str:
        """Return the URL of a database with these tasks."""
        if self._fresh is not None:
            url = self._fresh()
            asyncio.run(fill(url, *(part() for part in parts)))
            return url
        if name not in self._seeds:
            self._seeds[name] = self._folder / f"{name}.db"
            asyncio.run(fill(f"sqlite:///{self._seeds[name]}", *(part() for part in parts)))
        url = self.empty()
        shutil.copy(self._seeds[name], url.removeprefix("sqlite:///"))
        return url


def blocked_ratio(databases: Databases, tasks: int) -> float:
    """Return what so many blocked tasks cost those beside them, as a ratio of processor time."""
    number = tasks // 3

    def processor_seconds(blocked: int) -> float:
        url = databases.filled(
            f"{blocked} blocked",
            lambda: new_tasks(KEYED, blocked, 1),
            lambda: new_tasks(PLAIN, number),
        )
        return asyncio.run(drain_beside_blocked(url, number)).processor_seconds

    used = {tasks: 0.0, 2: 0.0}  # two of them only take the slots
    for turn in range(TURNS):
        for blocked in sorted(used, reverse=turn % 2 == 0):
            used[blocked] += processor_seconds(blocked)
    return used[tasks] / used[2]


def measure(databases: Databases, tasks: int) -> dict[str, float]:
    """Return the numbers of one round."""
    plain = asyncio.run(
        drain(databases.filled("plain", lambda: new_tasks(PLAIN, tasks)), PLAIN, tasks)
    )
    keys = asyncio.run(
        drain(databases.filled("keys", lambda: new_tasks(KEYED, tasks, KEYS)), KEYED, tasks)
    )
    lanes = asyncio.run(
        drain(databases.filled("lanes", lambda: new_tasks(KEYED, tasks, tasks)), KEYED, tasks)
    )
    one = asyncio.run(start_seconds(databases.filled("plain", lambda: new_tasks(PLAIN, tasks))))
    many = asyncio.run(
        start_seconds(databases.filled("lanes", lambda: new_tasks(KEYED, tasks, tasks)))
    )
    quiet = asyncio.run(waits(databases.empty(), crowded=False, tasks=tasks))
    crowded = asyncio.run(waits(databases.empty(), crowded=True, tasks=tasks))
    return {
        "plain.per_second": tasks / plain.seconds,
        "plain.processor_us": 1e6 * plain.processor_seconds / tasks,
        "keys.ratio": plain.seconds / keys.seconds,
        "lanes.ratio": plain.seconds / lanes.seconds,
        "blocked.ratio": blocked_ratio(databases, tasks),
        "start.more_seconds": many - one,
        "spaces.alone_seconds": quiet,
        "spaces.ratio": (crowded - WORK_SECONDS) / quiet,
    }


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--on", nargs="*", default=["sqlite"], choices=["sqlite", "postgresql"])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found: dict[str, Summary] = {}
    for kind in options.on:
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="flow-cost-"))
            fresh = None
            if kind == "postgresql":
                fresh = stack.enter_context(running_postgres()).new_database
            databases = Databases(kind, Path(folder), fresh)
            rounds = []
            for number in range(options.rounds):
                rounds.append(measure(databases, options.tasks))
                print(f"{kind}, round {number + 1}: {rounds[-1]}", file=sys.stderr, flush=True)
            found |= {f"{kind}.{name}": value for name, value in summaries(rounds).items()}
    if options.json:
        print(json.dumps({name: [it.median, it.low, it.high] for name, it in found.items()}))
        return
    for name, it in found.items():
        print(f"{name:<36} {it.median:>12.3f}   {it.low:.3f} to {it.high:.3f}")


if __name__ == "__main__":
    main()
