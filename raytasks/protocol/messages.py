"""What the tracker tells runners and API replicas, and they it: the messages of the hot path."""

from collections.abc import Mapping, Sequence
from enum import StrEnum

from msgspec import Struct, field

from raytasks.model.states import OutcomeKind, State
from raytasks.model.task_events import LogLine
from raytasks.model.tasks import DEFAULT_NAMESPACE


class Claim(Struct, frozen=True, omit_defaults=True, gc=False):
    """An attempt that a runner is to run: everything that it needs to know of the task."""

    task_id: str
    task_type: str
    attempt: int
    payload: str
    failures: int
    max_attempts: int
    timeout_seconds: float | None
    checkpoint: str | None
    payload_ref: str | None = None
    checkpoint_ref: str | None = None


class Outcome(Struct, frozen=True, omit_defaults=True, gc=False):
    """How an attempt ended, as its runner reports it.

    `delay_seconds` is the wait before the next try: the backoff of a failed attempt, or the
    length of a snooze. `result`, `result_ref` and `error` are JSON text. A lost attempt that is
    not `charged` leaves its task's budget of crashes as it is: nobody knows that it was the cause.
    `company` makes its task a suspect: with so many, itself included, it may share a process.
    One that has not `begun` ran nowhere; its `started_at` is when its runner got it.
    With `has_files` the attempt has saved files of its task, or has tried to.
    """

    task_id: str
    attempt: int
    kind: OutcomeKind
    started_at: float
    finished_at: float
    result: str | None = None
    error: str | None = None
    retryable: bool = False
    delay_seconds: float = 0.0
    charged: bool = True
    result_ref: str | None = None
    node_id: str | None = None
    worker_id: str | None = None
    ray_task_id: str | None = None
    ray_attempt: int | None = None
    company: int | None = None
    begun: bool = True
    has_files: bool = False


class Report(Struct, frozen=True, omit_defaults=True, gc=False):
    """What a running attempt says of itself before it ends. Empty fields say nothing new.

    `checkpoint` is JSON text; `began_at` is when the attempt has begun, where that was not at its
    claim. A report that carries one of them is acknowledged by its `number` (unique for its runner)
    once it is committed. A large checkpoint is in a file, which `checkpoint_ref` names (JSON text),
    and `checkpoint` is `null` then.
    """

    task_id: str
    attempt: int
    number: int
    fraction: float | None = None
    message: str | None = None
    checkpoint: str | None = None
    began_at: float | None = None
    checkpoint_ref: str | None = None

    @property
    def is_acknowledged(self) -> bool:
        """Whether its runner waits until it is on disk."""
        return self.checkpoint is not None or self.began_at is not None


class Demand(Struct, frozen=True, omit_defaults=True):
    """What attempts of one type wait for in Ray, as a runner reports it.

    `count` of them wait, the first since `seconds`, for these `resources` each, by Ray's names.
    `code` is what for: `runner_starting`, `no_resources`, or `never_fits`.
    """

    task_type: str
    resources: Mapping[str, float]
    count: int
    seconds: float
    code: str


class AttemptLog(Struct, frozen=True, omit_defaults=True):
    """Lines of one attempt on their way; acknowledged by `number` (unique for its runner)."""

    task_id: str
    attempt: int
    number: int
    lines: Sequence[LogLine]


class Exchange(Struct, frozen=True, omit_defaults=True):
    """What a runner sends the tracker: its heartbeat, news of its attempts, and its free room.

    `runner_id` is new at each start of the runner's process, which is `worker_id` to Ray; `name`
    stays. `capacity_by_type` says how many more attempts of each task type the runner takes, and
    `capacity` how many in all. `last_batch` is the number of the last batch of claims that arrived,
    and `batch_epoch` the epoch of the tracker that sent it: each tracker numbers for itself. A
    batch that got lost is sent again. `held` lists (task id, attempt) of what the runner has, when
    the tracker asked for it. A runner that is `leaving` takes nothing more, and waits only for its
    outcomes to be acknowledged. `sent_at` is the time by the runner's clock, as all its times are.
    The exchanges of a runner are numbered from 1, so that one that was overtaken or doubled on its
    way is known; 0: by a runner that does not number them. `demands` tell what waits for resources
    in Ray, the one that waits longest first. `waits_for` is a task whose end the attempt of a
    serial runner waits for.
    """

    runner_id: str
    name: str
    pool: str
    generation: str
    capacity_by_type: Mapping[str, int] = field(name="limits")  # as in 0.1, whose runners call
    capacity: int = field(name="room")
    last_batch: int
    node_id: str | None = None
    worker_id: str | None = None
    outcomes: Sequence[Outcome] = ()
    reports: Sequence[Report] = ()
    logs: Sequence[AttemptLog] = ()
    held: Sequence[tuple[str, int]] | None = None
    leaving: bool = False
    sent_at: float | None = None
    demands: Sequence[Demand] = ()
    number: int = 0
    waits_for: str | None = None
    batch_epoch: int = 0


class Orders(Struct, frozen=True, omit_defaults=True):
    """The tracker's answer to an exchange.

    `acknowledged` outcomes, `acknowledged_reports` and `acknowledged_logs` are on disk. `cancels`
    lists the attempts (task id, attempt) that are to be stopped. `stale` ones are no longer this
    runner's: their outcomes would be refused. With `resync` the tracker asks for the list of what
    is held. With `end` another process has taken the runner's place, and this one must end. With
    `queued` more tasks wait that this runner could take.
    """

    batch: int = 0
    claims: Sequence[Claim] = ()
    cancels: Sequence[tuple[str, int]] = ()
    stale: Sequence[tuple[str, int]] = ()
    acknowledged: Sequence[tuple[str, int]] = ()
    acknowledged_reports: Sequence[int] = ()
    acknowledged_logs: Sequence[int] = ()
    resync: bool = False
    end: bool = False
    queued: bool = False
    epoch: int = 0


class StateChange(Struct, frozen=True, omit_defaults=True, gc=False):
    """One entry of the event feed: `task_id` is in `state` as of its revision `revision`.

    `number` is the entry's place in the feed; 0 before it has one. `tags` is a JSON list, or None.
    """

    task_id: str
    task_type: str
    state: State
    attempt: int
    namespace: str = DEFAULT_NAMESPACE
    revision: int = 0
    tags: str | None = None
    at: float = 0.0
    number: int = 0


class TaskEnd(Struct, frozen=True, omit_defaults=True, gc=False):
    """How a task has ended. `result`, `result_ref` and `error` are JSON text."""

    task_id: str
    task_type: str
    state: State
    attempt: int
    result: str | None = None
    result_ref: str | None = None
    error: str | None = None


class Ends(Struct, frozen=True, omit_defaults=True):
    """Which of the tasks that were asked about have ended, and which do not exist."""

    ended: Sequence[TaskEnd] = ()
    unknown: Sequence[str] = ()


class FeedPart(StrEnum):
    """What of the event feed is asked for."""

    CHANGES = "changes"  # of state, in full
    NEWS = "news"  # the ids of tasks of which anything is new
    ENDS = "ends"  # the ids of tasks that have come to a final state


class FeedQuery(Struct, frozen=True):
    """Asks for a part of the feed from after a place on, waiting up to `seconds` for anything."""

    epoch: int
    after: int
    seconds: float
    part: FeedPart = FeedPart.CHANGES


class Feed(Struct, frozen=True, omit_defaults=True):
    """A piece of the event feed, up to number `last`: of its parts the one that was asked for.

    `epoch` names the feed: numbers of another epoch mean nothing in this one. With `gap` something
    before this piece is gone, and whoever waits should look at its task again. `news` are the ids
    of tasks that have changed, or have new progress or log lines.
    """

    epoch: int
    last: int
    changes: Sequence[StateChange] = ()
    gap: bool = False
    news: Sequence[str] = ()
    ends: Sequence[str] = ()
