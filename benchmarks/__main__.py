"""`python -m benchmarks`: measure, and write the report. `make bench` does it."""

import argparse
import sys
from pathlib import Path

from benchmarks import machine, pictures, report
from benchmarks.plan import GROUPS
from benchmarks.rounds import run
from benchmarks.sizes import FULL, QUICK
from benchmarks.targets import TARGETS, judge

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Measure, print the tables, and write them with the pictures."""
    arguments = parse(__doc__, [group.name for group in GROUPS])
    about = machine.describe()
    only = frozenset(arguments.only)
    findings = run(GROUPS, QUICK if arguments.quick else FULL, arguments.rounds, only)
    judgements = judge(TARGETS, findings.rounds)
    print("\n".join(["", *report.target_table(judgements)]))
    folder = arguments.out or (RESULTS / "quick" if arguments.quick else RESULTS)
    title = "raytasks beside its baselines"
    report.write(
        folder,
        "bench",
        report.document(title, about, judgements, findings.rounds, quick=arguments.quick),
        report.record(about, judgements, findings.rounds, findings.curves),
    )
    pictures.draw(folder, findings.rounds, findings.curves)
    print(f"\nwritten to {folder}")
    if findings.failed:
        sys.exit("failed: " + ", ".join(findings.failed))


def parse(about: str | None, names: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="small sizes: only to see it work")
    parser.add_argument("--out", type=Path, default=None, help="the folder for the report")
    parser.add_argument(
        "only", nargs="*", help=f"only these: {', '.join(names)}, or a scenario, or group.scenario"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
