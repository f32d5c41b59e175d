"""The settlement of an attempt: from what the tracker knows of it and its outcome, as a rule."""

from raytasks.model.states import CRASHES, TRANSITIONS, Event, OutcomeKind, Standing, verdict
from raytasks.model.tasks import AttemptRecord, Running
from raytasks.protocol.messages import Outcome
from raytasks.store.settlement import Settlement

MIN_SNOOZE_SECONDS = 1.0
"""Minimum seconds that a snoozed task waits."""


def settlement_of(
    running: Running, outcome: Outcome, max_crashes: int, now: float, *, keeps_rank: bool = False
) -> Settlement:
    """Return the settlement of an attempt: its task's new state, and when it is due again."""
    standing = Standing(
        failures=running.failures,
        max_attempts=running.max_attempts,
        crashes=running.crashes,
        max_crashes=max_crashes,
        cancel_requested=running.cancel_requested,
    )
    event = verdict(outcome.kind, standing, retryable=outcome.retryable, charged=outcome.charged)
    waits = event in (Event.FAIL_AND_RETRY, Event.SNOOZE)
    return Settlement(
        event=event,
        attempt=AttemptRecord(
            task_id=running.task_id,
            attempt=running.attempt,
            outcome=outcome.kind,
            runner_id=running.runner_id,
            started_at=outcome.started_at,
            finished_at=outcome.finished_at,
            node_id=outcome.node_id,
            worker_id=outcome.worker_id,
            ray_task_id=outcome.ray_task_id,
            ray_attempt=outcome.ray_attempt,
            error=outcome.error,
            state=TRANSITIONS[event].target,
            revision=running.revision + 1,
            host=outcome.host,
            pid=outcome.pid,
        ),
        namespace=running.namespace,
        task_type=running.task_type,
        priority=running.priority,
        run_at=now + _delay(event, outcome.delay_seconds) if waits else now,
        charged=outcome.charged,
        company=_company(running, outcome),
        # Nobody knows whether a lost attempt has left files. Other outcomes say what is known.
        has_files=outcome.has_files or outcome.result_ref is not None or outcome.kind in CRASHES,
        large_checkpoint=running.large_checkpoint,
        result=outcome.result if outcome.kind is OutcomeKind.SUCCEEDED else None,
        result_ref=outcome.result_ref if outcome.kind is OutcomeKind.SUCCEEDED else None,
        begun=outcome.begun,
        lane=running.lane,
        limit_values=running.limit_values,
        rank=running.rank,
        keeps_rank=keeps_rank,
        callback_url=running.callback_url,
        keyed=running.keyed,
    )


def _delay(event: Event, seconds: float) -> float:
    """Return the delay of a task in seconds. A snooze has a minimum, whatever it asks for.

    Without it, a task that only polls would be the only one that runs.
    """
    if event is not Event.SNOOZE:
        return seconds
    return seconds if seconds >= MIN_SNOOZE_SECONDS else MIN_SNOOZE_SECONDS


def _company(running: Running, outcome: Outcome) -> int | None:
    """Return the company of a task after an attempt; see `Running`.

    An attempt that ends by itself clears a suspect, unless a crash was charged before.
    """
    if outcome.kind in CRASHES:
        return 1 if outcome.charged else outcome.company or running.company
    if outcome.kind is OutcomeKind.RELEASED:
        return running.company
    return 1 if running.crashes else None
