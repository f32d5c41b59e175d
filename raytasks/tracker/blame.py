"""Blame for the death of a runner: which of its attempts are charged, and their next company.

See section "Who is to blame for a death" of docs/reliability.md.
"""

from collections.abc import Container

from msgspec.structs import replace

from raytasks.model.states import LossCause
from raytasks.model.tasks import Running
from raytasks.protocol.messages import Outcome
from raytasks.tracker.fleet import RunnerState
from raytasks.tracker.inbox import lost_outcome, released_outcome

SHRINKS_BY = 8
"""Factor by which the company of suspects shrinks with each death."""


Verdict = tuple[bool, int | None]
"""Whether an attempt is charged, and the new company of its task (None: unchanged)."""


def judge(begun: int, company: int | None, cause: LossCause, *, certain: bool = True) -> Verdict:
    """Return the verdict on one of the `begun` attempts of a process that is gone.

    `company` is how many suspects were allowed in the process; None if the attempt was no suspect.
    With `certain`, an attempt that ran alone is the culprit. Without it, such an attempt is charged
    only the second time, when its company is 1.
    """
    if cause is LossCause.OUTSIDE:
        return False, None
    if company == 1 or (begun == 1 and certain):
        return True, 1
    return False, max(1, begun // SHRINKS_BY)


def last_words(
    runner: RunnerState,
    reason: str,
    now: float,
    *,
    ended: Container[tuple[str, str, int]],
    out_of_memory: bool,
    cause: LossCause,
) -> list[tuple[Running, Outcome]]:
    """Return the outcomes of all attempts that a dead runner held.

    `ended` names the attempts whose outcomes it had reported (runner, task, attempt). Attempts that
    were never sent to it, or have not begun, are released. Of others it may have said how they end
    with its process; these are not to blame. Until that end each could still save files.
    """
    unsent = runner.unsent()
    waiting = unsent | {(item.task_id, item.attempt) for item in runner.held.values() if item.waits}
    released = [item for item in runner.held.values() if (item.task_id, item.attempt) in waiting]
    begun = [
        item
        for item in runner.held.values()
        if (item.task_id, item.attempt) not in waiting
        and (runner.runner_id, item.task_id, item.attempt) not in ended
    ]
    told = {(outcome.task_id, outcome.attempt): outcome for outcome in runner.last_outcomes}
    # An unconfirmed runner may be the remote runner, whose death is never a handler's fault.
    is_warm = runner.confirmed and not runner.is_remote
    if runner.is_remote:
        cause = LossCause.OUTSIDE
    outcomes = [
        (item, released_outcome(item, now, sent=(item.task_id, item.attempt) not in unsent))
        for item in released
    ]
    outcomes += [
        (item, replace(told[item.task_id, item.attempt], has_files=True))
        for item in begun
        if (item.task_id, item.attempt) in told
    ]
    begun = [item for item in begun if (item.task_id, item.attempt) not in told]
    for running in begun:
        # When memory is short, Ray may have killed a process that is not the cause.
        charged, company = judge(
            len(begun), running.company, cause, certain=is_warm and not out_of_memory
        )
        lost = lost_outcome(
            running,
            reason,
            now,
            charged=charged,
            company=company,
            out_of_memory=out_of_memory,
            # Attempts of the remote runner run elsewhere.
            node_id=runner.node_id if is_warm else None,
            worker_id=runner.worker_id if is_warm else None,
            host=runner.host if is_warm else None,
            pid=runner.pid if is_warm else None,
        )
        outcomes.append((running, lost))
    return outcomes
