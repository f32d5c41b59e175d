"""What a chaos run leaves to be judged: plain data, no Ray and no SQL."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from raytasks.model.states import State
from raytasks.model.tasks import AttemptRecord, Task
from tests.chaos.effects import Effect
from tests.chaos.kinds import Kind


@dataclass
class Submission:
    """One task of the plan, as its client knows it. `token` is in its payload.

    `answers` are the ids that it was accepted with (a keyed one is sent several times), `refusals`
    what the service said instead that it should not have said. `cancels` and `retries` count the
    requests that were sent, whether they were answered or not.
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

    `pids` are the processes that it struck. `recovered_after` is the time from its beginning to
    the end of a probe that was submitted after it; None if none ended.
    """

    kind: str
    at: float
    lasted: float = 0.0
    pids: frozenset[int] = frozenset()
    recovered_after: float | None = None


@dataclass(frozen=True)
class History:
    """What the database says at the end; `tokens` are those in the payloads, by task id."""

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
