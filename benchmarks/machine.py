"""The machine of a run: figures mean nothing without it."""

import os
import platform
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import psutil

_SYNCS = 200


def describe() -> dict[str, Any]:
    """Return the machine and the versions of what runs on it."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processors": os.cpu_count(),
        "processor": _processor(),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "ray": version("ray"),
        "raytasks": version("raytasks"),
        "fsync": f"{1000 * sync_seconds():.2f} ms (4 KiB appended, median)",
        "load before": f"{os.getloadavg()[0]:.2f}",
    }


def sync_seconds() -> float:
    """Return how long it takes here until 4 KiB are on disk."""
    block = bytes(4096)
    taken = []
    with tempfile.NamedTemporaryFile() as file:
        for _ in range(_SYNCS):
            began = time.perf_counter()
            file.write(block)
            file.flush()
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - began)
    return median(taken)


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return platform.processor() or platform.machine()
    for line in cpuinfo.read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
