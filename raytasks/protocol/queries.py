"""The queries: each is data and declares the type of its answer. One verb, `read`, carries all.

The store's `Store.read` answers queries about stored data. The tracker's `Tracker.read` also
answers those about the present moment. Backend, actor and replicas pass queries on as bytes of
`raytasks.protocol.codec`.
"""

from collections.abc import Sequence
from typing import Any, Generic, Protocol, TypeVar

from msgspec import Struct

from raytasks.model.acts import AuditPage, TaskAct
from raytasks.model.bulk_operations import BulkFilter, BulkOperation
from raytasks.model.failures import ErrorGroups
from raytasks.model.outbox_documents import OutboxRow
from raytasks.model.schedule_specs import SchedulePage
from raytasks.model.stats_series import StatsSeries
from raytasks.model.task_events import EventPage, EventQuery
from raytasks.model.task_filter import TaskFilter
from raytasks.model.tasks import AttemptRecord, Duplicate, NewTask, Page, Task
from raytasks.protocol.local_socket import TrackerAddress
from raytasks.protocol.messages import Ends
from raytasks.protocol.metrics_data import MetricsData
from raytasks.protocol.places import DatabasePlace, Terms
from raytasks.protocol.service_log import MAX_LINES, LogFilter, LogPage

Answer = TypeVar("Answer")
Given = TypeVar("Given", covariant=True)

MAX_EVENTS = 1000
"""How many events one answer has, for all of its tasks together."""


class Query(Struct, Generic[Given], frozen=True, tag=True):
    """A question that changes nothing. Its type parameter is the type of its answer."""


class StackAnswer(Struct, frozen=True, omit_defaults=True):
    """The stack of a running attempt, as text; None if its process does not show it."""

    attempt: int
    stack: str | None


class TasksById(Query[dict[str, Task]], frozen=True):
    """The tasks with these ids that exist, by id."""

    task_ids: Sequence[str]


class TaskDetail(Query[tuple[Task, list[AttemptRecord]] | None], frozen=True):
    """A task and its newest ended attempts, as of one moment; None if there is no such task."""

    task_id: str


class TaskQuery(Query[Page], frozen=True, omit_defaults=True):
    """A page of the list of a namespace's tasks, the newest first.

    With a `cursor` it begins after the task with this id. With an `offset` it skips that many: that
    is only for filters of at most one state and one type.
    """

    filter: TaskFilter = TaskFilter()
    limit: int = 50
    offset: int = 0
    cursor: str | None = None


class TaskEvents(Query[list[EventPage | None]], frozen=True):
    """The events that each of the queries asks for, as of one moment; None for an unknown task.

    The answer has at most `limit` events in all. Ask again after a page with `more`.
    """

    queries: Sequence[EventQuery]
    limit: int = MAX_EVENTS


class TaskEnds(Query[Ends], frozen=True):
    """Which of these tasks have ended, and which do not exist."""

    task_ids: Sequence[str]


class KnownTasks(Query[set[str]], frozen=True):
    """Those of the ids for which there is a task."""

    task_ids: Sequence[str]


class RepeatedSubmissions(Query[dict[str, Duplicate]], frozen=True):
    """Those of the submissions whose idempotency keys are taken, by the submission's id.

    Only the ids, keys and digests of the tasks count, and whether they have unique keys.
    """

    tasks: Sequence[NewTask]


class TaskActs(Query[list[TaskAct]], frozen=True):
    """The newest acts of people on a task, in order."""

    task_id: str


class AuditList(Query[AuditPage], frozen=True, omit_defaults=True):
    """A page of the audit: what people did, the newest first.

    With a `cursor` it begins after the act with this id. The other fields are filters: the exact
    name, kind and namespace, and the time since when, in seconds since the epoch.
    """

    limit: int = 50
    cursor: str | None = None
    by: str | None = None
    action: str | None = None
    since: float | None = None
    namespace: str | None = None


class ErrorList(Query[ErrorGroups], frozen=True):
    """The groups of a namespace's FAILED tasks, of one type or of all, as of `now`."""

    namespace: str
    task_type: str | None
    now: float


class StatsHistory(Query[StatsSeries], frozen=True):
    """The statistics of a namespace's last `seconds` as series, of one type or of all.

    They are as of `now`, and at most some seconds old.
    """

    namespace: str
    task_type: str | None
    seconds: int
    now: float


class NamespaceList(Query[list[dict[str, Any]]], frozen=True):
    """The namespaces that have tasks or a share, with their counts, as `/namespaces` shows them.

    With a name, only that one.
    """

    name: str | None


class ScheduleList(Query[SchedulePage], frozen=True, omit_defaults=True):
    """A page of a namespace's schedules, by name; with a `name`, only that one.

    With a `cursor` it begins after the schedule of this name.
    """

    namespace: str
    name: str | None = None
    cursor: str | None = None
    limit: int = 100


class BulkMatches(Query[int | None], frozen=True):
    """How many tasks a filter matches now; None if they are too many to count."""

    filter: BulkFilter


class BulkById(Query[BulkOperation | None], frozen=True):
    """A bulk operation; None if the namespace has none of this id."""

    bulk_id: str
    namespace: str


class BulkList(Query[list[BulkOperation]], frozen=True):
    """The newest bulk operations of a namespace, the newest first."""

    namespace: str


class TaskCounts(Query[dict[str, Any]], frozen=True):
    """How many tasks a namespace has, by state and by type, as `/stats` shows them."""

    namespace: str


class Statistics(Query[dict[str, Any]], frozen=True):
    """The windows of a namespace, in all and by type, as `/stats` shows them."""

    namespace: str


class WaitingFor(Query[list[dict[str, Any]] | None], frozen=True, omit_defaults=True):
    """The reasons why a task does not run yet. See `raytasks.tracker.waiting`.

    The type, when the task is due, its namespace and its limit values are those that the asking
    process has read. Without a type, only a claimed task has reasons.
    """

    task_id: str
    task_type: str = ""
    run_at: float = 0.0
    namespace: str = ""
    limit_values: str | None = None


class LiveAttempt(Query[dict[str, Any] | None], frozen=True):
    """Where the running attempt of a task is, and when it last gave a sign of life.

    None if the task does not run. See `raytasks.tracker.overview`.
    """

    task_id: str


class PoolList(Query[list[dict[str, Any]]], frozen=True):
    """The pools of runners, as `/pools` shows them."""


class RunnerList(Query[list[dict[str, Any]]], frozen=True):
    """The runners with what they run, as `/runners` shows them."""


class NodeList(Query[list[dict[str, Any]]], frozen=True):
    """The nodes of the cluster, as `/nodes` shows them."""


class NodesComing(Query[dict[str, int]], frozen=True):
    """How many nodes Ray's autoscaler is adding to the cluster, by the names of their types."""


class VersionList(Query[list[dict[str, Any]]], frozen=True):
    """The newest versions of the handlers, as `/versions` shows them."""


class LimitList(Query[list[dict[str, Any]]], frozen=True):
    """The limits of the version in force, and those that people have set, by name.

    See `raytasks.tracker.limit_view`, and `/limits`.
    """


class PauseList(Query[list[dict[str, Any]]], frozen=True):
    """The pauses in force, as `/pauses` shows them."""


class Readiness(Query[list[dict[str, Any]]], frozen=True):
    """The reasons why no submission could be committed now; empty if one could."""


class TaskStack(Query[StackAnswer | None], frozen=True):
    """The Python stack of a running attempt; None if no attempt of the task has begun."""

    task_id: str


class LogLines(Query[LogPage], frozen=True, omit_defaults=True):
    """Lines of the tracker's log after number `after` of a `stream`, as soon as there is one.

    The answer comes at the latest after `seconds`, perhaps without lines. A `stream` of 0 asks for
    the `newest` lines instead.
    """

    stream: int = 0
    after: int = 0
    newest: int = MAX_LINES
    filter: LogFilter = LogFilter()
    seconds: float = 0.0


class Health(Query[dict[str, Any]], frozen=True):
    """The health of database, tracker, runners and Ray, as `/health` shows it."""


class OutboxTask(Query[OutboxRow | None], frozen=True):
    """The row of a task in the outbox that the tracker has not taken yet, or None."""

    task_id: str


class OutboxView(Query[dict[str, Any]], frozen=True):
    """The outbox as `/outbox` shows it. See `raytasks.tracker.outbox_reader`."""


class ScheduleErrors(Query[dict[str, str]], frozen=True):
    """Why schedules of a namespace stand still, by name. Most do not."""

    namespace: str


class Metrics(Query[MetricsData], frozen=True):
    """The metrics, as `/metrics` shows them."""


class GetTerms(Query[Terms], frozen=True):
    """The settings of the service that a submission must keep to."""


class GetDatabase(Query[DatabasePlace], frozen=True):
    """The place of the database, once the tracker has taken it over."""


class GetAddress(Query[TrackerAddress], frozen=True):
    """The address by which the tracker's process can be called without Ray, from its own node.

    The tracker answers it with `OtherProtocol` if it does not understand the caller: see
    `protocol_version`.
    """

    protocol: int = 0
    needs: int = 0


StoredQuery = (
    TasksById
    | TaskDetail
    | TaskQuery
    | TaskEvents
    | TaskEnds
    | TaskActs
    | AuditList
    | ErrorList
    | NamespaceList
    | StatsHistory
    | TaskCounts
    | KnownTasks
    | RepeatedSubmissions
    | ScheduleList
    | BulkMatches
    | OutboxTask
)
"""The queries that the database alone can answer, from any process."""

BulkQuery = BulkById | BulkList
"""Queries about stored data, to which the tracker adds what holds an operation up."""

SeenQuery = PoolList | RunnerList | NodeList | NodesComing | VersionList | LimitList | PauseList
"""The queries about pools, runners, nodes, versions, limits and pauses."""

LiveQuery = (
    Statistics
    | WaitingFor
    | LiveAttempt
    | TaskStack
    | LogLines
    | Readiness
    | Health
    | Metrics
    | OutboxView
    | ScheduleErrors
    | SeenQuery
)
"""The queries that only the tracker can answer."""

ServiceQuery = GetTerms | GetDatabase | GetAddress
"""The queries that the tracker's actor answers about itself and its settings."""

TrackerQuery = StoredQuery | BulkQuery | LiveQuery

AnyQuery = TrackerQuery | ServiceQuery


def is_stored(query: Query[Any]) -> bool:
    """Return whether the database alone can answer a query."""
    return isinstance(query, StoredQuery)


class Reader(Protocol):
    """The side that answers queries: the tracker, or a process that passes them on to it."""

    async def read(self, query: Query[Answer]) -> Answer:
        """Answer a query. Raises `StoreUnavailable`."""
