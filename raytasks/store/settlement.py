"""The settlement of an attempt: its verdict, and the row of SQL that stores it."""

import math
from collections.abc import Sequence
from typing import Any

from msgspec import MsgspecError, Struct, json

from raytasks.model.lane_names import PLAIN_LANE
from raytasks.model.states import FINAL, TRANSITIONS, WAITING, Event, State
from raytasks.model.tasks import DEFAULT_NAMESPACE, AttemptRecord
from raytasks.protocol.messages import Outcome

MAX_ERROR_TYPE = 100
"""Number of characters of the class of an error by which tasks are found."""

_FAILURES = frozenset({Event.FAIL_AND_RETRY, Event.FAIL_FOR_GOOD})
_CRASHES = frozenset({Event.LOSE, Event.POISON})


class _ErrorHead(Struct):
    type: str = ""


_read_head = json.Decoder(_ErrorHead).decode


def error_type_of(error: str | None) -> str | None:
    """Return the class of an error (JSON text), as far as it is kept; None if it has none."""
    if error is None:
        return None
    try:
        found = _read_head(error).type
    except (MsgspecError, UnicodeError):  # whatever it says, the attempt has ended
        return None
    return found.replace("\0", "\ufffd")[:MAX_ERROR_TYPE] or None


class Settlement(Struct, frozen=True):
    """The verdict on an attempt that has ended: its task's next state.

    If the task is to run again, it is due at `run_at`. Its new company is `company`. With
    `has_files` it may have files from now on. A task that completes no longer needs its
    `large_checkpoint`. It had this `rank` when it was claimed; with `keeps_rank` it has it again
    when it is due, as a released one always has. A `keyed` task has a unique key.
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
    lane: str = PLAIN_LANE
    limit_values: str | None = None
    rank: float = -math.inf
    keeps_rank: bool = False
    callback_url: str | None = None
    keyed: bool = False

    @property
    def calls_back(self) -> bool:
        """Whether the task has become final and has a callback."""
        return self.callback_url is not None and self.state in FINAL

    @property
    def state(self) -> State:
        """The task's state after the settlement."""
        return TRANSITIONS[self.event].target

    @property
    def drops_checkpoint(self) -> bool:
        """Whether its task has completed, and no longer needs its large checkpoint."""
        return self.large_checkpoint and self.event is Event.SUCCEED

    @property
    def ends_keyed(self) -> bool:
        """Whether its task has a unique key and is final now."""
        return self.keyed and self.state.final

    @property
    def puts_off(self) -> bool:
        """Whether the task only waits again: its attempt snoozed, or was released."""
        return self.event in (Event.SNOOZE, Event.RELEASE)

    @property
    def moves(self) -> bool:
        """Whether the task gets a new rank."""
        return self._is_put_off and not self.keeps_rank

    @property
    def _is_put_off(self) -> bool:
        """Whether the task waits for its new due time. A released task keeps its place."""
        return self.state in WAITING and self.event is not Event.RELEASE

    def is_ready(self, now: float) -> bool:
        """Return whether the task may be claimed again at once."""
        return self.state in WAITING and self.run_at <= now

    def row(self, now: float, rank: float | None, *, ready: bool) -> tuple[Any, ...]:
        """Return the row for `batch_statements.SETTLE`, settled at `now`.

        The `rank` is the new one, or None if it `moves` not.
        """
        event, attempt = self.event, self.attempt
        return (
            attempt.task_id,
            attempt.attempt,
            self.state,
            self.result,
            self.result_ref,
            attempt.error,
            error_type_of(attempt.error),
            rank,
            int(ready),
            self.run_at if self._is_put_off else None,
            int(event in _FAILURES),
            int(self.charged and event in _CRASHES),
            int(self.puts_off),
            self.company,
            int(self.has_files),
            attempt.started_at if self.begun else None,
            None if self.state in WAITING else now,  # by retention's clock
            now,
        )


def late_rows(outcomes: Sequence[tuple[str, Outcome]], now: float) -> list[dict[str, Any]]:
    """Return the parameters of `statements.NOTE_LATE` for late outcomes, by runner id."""
    return [
        {
            "p_task_id": outcome.task_id,
            "p_attempt": outcome.attempt,
            "p_runner_id": runner_id,
            "p_outcome": outcome.kind.value,
            "p_now": now,
        }
        for runner_id, outcome in outcomes
    ]
