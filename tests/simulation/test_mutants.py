"""A simulator that never fails proves nothing: each mutant of the engine must be caught by it."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.simulation.mutant import Mutant
from tests.simulation.mutants import MUTANTS
from tests.simulation.mutation import NOTES

pytestmark = pytest.mark.untraced  # each step of the loop would be traced

OF_EACH_KIND = MUTANTS[::8]
"""Those that `make test` tries: mutants of a kind stand beside each other in the list."""

OTHERS = [mutant for mutant in MUTANTS if mutant not in OF_EACH_KIND]

_ROOT = Path(__file__).parents[2]


def test_there_are_enough_of_them() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 12


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_it_still_fits(mutant: Mutant) -> None:
    source = _ROOT.joinpath(*mutant.module.split(".")).with_suffix(".py").read_text()
    patched = mutant.patched(source)
    assert patched != source
    compile(patched, mutant.module, "exec")


def test_each_has_a_schedule_that_catches_it() -> None:
    assert json.loads(NOTES.read_text()).keys() == {mutant.name for mutant in MUTANTS}


@pytest.mark.timeout(830)
@pytest.mark.parametrize(
    "chosen",
    [
        pytest.param(OF_EACH_KIND, id="of each kind"),
        pytest.param(OTHERS, id="the others", marks=pytest.mark.slow),
    ],
)
def test_each_mutant_is_caught(chosen: Sequence[Mutant]) -> None:
    # By the schedule that is noted, or, where the engine has changed since, by another one.
    # In processes that have nothing of raytasks yet: pytest itself has loaded some of it.
    # Which lines of a mutant run tells nothing, and to measure that takes longer than all else.
    plain = {name: text for name, text in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.simulation.mutation", "--processes=1", "--exactly"),
            *(mutant.name for mutant in chosen),
        ],
        cwd=_ROOT,
        env=plain,
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert not done.stderr, done.stderr[-2000:]
    catches = [json.loads(line) for line in done.stdout.splitlines()]
    assert {catch["name"] for catch in catches} == {mutant.name for mutant in chosen}
    survivors = [catch["name"] for catch in catches if catch["why"] is None]
    assert not survivors
