"""How attempts end that only the end of their process stops: pure rules."""

from collections.abc import Iterable

from raytasks.model.states import OutcomeKind
from raytasks.protocol.messages import Outcome
from raytasks.runner.attempt import Attempt
from raytasks.runner.handler_call import HandlerCall
from raytasks.runner.stop import StopReason


class LoopBlocked(Exception):
    """An async handler blocks the event loop that it shares with others."""


def last_outcomes(
    calls: Iterable[HandlerCall],
    *,
    blocked_seconds: float | None = None,
    blocks: HandlerCall | None = None,
    too_long: bool = False,
) -> list[Outcome]:
    """Return the outcomes of the attempts in these calls, which still run.

    Attempts that were to stop have stopped. Others are released: it is not their fault. The event
    loop has been blocked for `blocked_seconds`, or None if it works. Then no attempt on it could
    stop in time, but the one that `blocks` it; if that is `too_long`, this is its failure. If
    nobody knows which one blocks it, the attempts there have no outcome here. Then the loss of
    their process makes them suspects.
    """
    told: list[Outcome] = []
    for call in calls:
        told += call.outcomes
        held_up = blocked_seconds is not None and call.spec.is_async and call is not blocks
        for attempt in call.unsettled:
            if held_up:
                outcome = _of_held_up(attempt, known=blocks is not None)
                told += [] if outcome is None else [outcome]
            elif attempt.stop.reason is not None:
                told.append(attempt.stopped())
            elif call is blocks and too_long:
                told.append(attempt.failed(_blocked(blocked_seconds or 0.0)))
            else:
                told.append(attempt.outcome(OutcomeKind.RELEASED))
    return told


def _of_held_up(attempt: Attempt, *, known: bool) -> Outcome | None:
    if attempt.stop.reason is StopReason.CANCEL:
        return attempt.stopped()
    return attempt.outcome(OutcomeKind.RELEASED) if known else None


def _blocked(seconds: float) -> LoopBlocked:
    return LoopBlocked(
        f"the handler has blocked the event loop for {seconds:.0f} seconds while other attempts "
        "waited on it; call what blocks with asyncio.to_thread, or make it a plain function"
    )
