"""The printed report of a run."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from raytasks.model.states import CRASHES
from tests.chaos.checker import Rule, Violation
from tests.chaos.effects import Phase
from tests.chaos.evidence import Evidence, Fault
from tests.chaos.flow_checks import overlaps_of_frozen

_MAX_SHOWN = 10
"""How many violations of each rule."""


def report(
    evidence: Evidence, violations: Sequence[Violation], answers: Mapping[str, int]
) -> Iterator[str]:
    """Return the lines."""
    accepted = [item for item in evidence.submissions if item.answers]
    keyed = [item for item in accepted if item.key]
    unanswered = {item.token for item in evidence.submissions if not item.answers}
    found = sum(token in unanswered for token in evidence.history.tokens.values())
    yield (
        f"{len(evidence.submissions)} submissions, {len(accepted)} accepted "
        f"({len(keyed)} keyed), {found} found that no answer had come for"
    )
    yield "answers: " + _counted(answers)
    yield "tasks by kind and state:"
    yield from _tasks(evidence)
    yield "outcomes: " + _counted(Counter(item.outcome for item in evidence.history.attempts))
    late = sum(item.late_outcome is not None for item in evidence.history.attempts)
    yield f"of the lost attempts, {_lost_unbegun(evidence)} had not begun, {late} ended later"
    beyond = overlaps_of_frozen(evidence.history.tasks, evidence.history.attempts)
    yield f"keys with more at a time by attempts that were given up and went on: {beyond}"
    yield f"faults: {len(evidence.faults)}; seconds to recover:"
    yield from _recoveries(evidence.faults)
    yield f"violations: {len(violations)}"
    yield from _violations(violations)


def _tasks(evidence: Evidence) -> Iterator[str]:
    kinds = {item.token: item.kind for item in evidence.submissions}
    states: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for task in evidence.history.tasks:
        kind = kinds.get(evidence.history.tokens[task.task_id], "strange")
        states[kind][task.state] += 1
    for kind, counts in sorted(states.items()):
        yield f"  {kind:12} {_counted(counts)}"


def _violations(violations: Sequence[Violation]) -> Iterator[str]:
    by_rule: defaultdict[Rule, list[Violation]] = defaultdict(list)
    for violation in violations:
        by_rule[violation.rule].append(violation)
    for rule, same in by_rule.items():
        yield f"  {rule.name}: {rule}: {len(same)} x"
        yield from (f"    {item.subject}: {item.detail}" for item in same[:_MAX_SHOWN])


def _lost_unbegun(evidence: Evidence) -> int:
    begun = {
        (effect.task_id, effect.attempt)
        for effect in evidence.effects
        if effect.phase is Phase.BEGIN
    }
    return sum(
        item.outcome in CRASHES and (item.task_id, item.attempt) not in begun
        for item in evidence.history.attempts
    )


def _recoveries(faults: Sequence[Fault]) -> Iterator[str]:
    by_kind: defaultdict[str, list[Fault]] = defaultdict(list)
    for fault in faults:
        by_kind[fault.kind].append(fault)
    for kind, same in sorted(by_kind.items()):
        times = [fault.recovered_after for fault in same if fault.recovered_after is not None]
        told = f"p50 {statistics.median(times):.1f}, max {max(times):.1f}" if times else "never"
        lasted = max(fault.lasted for fault in same)
        down = f", of which it lasted {lasted:.1f}" if lasted >= 0.1 else ""
        yield f"  {kind:20} {len(same):3} x  {told}{down}"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in sorted(counts.items()))
