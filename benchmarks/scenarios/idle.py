"""The processor time of a whole service that has nothing to do."""

import contextlib
import time
from collections.abc import Sequence
from typing import Protocol

import psutil

from benchmarks.measures import Result
from benchmarks.sizes import Sizes


class Family(Protocol):
    """A program with all of its processes."""

    def family(self) -> list[psutil.Process]:
        """Return all processes."""


def measure(program: Family, sizes: Sizes) -> Result:
    """Return the processor time of all its processes, in percent of one core, and their memory."""
    time.sleep(sizes.settle_seconds)
    processes = program.family()
    began = time.monotonic()
    before = _seconds(processes)
    time.sleep(sizes.idle_seconds)
    after = _seconds(processes)
    used = sum(seconds - before[pid] for pid, seconds in after.items())
    percent = 100 * used / (time.monotonic() - began)
    return Result(
        {
            "idle.processor_percent": percent,
            "idle.memory_mib": _memory(processes) / 2**20,
            "idle.processes": float(len(processes)),
        }
    )


def _seconds(processes: Sequence[psutil.Process]) -> dict[int, float]:
    """Return the processor time of each process that runs still: Ray ends idle workers."""
    seconds = {}
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            seconds[process.pid] = times.user + times.system
    return seconds


def _memory(processes: Sequence[psutil.Process]) -> float:
    """Return their proportional memory: what several share is counted once."""
    total = 0.0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            total += process.memory_full_info().pss
    return total
