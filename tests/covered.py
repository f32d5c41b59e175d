"""Checks how much of the product the tests cover: the end of `make coverage` and of `make test`.

It prints a line for each package. It fails where the core is covered too little, or the README
shows another figure. It also fails where code is left out of the measure without a reason. Packages
named `on_ray` are measured apart: only tests with a Ray cluster reach them.
"""

import json
import re
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coverage import Coverage

ROOT = Path(__file__).parents[1]
CORE = ("model", "protocol", "runner", "store", "tracker")

MIN_CORE_PERCENT = 95.0
"""How much of the core's lines and branches the tests must cover."""

MAX_README_DIFFERENCE = 1.0
"""By how many points the README's figure may differ from the measured one."""

MAX_EXCLUSIONS = 30
"""How many exclusions the product may have: fewer than these."""

_README_FIGURE = re.compile(r"cover (\d+(?:\.\d+)?) % of the core")
_EXCLUSION = re.compile(r"#\s*pragma:\s*no (?:cover|branch)\b(?P<reason>.*)")


@dataclass
class Share:
    """How many lines and branches there are, and how many of them ran."""

    there: int = 0
    ran: int = 0

    @property
    def percent(self) -> float:
        """The covered part. Nothing to cover counts as covered."""
        return 100.0 * self.ran / self.there if self.there else 100.0

    def add(self, other: "Share") -> None:
        """Count another share in."""
        self.there += other.there
        self.ran += other.ran


def main() -> int:
    """Print the table and what is wrong; return 1 if anything is."""
    by_package = packages(_measured())
    print("\n".join(table(by_package)))
    wrong = [
        *faults_of_core(by_package, (ROOT / "README.md").read_text(encoding="utf-8")),
        *faults_of_exclusions(
            (str(file.relative_to(ROOT)), file.read_text(encoding="utf-8"))
            for file in sorted((ROOT / "raytasks").rglob("*.py"))
        ),
    ]
    print("\n".join(wrong), file=sys.stderr)
    return 1 if wrong else 0


def packages(files: Mapping[str, Any]) -> dict[str, Share]:
    """Return the share of each package, from the files of coverage's JSON report."""
    shares: dict[str, Share] = {}
    for name, found in files.items():
        _, *folders = Path(name).parent.parts
        package = folders[0] if folders else "(top)"
        if folders[-1:] == ["on_ray"]:
            package += "/on_ray"
        counts = found["summary"]
        share = Share(
            counts["num_statements"] + counts["num_branches"],
            counts["covered_lines"] + counts["covered_branches"],
        )
        shares.setdefault(package, Share()).add(share)
    return shares


def core_of(by_package: Mapping[str, Share]) -> Share:
    """Return the share of the core as a whole."""
    core = Share()
    for package in CORE:
        core.add(by_package.get(package, Share()))
    return core


def table(by_package: Mapping[str, Share]) -> list[str]:
    """Return the lines to print: each package, the core, and all."""
    everything = Share()
    for share in by_package.values():
        everything.add(share)
    rows = [*sorted(by_package.items()), ("the core", core_of(by_package)), ("all", everything)]
    head = f"{'package':<18}{'lines + branches':>18}{'not run':>10}{'covered':>10}"
    return [
        head,
        *(
            f"{name:<18}{share.there:>18}{share.there - share.ran:>10}{share.percent:>8.1f} %"
            for name, share in rows
        ),
    ]


def faults_of_core(by_package: Mapping[str, Share], readme: str) -> list[str]:
    """Return what is wrong with the core's figure, and with what the README says of it."""
    missing = [package for package in CORE if package not in by_package]
    if missing:
        return [f"nothing was measured of {', '.join(missing)}: run the tests under coverage"]
    percent = core_of(by_package).percent
    faults = []
    if percent < MIN_CORE_PERCENT:
        faults.append(
            f"the core is covered by {percent:.1f} %, less than {MIN_CORE_PERCENT:.0f} %: "
            "`coverage report` lists the lines that no test runs"
        )
    shown = _README_FIGURE.search(readme)
    if shown is None:
        faults.append('README.md has no figure of the form "cover 97 % of the core"')
    elif abs(float(shown[1]) - percent) > MAX_README_DIFFERENCE:
        faults.append(f"README.md says {shown[1]} % of the core, but {percent:.1f} % are covered")
    return faults


def faults_of_exclusions(sources: Iterable[tuple[str, str]]) -> list[str]:
    """Return what is wrong with the exclusions in these files, given as name and text."""
    found: list[tuple[str, str]] = [
        (f"{name}:{number}", excluded["reason"].strip(" -:"))
        for name, text in sources
        for number, line in enumerate(text.splitlines(), 1)
        if (excluded := _EXCLUSION.search(line))
    ]
    faults = [
        f"{place}: `no cover` needs a reason after it" for place, reason in found if not reason
    ]
    if len(found) >= MAX_EXCLUSIONS:
        faults.append(f"{len(found)} exclusions; there must be fewer than {MAX_EXCLUSIONS}")
    return faults


def _measured() -> dict[str, Any]:
    measured = Coverage(config_file=str(ROOT / "pyproject.toml"))
    measured.load()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "coverage.json"
        measured.json_report(outfile=str(report))
        files: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))["files"]
    return files


if __name__ == "__main__":
    sys.exit(main())
