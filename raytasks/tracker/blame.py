"""Who is to blame for the death of a runner, and in what company what it held runs again.

See section "Who is to blame for a death" of docs/reliability.md.
"""

from collections.abc import Container

from raytasks.model.states import LossCause
from raytasks.model.tasks import REMOTE_POOL, Running
from raytasks.protocol.messages import Outcome
from raytasks.tracker.fleet import RunnerState
from raytasks.tracker.inbox import lost_outcome, released_outcome

SHRINKS_BY = 8
"""By how much the company of suspects shrinks with each death."""


Verdict = tuple[bool, int | None]
"""Whether an attempt is charged, and the company of its task from now on (None: as it was)."""


def judge(begun: int, company: int | None, cause: LossCause, *, certain: bool = True) -> Verdict:
    """Judge one of the `begun` attempts of a process that is gone.

    `company` is how many suspects were allowed beside each other, None for what was no suspect.
    With `certain` one attempt that was there by itself is the culprit. Otherwise it is charged
    the second time: in company 1.
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
    """Return the outcomes of all that a runner held that is gone.

    `ended` names what it had reported before (runner, task, attempt). What never went out to it,
    or has not begun, is given back.
    """
    unsent = runner.unsent()
    unsent |= {(item.task_id, item.attempt) for item in runner.held.values() if item.waits}
    released = [item for item in runner.held.values() if (item.task_id, item.attempt) in unsent]
    begun = [
        item
        for item in runner.held.values()
        if (item.task_id, item.attempt) not in unsent
        and (runner.runner_id, item.task_id, item.attempt) not in ended
    ]
    # A runner that has not said itself what it is may be a task runner, which dies of no handler.
    is_warm = runner.confirmed and runner.pool != REMOTE_POOL
    if runner.pool == REMOTE_POOL:
        cause = LossCause.OUTSIDE
    outcomes = [(item, released_outcome(item, now)) for item in released]
    for running in begun:
        # For want of memory Ray may have chosen a process that is not the cause.
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
            # A task runner's attempts run elsewhere.
            node_id=runner.node_id if is_warm else None,
            worker_id=runner.worker_id if is_warm else None,
        )
        outcomes.append((running, lost))
    return outcomes
