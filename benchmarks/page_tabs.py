"""The processor time that open pages cost: `python -m benchmarks.page_tabs --tabs 50`.

No-ops are drained in turn without a page, and with visible tabs that show the list of tasks. The
numbers are the tracker's processor time of a task, and how much more of it the tabs cost. The
target is 5 % at most.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.measures import Result, processor_seconds
from benchmarks.servers.programs import Conversation, clean
from benchmarks.servers.service import Service, running_service

TARGET_PERCENT = 5.0


def measure(service: Service, tabs: int, tasks: int, rounds: int) -> Result:
    """Return the medians of the rounds. In each a drain without tabs comes first."""
    service.warm_up()
    pages = Conversation("benchmarks.servers.tabs", service.url, environment=clean())
    alone, seen, ratios, rates = [], [], [], []
    heard: dict[str, float] = {}
    try:
        for _ in range(rounds):
            pages.ask(0)
            used, rate = drained(service, tasks)
            alone.append(used)
            pages.ask(tabs)
            used_seen, rate_seen = drained(service, tasks)
            seen.append(used_seen)
            ratios.append(used_seen / used)
            rates.append(rate_seen / rate)
            heard = pages.ask(0)
    finally:
        pages.stop()
    return Result(
        {
            "alone.us_per_task": 1e6 * statistics.median(alone),
            "tabs.us_per_task": 1e6 * statistics.median(seen),
            "tabs.added_percent": 100 * (statistics.median(ratios) - 1),
            "tabs.added_percent_min": 100 * (min(ratios) - 1),
            "tabs.added_percent_max": 100 * (max(ratios) - 1),
            "tabs.rate_percent": 100 * statistics.median(rates),
            **{f"tabs.{name}_per_tab": number / tabs for name, number in heard.items()},
        }
    )


def drained(service: Service, tasks: int) -> tuple[float, float]:
    """Drain no-ops; return the tracker's processor seconds of a task, and the tasks a second."""
    tracker = service.tracker()
    with service.control() as control:
        before = service.completed()
        service.submit(tasks)
        began_used = processor_seconds(tracker)
        began = control.resume()
        ended = service.wait_completed(before + tasks)
        used = processor_seconds(tracker) - began_used
    time.sleep(2.0)  # the tabs load what has changed last
    return used / tasks, tasks / (ended - began)


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tabs", type=int, default=50)
    parser.add_argument("--tasks", type=int, default=20_000, help="of each drain")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        running_service(Path(folder) / "service") as service,
    ):
        found = measure(service, asked.tabs, asked.tasks, asked.rounds).numbers
    verdict = "met" if found["tabs.added_percent"] <= TARGET_PERCENT else "missed"
    numbers = {name: round(value, 2) for name, value in found.items()}
    print(json.dumps({**numbers, f"at most {TARGET_PERCENT:g} %": verdict}, indent=1))


if __name__ == "__main__":
    main()
