"""`python -m benchmarks.peers`: measure raytasks beside its peers. `make bench-peers` does it."""

import sys

from benchmarks import machine, report
from benchmarks.__main__ import RESULTS, parse
from benchmarks.peers.best import best_of
from benchmarks.peers.environments import ready
from benchmarks.peers.peer import PEERS
from benchmarks.peers.scenarios import own_groups, peer_group
from benchmarks.rounds import run
from benchmarks.sizes import FULL, QUICK
from benchmarks.targets import PEER_TARGETS, judge


def main() -> None:
    """Measure, print the table, and write the report."""
    groups = (*own_groups(), *map(peer_group, PEERS))
    arguments = parse(__doc__, [group.name for group in groups])
    about = machine.describe()
    only = frozenset(arguments.only)
    for peer in PEERS:
        if peer_group(peer).chosen(only):
            ready(peer.path)
    findings = run(groups, QUICK if arguments.quick else FULL, arguments.rounds, only)
    for numbers in findings.rounds:
        numbers.update(best_of(numbers, [peer.name for peer in PEERS]))
    judgements = judge(PEER_TARGETS, findings.rounds)
    print("\n".join(["", *report.target_table(judgements)]))
    folder = arguments.out or (RESULTS / "quick" if arguments.quick else RESULTS)
    title = "raytasks beside other task queues"
    report.write(
        folder,
        "peers",
        report.document(title, about, judgements, findings.rounds, quick=arguments.quick),
        report.record(about, judgements, findings.rounds, findings.curves),
    )
    print(f"\nwritten to {folder}")
    if findings.failed:
        sys.exit("failed: " + ", ".join(findings.failed))


if __name__ == "__main__":
    main()
