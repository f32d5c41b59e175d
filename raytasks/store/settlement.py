"""The end of an attempt, decided, and the row of SQL that says so."""

from typing import Any

from msgspec import Struct

from raytasks.model.states import TRANSITIONS, WAITING, Event, State
from raytasks.model.tasks import DEFAULT_NAMESPACE, AttemptRecord

_FAILURES = frozenset({Event.FAIL_AND_RETRY, Event.FAIL_FOR_GOOD})
_CRASHES = frozenset({Event.LOSE, Event.POISON})


class Settlement(Struct, frozen=True):
    """The end of an attempt, decided: what becomes of its task.

    `run_at` is when the task is due again, if it is to run again. `company` is what its task has
    from now on. With `has_files` there may be files of it from now on. A task that completes needs
    its `large_checkpoint` no more.
    """

    event: Event
    attempt: AttemptRecord
    task_type: str
    priority: int
    run_at: float
    charged: bool = True
    company: int | None = None
    result: str | None = None
    result_ref: str | None = None
    namespace: str = DEFAULT_NAMESPACE
    has_files: bool = False
    large_checkpoint: bool = False
    begun: bool = True

    @property
    def state(self) -> State:
        """The task's state after this."""
        return TRANSITIONS[self.event].target

    @property
    def puts_off(self) -> bool:
        """Whether the task just waits again: its attempt snoozed, or was given back."""
        return self.event in (Event.SNOOZE, Event.RELEASE)

    def row(self, now: float, priority_step: float, ahead: float = 0.0) -> tuple[Any, ...]:
        """Return it as a row of `batch_statements.SETTLE`, settled at `now`.

        The order of tasks is by so many seconds `ahead` of the clock.
        """
        event, attempt, state = self.event, self.attempt, self.state
        waits = state in WAITING
        moves = waits and event is not Event.RELEASE  # which keeps its place
        return (
            attempt.task_id,
            attempt.attempt,
            state,
            self.result,
            self.result_ref,
            attempt.error,
            self.run_at + ahead - self.priority * priority_step if moves else None,
            int(waits and self.run_at <= now),
            self.run_at if moves else None,
            int(event in _FAILURES),
            int(self.charged and event in _CRASHES),
            int(self.puts_off),
            self.company,
            int(self.has_files),
            attempt.started_at if self.begun else None,
            None if waits else now,  # by the clock that retention goes by
            now,
        )
