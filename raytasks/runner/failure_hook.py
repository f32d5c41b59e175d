"""The call of a handler's `on_failure`, in the process of the task's last attempt.

It runs after the handler has failed, and before the outcome is reported. So a process that dies in
between is a lost attempt: the task runs again. Nothing in here changes an outcome.
"""

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace
from pydantic_core import from_json

from raytasks.model.states import OutcomeKind
from raytasks.protocol.messages import Outcome
from raytasks.runner.error_report import describe_error, fenced

if TYPE_CHECKING:
    from raytasks.runner.attempt import Attempt

ON_FAILURE_SECONDS = 10.0
"""How long the calls of `on_failure` of one call of a handler may take together, in seconds."""

_FAILURES = (OutcomeKind.FAILED, OutcomeKind.TIMED_OUT)


def is_last(attempt: "Attempt", outcome: Outcome) -> bool:
    """Return whether this outcome ends its task as FAILED."""
    if outcome.kind not in _FAILURES:
        return False
    error = attempt.failure
    if error is not None and fenced(lambda: attempt.tries_again(error), lambda _: False):
        return False
    claim = attempt.claim
    return not outcome.retryable or claim.failures + 1 >= claim.max_attempts


def call_on_failure(ended: Sequence[tuple["Attempt", Outcome]]) -> list[Outcome]:
    """Call `on_failure` for those of the attempts whose task has failed for good.

    They are attempts of one handler. It returns after `ON_FAILURE_SECONDS` at the latest. What goes
    wrong is written to the task's log. Returns the outcomes, which also tell of files that were
    saved meanwhile.
    """
    outcomes = [outcome for _, outcome in ended]
    hook = ended[0][0].spec.on_failure if ended else None
    last = [attempt for attempt, outcome in ended if hook and is_last(attempt, outcome)]
    if hook is None or not last:
        return outcomes
    waiting = dict.fromkeys(map(id, last))
    for attempt in last:
        attempt.over = True
    present = contextvars.copy_context()

    def call_all() -> None:
        for attempt in last:
            if id(attempt) not in waiting:
                return  # their time is up
            present.run(_call, hook, attempt)
            waiting.pop(id(attempt), None)

    thread = threading.Thread(target=call_all, name="on_failure", daemon=True)
    thread.start()
    thread.join(ON_FAILURE_SECONDS)
    is_late = thread.is_alive()  # then it may still save a file
    if is_late:
        for attempt in last:
            if id(attempt) in waiting:
                waiting.pop(id(attempt), None)
                _tell(attempt, f"on_failure has not ended within {ON_FAILURE_SECONDS:g} seconds")
    return [
        replace(outcome, has_files=is_late or attempt.has_files) if attempt.over else outcome
        for attempt, outcome in ended
    ]


def _call(hook: Callable[..., Any], attempt: "Attempt") -> None:
    home = attempt.workplace.home
    try:
        result = hook(_payload(attempt), attempt.failure, attempt.context)
        if inspect.isawaitable(result):
            asyncio.run(_awaited(result))
    except BaseException as error:
        home.leave_if_copy(error)
        told: Any = from_json(describe_error(error, retryable=False))
        _tell(attempt, f"on_failure has failed: {told['type']}: {told['message']}")
    home.leave_if_copy()


async def _awaited(result: Any) -> None:
    await result


def _payload(attempt: "Attempt") -> Any:
    """Return the payload as the handler gets it; as JSON if it does not fit; None if it is lost."""
    return fenced(attempt.payload, lambda _: fenced(attempt.plain_payload, lambda _: None))


def _tell(attempt: "Attempt", text: str) -> None:
    fenced(lambda: attempt.context.log.error("%s", text), lambda _: None)
