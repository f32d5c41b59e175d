"""The documents about the service as a whole, as clients get them.

They tell of pools, runners, nodes, versions, figures, failures, acts of people, and the caller.
"""

from typing import Any, Literal, NotRequired, TypedDict


class FailingStarts(TypedDict):
    """The failed starts in a row of a pool's runners, and the last error."""

    tries: int
    error: str


class SizesDocument(TypedDict):
    """The fewest and the most runners of a pool, as a list of two."""

    runners: list[int]


class SetSizesDocument(SizesDocument):
    """The sizes of a pool that a person has set: who, and when."""

    changed_at: str
    by: str


class PoolDocument(TypedDict):
    """A pool of runners. `states` counts them as starting, idle, busy and leaving.

    The sizes in force are `min_runners` and `max_runners`. See `GET /pools`.
    """

    name: str
    task_types: list[str]
    min_runners: int | None
    max_runners: int | None
    declared: SizesDocument | None
    override: SetSizesDocument | None
    runners: int
    states: dict[str, int]
    backlog: int
    oldest_due_seconds: float | None
    resources: dict[str, float]
    failing: FailingStarts | None


class HeldAttempt(TypedDict):
    """An attempt that a runner holds. The `seconds` are since it began, or since its claim.

    Its time limit is `timeout_seconds` from its beginning; None for no limit.
    """

    task_id: str
    task_type: str
    namespace: str
    attempt: int
    begun: bool
    seconds: float
    timeout_seconds: float | None
    last_sign_at: str | None


class RunnerDocument(TypedDict):
    """A runner. At most 100 of its attempts are in `running`, out of `running_count`."""

    name: str
    pool: str
    state: Literal["starting", "idle", "busy", "leaving"]
    host: str | None
    pid: int | None
    node_id: str | None
    since: str | None
    last_seen_at: str | None
    version: int | None
    generation: str
    way: str | None
    waits_for: str | None
    running_count: int
    running: list[HeldAttempt]


class Resource(TypedDict):
    """How much of a resource a node has, and how much of it is free."""

    total: float
    free: float | None


class NodeDocument(TypedDict):
    """A node of the cluster, with the names of the runners on it.

    A `leaving` one was told to leave the cluster, and takes no more work.
    """

    node_id: str
    host: str
    address: str
    alive: bool
    head: bool
    leaving: bool
    resources: dict[str, Resource]
    labels: dict[str, str]
    runners: list[str]


class ClusterDocument(TypedDict):
    """The nodes of the cluster.

    In `nodes_coming` is how many Ray's autoscaler is adding, by the names of their types.
    """

    nodes: list[NodeDocument]
    nodes_coming: dict[str, int]


class VersionChanges(TypedDict):
    """The task types by which a version differs from the one before that had passed, `since`."""

    since: int
    added: list[str]
    gone: list[str]
    changed: list[str]


class VersionDocument(TypedDict):
    """A version of the handlers, with the result of its trial.

    `changes` is None where they are not known. Services before 0.6 have none.
    """

    number: int
    generation: str
    state: Literal["trial", "passed", "failed"]
    seen_at: str
    in_force: bool
    error: str | None
    task_types: list[str] | None
    changes: NotRequired[VersionChanges | None]


class OutboxDocument(TypedDict):
    """The state of the outbox, as `GET /outbox` shows it."""

    rows: int
    oldest_seconds: float
    held_by: Literal["backlog_full", "no_version", "database_away", "locked", "refused"] | None
    set_aside: int


class AuditFilters(TypedDict, total=False):
    """The filters of the audit. None is the same as no filter."""

    by: str | None
    action: str | None
    since: str | None
    namespace: str | None


class AuditPageQuery(AuditFilters, total=False):
    """The query of one page of the audit."""

    limit: int | None
    cursor: str | None


class AuditDocument(TypedDict):
    """An act of a person: who, what, and when."""

    audit_id: str
    at: str
    by: str
    action: str
    namespace: str | None
    target: str | None
    details: dict[str, Any] | None


class AuditPageDocument(TypedDict):
    """One page of the audit, the newest act first."""

    entries: list[AuditDocument]
    next_cursor: str | None


class ErrorGroupDocument(TypedDict):
    """The tasks of a type that are FAILED now, with one class of error.

    `hours` counts those that failed in each of 24 hours, the present one last.
    """

    task_type: str
    error_type: str
    count: int
    first_at: str
    last_at: str
    newest_task_id: str
    message: str
    hours: list[int]


class ErrorsDocument(TypedDict):
    """The groups of failures, the largest first. The first of the hours begins at `since`."""

    since: str
    groups: list[ErrorGroupDocument]
    omitted: int


class NamespaceDocument(TypedDict):
    """A namespace, with how many tasks are in each state, and its share of run time."""

    name: str
    by_state: dict[str, int]
    weight: float
    max_backlog: int | None


class MeDocument(TypedDict):
    """The caller: the key's name, scopes and namespace; and the service that answers."""

    name: str
    scopes: list[str]
    namespace: str | None
    service: str
    version: str


class Percentiles(TypedDict):
    """Percentiles in seconds: half, 95 and 99 of 100 tasks took no longer."""

    p50: float
    p95: float
    p99: float


class WindowDocument(TypedDict):
    """Statistics of the last `seconds`."""

    seconds: float
    completed: int
    failed: int
    failure_rate: float | None
    per_second: float
    queue_wait: Percentiles | None
    run_time: Percentiles | None


class Windows(TypedDict):
    """The last minute, hour and day."""

    minute: WindowDocument
    hour: WindowDocument
    day: WindowDocument


class Counts(TypedDict):
    """How many tasks there are."""

    by_state: dict[str, int]
    by_type: dict[str, dict[str, int]]


class StatsDocument(TypedDict):
    """The statistics of a namespace."""

    namespace: str
    counts: Counts
    windows: Windows
    by_type: dict[str, Windows]


class PercentileSeries(TypedDict):
    """Percentiles in seconds, step by step; None for a step without any duration."""

    p50: list[float | None]
    p95: list[float | None]
    p99: list[float | None]


class StatsSeriesDocument(TypedDict):
    """The statistics of a namespace step by step, the oldest step first; the last one goes on.

    `backlog` is how many tasks waited at the end of a step; None if that is not known.
    """

    namespace: str
    task_type: str | None
    since: str
    step_seconds: int
    submitted: list[int]
    completed: list[int]
    failed: list[int]
    backlog: list[int | None]
    backlog_by_type: dict[str, list[int | None]]
    omitted_types: int
    queue_wait: PercentileSeries
    run_time: PercentileSeries
