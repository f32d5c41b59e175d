"""The evidence of a chaos run, to be judged: plain data, no Ray and no SQL."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from raytasks.model.states import State
from raytasks.model.tasks import AttemptRecord, Task
from tests.chaos.effects import Effect
from tests.chaos.kinds import Kind


@dataclass
class Submission:
    """One task of the plan, as its client knows it. `token` is in its payload.

    Its `answers` are the ids that it was accepted with; a keyed one is sent several times. Its
    `refusals` are wrong answers that the service gave instead. The counts `cancels` and
    `retries` are of requests that were sent, whether they were answered or not.
    """

    token: str
    kind: Kind
    key: str | None = None
    answers: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    cancels: int = 0
    retries: int = 0


@dataclass(frozen=True)
class Fault:
    """One fault: when it began (seconds since the epoch), and how many seconds we let it last.

    `pids` are the processes that it struck. A probe is a task submitted after the fault.
    `recovered_after` is the time from the fault's beginning to the probe's end; None if none ended.
    """

    kind: str
    at: float
    lasted: float = 0.0
    pids: frozenset[int] = frozenset()
    recovered_after: float | None = None


@dataclass(frozen=True)
class History:
    """The database at the end of a run; `tokens` are those in the payloads, by task id."""

    tasks: Sequence[Task]
    attempts: Sequence[AttemptRecord]
    counts: Mapping[tuple[str, State], int]
    tokens: Mapping[str, str]


@dataclass(frozen=True)
class Evidence:
    """Everything that the checker looks at. `exit_code` is that of the service when stopped."""

    submissions: Sequence[Submission]
    history: History
    effects: Sequence[Effect]
    faults: Sequence[Fault] = ()
    max_crashes: int = 3
    ray_retried: frozenset[str] = frozenset()
    exit_code: int = 0
