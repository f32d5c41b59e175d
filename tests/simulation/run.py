"""Runs schedules: `python -m tests.simulation.run --schedules 1000 --seed 1`."""

import argparse
import gc
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from tests.simulation.database import Files
from tests.simulation.kinds import Fault
from tests.simulation.verdict import Verdict
from tests.simulation.world import World


@dataclass
class Summary:
    """The results of some schedules."""

    schedules: int = 0
    steps: int = 0
    met: Counter[Fault] = field(default_factory=Counter)
    """In how many schedules each kind of fault occurred."""
    occurred: Counter[Fault] = field(default_factory=Counter)
    broken: list[Verdict] = field(default_factory=list)
    cut_short: list[int] = field(default_factory=list)
    """The seeds of schedules that ended early, as something happened that is known."""

    def add(self, verdict: Verdict) -> None:
        """Take in a schedule."""
        self.schedules += 1
        self.steps += verdict.steps
        self.occurred.update(verdict.faults)
        self.met.update(fault for fault, times in verdict.faults.items() if times)
        if verdict.cut_short:
            self.cut_short.append(verdict.seed)
        if verdict.broken is not None:
            self.broken.append(verdict)

    def merge(self, other: "Summary") -> None:
        """Take in others."""
        self.schedules += other.schedules
        self.steps += other.steps
        self.met.update(other.met)
        self.occurred.update(other.occurred)
        self.broken += other.broken
        self.cut_short += other.cut_short


def simulate(
    seeds: Iterable[int],
    *,
    stop: bool = True,
    without: frozenset[Fault] = frozenset(),
    traced: int | None = 80,
) -> Summary:
    """Run a schedule for each seed, in this process; with `stop` not beyond the first broken."""
    summary = Summary()
    files = Files()
    gc.collect()
    gc.freeze()
    usual = gc.get_threshold()
    gc.set_threshold(200_000, 100, 100)  # of what a schedule leaves, little is in cycles
    try:
        for seed in seeds:
            summary.add(World(files, seed, without=without, traced=traced).run())
            if stop and summary.broken:
                break
    finally:
        gc.set_threshold(*usual)
        gc.unfreeze()
        files.remove()
    return summary


def simulate_in_processes(seeds: range, processes: int, without: frozenset[Fault]) -> Summary:
    """Run a schedule for each seed, in several processes; not far beyond the first broken."""
    size = max(25, min(500, len(seeds) // (4 * processes)))
    parts = [seeds[place : place + size] for place in range(0, len(seeds), size)]
    summary = Summary()
    with ProcessPoolExecutor(processes) as pool:
        for part in pool.map(partial(simulate, without=without), parts):
            summary.merge(part)
            if summary.broken:
                pool.shutdown(cancel_futures=True)
                break
    return summary


def report(summary: Summary, seconds: float) -> str:
    """Return what is to be told."""
    lines = [
        f"{summary.schedules} schedules, {summary.steps} steps, {seconds:.1f} s",
        *(
            f"  {fault:40s} {summary.occurred[fault]:7d} times, "
            f"in {100 * summary.met[fault] / max(1, summary.schedules):5.1f} % of them"
            for fault in Fault
        ),
    ]
    if summary.cut_short:
        lines.append(f"  ended early: {', '.join(map(str, summary.cut_short))}")
    for verdict in summary.broken[:3]:
        lines += [
            "",
            f"seed {verdict.seed} is broken: {verdict.broken}",
            *(f"    {line}" for line in verdict.trace),
            f"replay it: make simulate SCHEDULES=1 SEED={verdict.seed}",
        ]
    return "\n".join(lines)


def trace(seeds: Iterable[int], without: frozenset[Fault]) -> int:
    """Run schedules, and print everything that happens in them."""
    files = Files()
    broken = 0
    try:
        for seed in seeds:
            verdict = World(files, seed, without=without, traced=None).run()
            print(f"seed {seed}", *verdict.trace, sep="\n")
            broken += verdict.broken is not None
    finally:
        files.remove()
    return 1 if broken else 0


def main() -> int:
    """Run what the command line asks for; return 1 if anything is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schedules", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument(
        "--without", type=Fault, nargs="*", default=(), help="kinds of faults to leave out"
    )
    parser.add_argument("--trace", action="store_true", help="print all that happens")
    asked = parser.parse_args()
    without = frozenset(asked.without)
    began = time.perf_counter()
    seeds = range(asked.seed, asked.seed + asked.schedules)
    if asked.trace:
        return trace(seeds, without)
    if asked.schedules <= 20 or asked.processes == 1:
        summary = simulate(seeds, without=without)
    else:
        summary = simulate_in_processes(seeds, asked.processes, without)
    print(report(summary, time.perf_counter() - began))
    return 1 if summary.broken else 0


if __name__ == "__main__":
    sys.exit(main())
