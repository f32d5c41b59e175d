"""Runs rounds of what can be measured, one after the other, and gathers what they give."""

import contextlib
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.measures import Curve, Numbers, Result
from benchmarks.plan import Group
from benchmarks.report import number
from benchmarks.scenarios.place import Place
from benchmarks.seeds import Seeds
from benchmarks.sizes import Sizes


@dataclass
class Findings:
    """The results of the rounds. The curves are of the last round; `failed` names what failed."""

    rounds: list[Numbers] = field(default_factory=list)
    curves: dict[str, Curve] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    def take(self, result: Result) -> None:
        """Take over a result into the round that is under way, and show it."""
        self.rounds[-1] |= result.numbers
        self.curves |= result.curves
        for name, value in result.numbers.items():
            print(f"    {name:<48} {number(value):>12}", flush=True)


def run(groups: Sequence[Group], sizes: Sizes, rounds: int, only: frozenset[str]) -> Findings:
    """Measure all groups in turn, round after round. Print what fails, and leave it out.

    In the rounds after the first a long group is measured only if it was asked for by name.
    """
    findings = Findings()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    with tempfile.TemporaryDirectory(prefix="raytasks-bench-") as folder:
        seeds = Seeds(Path(folder) / "seeds")
        for turn in range(1, rounds + 1):
            findings.rounds.append({})
            for group in groups:
                chosen = group.chosen(only)
                if not chosen or (group.long and turn > 1 and not only):
                    continue
                place = Place(Path(folder) / f"round-{turn}" / group.name, sizes, seeds)
                place.folder.mkdir(parents=True)
                with _told(f"round {turn} of {rounds}: {group.name}", findings):
                    for result in group.measure(place, chosen):
                        findings.take(result)
    return findings


@contextlib.contextmanager
def _told(text: str, findings: Findings) -> Iterator[None]:
    print(text, flush=True)
    began = time.monotonic()
    try:
        yield
    except Exception:
        traceback.print_exc()
        findings.failed.append(text)
    print(f"  took {time.monotonic() - began:.0f} s", flush=True)
