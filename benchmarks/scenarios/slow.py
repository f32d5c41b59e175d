"""A slow disk: each commit takes 5 ms longer. How much of that does a tick spread over many tasks?

One transaction with one task could be committed 200 times a second at most.
"""

from pathlib import Path

from benchmarks.measures import Result
from benchmarks.scenarios import drain, single, submission
from benchmarks.scenarios.place import Place
from benchmarks.servers.programs import ROOT
from benchmarks.servers.service import running_service

DELAY_MS = 5.0

_HOOK = Path(__file__).parents[1] / "slow_disk"  # its sitecustomize.py makes the commits slow


def measure(place: Place) -> Result:
    """Return the numbers of drain, submission and single tasks on the slow disk."""
    result = Result({})
    environment = {
        "PYTHONPATH": f"{_HOOK}:{ROOT}",
        "BENCHMARK_COMMIT_DELAY_MS": str(DELAY_MS),
    }
    with running_service(place.folder / "slow", environment=environment) as service:
        for scenario in (drain, submission, single):
            result.add(scenario.measure(service, place.sizes), "slow.")
    return result
