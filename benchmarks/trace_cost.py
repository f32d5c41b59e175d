"""The processor time of a trace context without an SDK: `python -m benchmarks.trace_cost`.

No-ops are drained in pairs: one half of a pair was submitted with a trace context, the other
without. The halves change places from pair to pair. All runs in this process, without Ray and HTTP.
There are the tracker's core on SQLite, the runners' code for attempts, and the messages between
them. The numbers are the processor time of a task, and how much more of it the
context costs. The target is 2 % at most.
"""

import argparse
import asyncio
import contextlib
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from msgspec import structs

from benchmarks.flow_cost import (
    PLAIN,
    RUNNERS,
    Cost,
    Databases,
    MadeUpRunner,
    completed,
    new_tasks,
    tracking,
)
from benchmarks.handlers import NOOP, noop
from benchmarks.measures import Numbers
from raytasks.handling.context import LocalChannel
from raytasks.handling.registry import Registry
from raytasks.model.tasks import NewTask
from raytasks.model.trace_context import trace_context
from raytasks.protocol.codec import encode, exchange_of, orders_of
from raytasks.protocol.messages import Claim, Exchange, Orders, Outcome
from raytasks.runner.attempt import Attempt
from raytasks.runner.workplace import Workplace
from raytasks.tracker.core import Tracker

TARGET_PERCENT = 2.0
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class WorkingRunner(MadeUpRunner):
    """A runner that runs the no-op as a warm runner does."""

    def __init__(self, tracker: Tracker, number: int) -> None:
        super().__init__(tracker, number)
        self._workplace = Workplace(own_process=True)
        self._spec = replace(Registry.load(["benchmarks.handlers"]).require(NOOP), task_type=PLAIN)

    async def _exchange(self, told: Exchange) -> Orders:
        answer = await super()._exchange(exchange_of(encode(told)))
        return orders_of(encode(answer))

    async def _run(self, claim: Claim) -> Outcome:
        return Attempt(self._spec, claim, self._workplace).run(noop, LocalChannel())


def tasks_with(context: str | None, number: int) -> Callable[[], Iterator[list[NewTask]]]:
    """Return what makes tasks with this trace context."""
    return lambda: (
        [structs.replace(task, trace_context=context) for task in batch]
        for batch in new_tasks(PLAIN, number)
    )


async def drain(url: str, number: int) -> Cost:
    """Measure a drain of tasks that wait."""
    async with tracking(url) as tracker:
        began, used = time.perf_counter(), time.process_time()
        runners = [WorkingRunner(tracker, place) for place in range(RUNNERS)]
        running = [asyncio.ensure_future(runner.run([PLAIN])) for runner in runners]
        await completed(tracker, PLAIN, number)
        cost = Cost(number, time.perf_counter() - began, time.process_time() - used)
        for task in running:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*running)
        return cost


def measure(databases: Databases, tasks: int, pairs: int) -> Numbers:
    """Return the medians of the pairs, and the spread of their ratios."""
    context = trace_context(TRACEPARENT)
    costs: dict[str, list[float]] = {"plain": [], "traced": []}
    for number in range(pairs + 1):
        for name in sorted(costs, reverse=bool(number % 2)):
            tasks_of = tasks_with(context if name == "traced" else None, tasks)
            cost = asyncio.run(drain(databases.filled(name, tasks_of), tasks))
            if number:  # the first pair warms up
                costs[name].append(1e6 * cost.processor_seconds / tasks)
    plain, traced = costs["plain"], costs["traced"]
    added = [100 * (more / less - 1) for more, less in zip(traced, plain, strict=True)]
    return {
        "plain.us_per_task": statistics.median(plain),
        "traced.us_per_task": statistics.median(traced),
        "traced.added_percent": statistics.median(added),
        "traced.added_percent_min": min(added),
        "traced.added_percent_max": max(added),
    }


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=10_000, help="of each drain")
    parser.add_argument("--pairs", type=int, default=15)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="trace-cost-") as folder:
        found = measure(Databases("sqlite", Path(folder), None), asked.tasks, asked.pairs)
    verdict = "met" if found["traced.added_percent"] <= TARGET_PERCENT else "missed"
    numbers = {name: round(value, 2) for name, value in found.items()}
    print(json.dumps({**numbers, f"at most {TARGET_PERCENT:g} %": verdict}, indent=1))


if __name__ == "__main__":
    main()
