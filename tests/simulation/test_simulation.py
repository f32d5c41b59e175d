"""The simulation itself: the engine passes it, every fault occurs, and a seed fixes everything."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.kinds import Fault
from tests.simulation.run import Summary, report, simulate

pytestmark = pytest.mark.untraced  # each step of the loop would be traced

SCHEDULES = 28
"""How many schedules `make test` runs; `make simulate` runs as many as you like."""

FIRST_SEED = 1

_ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def summary() -> Summary:
    """The results of the schedules."""
    return simulate(range(FIRST_SEED, FIRST_SEED + SCHEDULES))


@pytest.mark.timeout(600)
def test_nothing_is_broken(summary: Summary) -> None:
    assert not summary.broken, report(summary, 0.0)
    assert summary.schedules == SCHEDULES
    assert len(summary.cut_short) <= SCHEDULES / 50


@pytest.mark.timeout(600)
def test_every_kind_of_fault_occurs(summary: Summary) -> None:
    rare = {fault: summary.met[fault] for fault in Fault if summary.met[fault] < SCHEDULES / 20}
    assert not rare


def trace_of(seed: int, hash_seed: str, *, before: int = 0) -> str:
    """Return everything that happened in a schedule, after some others in the same process."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.simulation.run", "--processes", "1"),
            *("--seed", str(seed - before), "--schedules", str(before + 1), "--trace"),
        ],
        cwd=_ROOT,
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
        timeout=110,
    )
    _, _, trace = done.stdout.partition(f"seed {seed}\n")
    assert trace.count("\n") > 100
    return trace


@pytest.mark.parametrize("seed", [15, pytest.param(40, marks=pytest.mark.slow)])
def test_a_seed_fixes_everything(seed: int) -> None:
    assert trace_of(seed, "1") == trace_of(seed, "2", before=2)
