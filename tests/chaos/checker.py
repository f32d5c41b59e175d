"""The checker: reads what a chaos run has left, and says everything that must not be so.

Pure functions over plain data: no Ray, no SQL, no files.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from raytasks.model.states import CRASHES, OutcomeKind, State
from raytasks.model.tasks import AttemptRecord, Task
from tests.chaos.effects import Effect, Phase
from tests.chaos.evidence import Evidence, Submission
from tests.chaos.flow_checks import check_flow
from tests.chaos.kinds import ENDS, Kind, Place
from tests.chaos.sequences import Asked, Tried, fault_in_sequence


class Rule(StrEnum):
    """The rule that was broken."""

    LOST = "an accepted task is not in the database"
    NOT_FINAL = "a task is not final"
    DOUBLED = "one submission made several tasks"
    STRANGE = "a task that nobody submitted"
    REFUSED = "a good request was refused"
    NUMBERING = "attempts are not numbered 1 to n"
    SEQUENCE = "outcomes that the table of states does not allow"
    UNASKED = "cancelled, and nobody asked for it"
    WRONG_END = "ended otherwise than it had to"
    INNOCENT = "failed for crashes that were not its own"
    BEGAN_TWICE = "one attempt began twice"
    NEVER_CLAIMED = "an attempt ran that the history does not know"
    STALE = "the result is not of the attempt that succeeded"
    NO_EFFECT = "succeeded, and its effect is not there"
    REDONE = "a shard was done again after its checkpoint"
    COUNTS = "task_counts differs from the tasks"
    NO_RECOVERY = "the service did not recover from a fault"
    NOT_STOPPED = "the service did not stop in order"
    OVER_LIMIT = "more ran at a time than a limit allows"
    OVER_RATE = "more began than a rate allows"
    OUT_OF_ORDER = "a task began before the one before it had ended"


_BEYOND = {
    Place.LIMITED: Rule.OVER_LIMIT,
    Place.RATED: Rule.OVER_RATE,
    Place.ORDERED: Rule.OUT_OF_ORDER,
}


@dataclass(frozen=True)
class Violation:
    """One thing that must not be so. `subject` is a task id, or what else it is about."""

    rule: Rule
    subject: str
    detail: str = ""


@dataclass
class _Case:
    """One task, with all that is known of it."""

    task: Task
    attempts: list[AttemptRecord] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    submission: Submission | None = None

    def lines(self, phase: Phase, attempt: int | None = None) -> list[Effect]:
        """Return its effects of one phase, of one attempt or of all."""
        return [
            effect
            for effect in self.effects
            if effect.phase is phase and attempt in (None, effect.attempt)
        ]


def check(evidence: Evidence) -> list[Violation]:
    """Return everything that is wrong in what the run has left."""
    cases = _cases(evidence)
    found = [*_check_submissions(evidence, cases), *_check_counts(evidence)]
    found += [
        Violation(Rule.NO_RECOVERY, fault.kind, f"at {fault.at:.3f}")
        for fault in evidence.faults
        if fault.recovered_after is None
    ]
    if evidence.exit_code != 0:
        found.append(Violation(Rule.NOT_STOPPED, "service", f"exit code {evidence.exit_code}"))
    for case in cases.values():
        found += _check_case(case, evidence)
    found += [
        Violation(_BEYOND[excess.place], excess.subject, excess.detail)
        for excess in check_flow(evidence.history.tasks, evidence.history.attempts)
    ]
    return found


def _cases(evidence: Evidence) -> dict[str, _Case]:
    history = evidence.history
    by_token = {submission.token: submission for submission in evidence.submissions}
    cases = {
        task.task_id: _Case(task, submission=by_token.get(history.tokens.get(task.task_id, "")))
        for task in history.tasks
    }
    for attempt in sorted(history.attempts, key=lambda item: item.attempt):
        if attempt.task_id in cases:
            cases[attempt.task_id].attempts.append(attempt)
    for effect in evidence.effects:
        if effect.task_id in cases:
            cases[effect.task_id].effects.append(effect)
    return cases


def _check_submissions(evidence: Evidence, cases: Mapping[str, _Case]) -> Iterator[Violation]:
    made: defaultdict[str, set[str]] = defaultdict(set)
    for task_id, token in evidence.history.tokens.items():
        made[token].add(task_id)
    for submission in evidence.submissions:
        for task_id in sorted(set(submission.answers) - cases.keys()):
            yield Violation(Rule.LOST, task_id, f"{submission.kind} {submission.token}")
        tasks = made[submission.token] | set(submission.answers)
        if len(tasks) > 1:
            key = f", key {submission.key}" if submission.key else ""
            yield Violation(Rule.DOUBLED, submission.token, f"{', '.join(sorted(tasks))}{key}")
        for refusal in submission.refusals:
            yield Violation(Rule.REFUSED, submission.token, refusal)


def _check_counts(evidence: Evidence) -> Iterator[Violation]:
    real = Counter((task.task_type, task.state) for task in evidence.history.tasks)
    counted = evidence.history.counts
    for key in sorted(real.keys() | counted.keys()):
        if real[key] != counted.get(key, 0):
            detail = f"{counted.get(key, 0)} counted, {real[key]} there"
            yield Violation(Rule.COUNTS, f"{key[0]} {key[1]}", detail)


def _check_case(case: _Case, evidence: Evidence) -> Iterator[Violation]:
    task = case.task
    if case.submission is None:
        yield Violation(Rule.STRANGE, task.task_id, task.task_type)
    if not task.state.final:
        yield Violation(Rule.NOT_FINAL, task.task_id, f"{task.task_type} is {task.state}")
        return
    numbers = [attempt.attempt for attempt in case.attempts]
    if numbers != list(range(1, task.attempt + 1)):
        yield Violation(Rule.NUMBERING, task.task_id, f"{numbers}, the task says {task.attempt}")
    yield from _check_sequence(case, evidence)
    yield from _check_end(case, evidence)
    yield from _check_begins(case, evidence)
    yield from _check_success(case)
    yield from _check_shards(case)


def _check_sequence(case: _Case, evidence: Evidence) -> Iterator[Violation]:
    submission = case.submission
    asked = Asked(submission.cancels > 0, submission.retries) if submission else Asked()
    tried = [Tried(item.outcome, _may_be_retried(item)) for item in case.attempts]
    wrong = fault_in_sequence(case.task, tried, asked, evidence.max_crashes)
    if wrong:
        yield Violation(Rule.SEQUENCE, case.task.task_id, wrong)
    if case.task.state is State.CANCELLED and not asked.cancel:
        yield Violation(Rule.UNASKED, case.task.task_id)


def _check_end(case: _Case, evidence: Evidence) -> Iterator[Violation]:
    """A task ends as its kind says; only one that kills its own process fails for crashes."""
    task, submission = case.task, case.submission
    if submission is None:
        return
    last = case.attempts[-1].outcome if case.attempts else None
    crashed = task.state is State.FAILED and last in CRASHES
    if crashed and submission.kind is not Kind.POISON:
        # Each of its processes may have been struck by a fault of ours, however unlikely.
        unexplained = _losses_of_others(case, evidence)
        if unexplained:
            yield Violation(Rule.INNOCENT, task.task_id, f"{submission.kind}; {unexplained}")
    elif task.state not in ENDS[submission.kind] or (
        submission.kind is Kind.POISON and last not in CRASHES
    ):
        detail = f"{submission.kind} is {task.state}, last outcome {last}, error {task.error}"
        yield Violation(Rule.WRONG_END, task.task_id, detail[:400])


def _losses_of_others(case: _Case, evidence: Evidence) -> str:
    """Say which attempts were lost though no fault struck the process in which they ran."""
    struck = {pid for fault in evidence.faults for pid in fault.pids}
    told = []
    for attempt in case.attempts:
        if attempt.outcome not in CRASHES:
            continue
        begun = case.lines(Phase.BEGIN, attempt.attempt)
        if not begun:
            told.append(f"attempt {attempt.attempt} had not begun")
        elif begun[0].pid not in struck:
            told.append(f"attempt {attempt.attempt} ran in process {begun[0].pid}")
    return ", ".join(told)


def _check_begins(case: _Case, evidence: Evidence) -> Iterator[Violation]:
    begins = Counter(effect.attempt for effect in case.lines(Phase.BEGIN))
    for number, times in sorted(begins.items()):
        if times > 1 and case.task.task_type not in evidence.ray_retried:
            yield Violation(Rule.BEGAN_TWICE, case.task.task_id, f"attempt {number}: {times} times")
        if number > case.task.attempt:
            yield Violation(Rule.NEVER_CLAIMED, case.task.task_id, f"attempt {number}")


def _check_success(case: _Case) -> Iterator[Violation]:
    """The result, the attempt that succeeded and the effects tell of one and the same process."""
    task = case.task
    for attempt in case.attempts:
        if attempt.outcome is not OutcomeKind.SUCCEEDED:
            continue
        ends = {effect.pid for effect in case.lines(Phase.END, attempt.attempt)}
        if not ends:
            yield Violation(Rule.NO_EFFECT, task.task_id, f"attempt {attempt.attempt}")
        result = _object(task.result)
        told = (result.get("attempt"), result.get("pid"))
        if told[0] != attempt.attempt or (ends and told[1] not in ends):
            detail = f"attempt {attempt.attempt} in {sorted(ends)}; the result says {told}"
            yield Violation(Rule.STALE, task.task_id, detail)


def _check_shards(case: _Case) -> Iterator[Violation]:
    """A checkpoint is on disk when it is acknowledged: every later attempt goes on from there."""
    saved = 0
    for number in sorted({effect.attempt for effect in case.effects}):
        for effect in case.lines(Phase.SHARD, number):
            if effect.shard is not None and effect.shard < saved:
                detail = f"attempt {number} did shard {effect.shard}, {saved} were saved"
                yield Violation(Rule.REDONE, case.task.task_id, detail)
        saves = [effect.shard or 0 for effect in case.lines(Phase.SAVED, number)]
        saved = max([saved, *saves])


def _may_be_retried(attempt: AttemptRecord) -> bool:
    return bool(_object(attempt.error).get("retryable"))


def _object(text: str | None) -> Mapping[str, Any]:
    """Return the JSON object in a text; an empty one for anything else."""
    value = json.loads(text) if text else None
    return value if isinstance(value, dict) else {}
