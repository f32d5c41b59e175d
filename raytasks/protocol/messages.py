"""The messages of the hot path: between the tracker and its runners and API replicas."""

from collections.abc import Mapping, Sequence
from enum import StrEnum

from msgspec import Struct, field

from raytasks.model.acts import ActionName
from raytasks.model.states import OutcomeKind, State
from raytasks.model.task_events import LogLine
from raytasks.model.tasks import DEFAULT_NAMESPACE


class Claim(Struct, frozen=True, omit_defaults=True, gc=False):
    """An attempt that a runner is to run, with everything that it needs to know of the task.

    The `payload` and the `tags` (a list, or None) are JSON text. In `short_on` is the node of each
    earlier attempt that ran out of memory, if the handler's policy asks; empty if it is not known.
    """

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
    trace_context: str | None = None
    priority: int = 0
    tags: str | None = None
    namespace: str = DEFAULT_NAMESPACE
    scheduled_for: float | None = None
    short_on: tuple[str, ...] = ()


class Outcome(Struct, frozen=True, omit_defaults=True, gc=False):
    """The outcome of an attempt, as its runner reports it.

    - `result`, `result_ref`, `error`: JSON text.
    - `delay_seconds`: the wait before the next attempt: the backoff after a failure, or the length
      of a snooze.
    - `charged`: whether a lost attempt counts against its task's budget of crashes. It does not if
      it is not known to be the cause.
    - `company`: makes the task a suspect. It is how many suspects, itself included, may share a
      process.
    - `begun`: False if the attempt ran nowhere. Then `started_at` is when its runner got it.
    - `has_files`: the attempt has saved files of its task, has tried to, or nobody knows.
    - `host`, `pid`: the machine's name, and the process's id there.
    - `closes`: the name of a limit that holds for the task. Until the task may run again, no
      attempt begins that this limit holds for; see `RateLimited`.
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
    host: str | None = None
    pid: int | None = None
    closes: str | None = None


class Report(Struct, frozen=True, omit_defaults=True, gc=False):
    """A report of an attempt that runs: progress, a checkpoint, its beginning. None: nothing new.

    - `checkpoint`: JSON text.
    - `checkpoint_ref`: names the file of a large checkpoint (JSON text). Then `checkpoint` is
      `null`.
    - `began_at`: when the attempt began, if that was later than its claim.
    - `number`: unique for the runner. A report with a checkpoint or a beginning is acknowledged by
      it once committed.
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
        """Whether the runner waits until the report is on disk."""
        return self.checkpoint is not None or self.began_at is not None


class Demand(Struct, frozen=True, omit_defaults=True):
    """The demand of attempts of one type that wait in Ray, as a runner reports it.

    - `resources`: what each of them needs, by Ray's names.
    - `count`: how many of them wait.
    - `seconds`: the longest wait of them.
    - `code`: why they wait: `runner_starting`, `nodes_coming`, `no_resources` or `never_fits`. In a
      placement group also `no_placement_group` or `placement_group_pending`; then the count may be
      0, as no more of them are claimed.
    - `selectors`: what they ask of a node's labels; one of them must be met. Empty: nothing.
    - `placement_group`: the name of the group in which they are to run; empty: in none.
    - `bundle`: the index of the group's bundle, or -1 for any.
    - `tasks`: the tasks that wait, if these need other resources than others of the type.
    - `coming`: the nodes that Ray's autoscaler is adding, by type, for the code `nodes_coming`.
    """

    task_type: str
    resources: Mapping[str, float]
    count: int
    seconds: float
    code: str
    selectors: Sequence[Mapping[str, str]] = ()
    placement_group: str = ""
    bundle: int = -1
    coming: Mapping[str, int] = {}
    tasks: Sequence[str] = ()


class AttemptLog(Struct, frozen=True, omit_defaults=True):
    """Log lines of one attempt, acknowledged by their `number` (unique for the runner)."""

    task_id: str
    attempt: int
    number: int
    lines: Sequence[LogLine]


class Exchange(Struct, frozen=True, omit_defaults=True):
    """The message of a runner to the tracker: its heartbeat, news of its attempts, its capacity.

    - `runner_id`: new at each start of the runner's process. The `name` stays.
    - `worker_id`: Ray's id of that process.
    - `capacity_by_type`, `capacity`: how many more attempts the runner takes, of each task type and
      in all.
    - `last_batch`: the number of the last batch of claims that arrived. A lost batch is sent again.
    - `batch_epoch`: the epoch of the tracker that sent that batch. Each tracker numbers its own.
    - `held`: (task id, attempt) of all that the runner holds, if the tracker asked for it.
    - `leaving`: the runner takes no more, and waits only for its outcomes to be acknowledged.
    - `sent_at`: the time by the runner's clock, as all times in here.
    - `demands`: what waits for resources in Ray, the longest wait first.
    - `number`: counts the runner's exchanges from 1, so that one that was overtaken or doubled is
      noticed; 0 if the runner does not number them.
    - `waits_for`: a task that the runner waits for, so that it can begin nothing more; or None.
    - `host`, `pid`: the machine's name, and the process's id there.
    - `slots`: the capacity is that of free slots, in which attempts begin at once. Without it, the
      runner queues what it gets.
    - `last_outcomes`: how attempts end that the end of this process will stop. They count once the
      process is gone.
    - `protocol`, `needs`: see `protocol_version`.
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
    host: str | None = None
    pid: int | None = None
    slots: bool = False
    last_outcomes: Sequence[Outcome] = ()
    protocol: int = 0
    needs: int = 0


class Orders(Struct, frozen=True, omit_defaults=True):
    """The tracker's answer to an exchange.

    - `acknowledged`, `acknowledged_reports`, `acknowledged_logs`: what is on disk.
    - `cancels`: the attempts (task id, attempt) that must stop.
    - `stale`: attempts that are no longer this runner's. Their outcomes would be refused.
    - `resync`: the tracker asks for the list of what the runner holds.
    - `end`: the runner must end, for the `reason`; without one, another process has its place.
    - `queued`: more tasks wait that this runner could take.
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
    reason: str = ""


class StateChange(Struct, frozen=True, omit_defaults=True, gc=False):
    """One entry of the event feed: the task is in `state` as of its revision `revision`.

    Its place in the feed is `number`, or 0 before it has one. The `tags` are a JSON list, or None.
    If a person made the change, `by` and `action` say who, and how.
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
    by: str | None = None
    action: ActionName | None = None


class TaskEnd(Struct, frozen=True, omit_defaults=True, gc=False):
    """The end of a task. `result`, `result_ref` and `error` are JSON text."""

    task_id: str
    task_type: str
    state: State
    attempt: int
    result: str | None = None
    result_ref: str | None = None
    error: str | None = None


class Ends(Struct, frozen=True, omit_defaults=True):
    """The answer to `TaskEnds`: which of the tasks have ended, and which do not exist."""

    ended: Sequence[TaskEnd] = ()
    unknown: Sequence[str] = ()


class FeedPart(StrEnum):
    """The part of the event feed that is asked for."""

    CHANGES = "changes"  # of state, in full
    NEWS = "news"  # the ids of tasks with anything new
    ENDS = "ends"  # the ids of tasks that have come to a final state


class FeedQuery(Struct, frozen=True):
    """A request for a part of the feed after number `after`, with a wait of up to `seconds`."""

    epoch: int
    after: int
    seconds: float
    part: FeedPart = FeedPart.CHANGES


class Feed(Struct, frozen=True, omit_defaults=True):
    """A piece of the event feed up to number `last`, with the part that was asked for.

    - `epoch`: names the feed. Numbers of another epoch mean nothing in this one.
    - `gap`: entries before this piece are lost, so whoever waits must look at its task again.
    - `news`: the ids of tasks that have changed, or have new progress or log lines.
    - `ends`: the ids of tasks that have come to a final state.
    """

    epoch: int
    last: int
    changes: Sequence[StateChange] = ()
    gap: bool = False
    news: Sequence[str] = ()
    ends: Sequence[str] = ()
