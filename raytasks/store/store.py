"""The store: the tracker's operations on the database, each call one transaction.

Calls block, so the tracker makes them in a separate thread. Each may raise `StoreUnavailable`.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

from sqlalchemy import Connection

from raytasks.model.acts import UNKNOWN, ActionName, AuditEntry, NewAudit, canceller
from raytasks.model.bulk_operations import BulkOperation
from raytasks.model.limit_places import LimitPlaces
from raytasks.model.schedule_specs import ScheduleKey, ScheduleRow
from raytasks.model.steering import Steering, SteeringChange
from raytasks.model.tasks import Duplicate, NewTask, Running
from raytasks.model.trace_context import trace_id_of
from raytasks.protocol.queries import Answer, BulkQuery, Query, StoredQuery
from raytasks.store import (
    act_rows,
    count_steps,
    expiry,
    files,
    lane_statements,
    metric_rows,
    online_upgrade,
    outbox_rows,
    queue_reads,
    read_statements,
    reads,
    schedule_rows,
    statements,
    steering_rows,
    unique_rows,
)
from raytasks.store import (
    bulk_steps as bulk,
)
from raytasks.store import (
    outpost_rows as outposts,
)
from raytasks.store import (
    stats_rows as stats,
)
from raytasks.store import (
    version_rows as versions,
)
from raytasks.store.count_changes import Counted, Total
from raytasks.store.database import Database
from raytasks.store.idempotency import find_duplicates
from raytasks.store.lane_rows import LaneAsk, LaneRow, PutOffRow
from raytasks.store.limit_place_rows import read_places
from raytasks.store.place_rows import Places
from raytasks.store.queue_reads import TaskPlace
from raytasks.store.relaning import RelaneResult, RelaneStep, relane
from raytasks.store.transaction import Transaction

Counts = Mapping[Counted, int]
"""The number of tasks by namespace, task type and state."""


class Store:
    """The reads and transactions on the database at `url`; with `reads_only` no transactions."""

    def __init__(self, url: str, *, priority_step: float = 60.0, reads_only: bool = False) -> None:
        self._database = Database(url, reads_only=reads_only)
        self.priority_step = priority_step
        self._places = Places()

    def upgrade(self) -> None:
        """Apply the migrations that are missing."""
        self._database.upgrade()

    def begin_epoch(
        self, now: float, owner: str = "", *, host: str = "", alone: bool = False
    ) -> int:
        """Take over the database, and return the number of the new epoch.

        From now on, ticks of every earlier epoch fail with `Superseded`. With `alone` no other
        cluster can be there: all other reigns have ended.
        """
        bound = {"p_now": now, "p_owner": owner}
        with self._database.writing() as connection:
            epoch: int = connection.execute(statements.BEGIN_EPOCH, bound).scalar_one()
            online_upgrade.take_over(connection)
            if alone:
                others = outposts.read_reigns(connection)
                outposts.forget_reigns(connection, [reign.owner for reign in others])
            outposts.begin_reign(connection, owner, epoch, host, now)
            return epoch

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Begin a reading transaction, for reads that modules of this package make."""
        with self._database.reading() as connection:
            yield connection

    @contextmanager
    def writing_own(self) -> Iterator[Connection]:
        """Begin a write transaction without a fence, for rows that only the caller writes."""
        with self._database.writing() as connection:
            yield connection

    def epoch_owner(self) -> tuple[str | None, float]:
        """Return the owner of the present epoch, and its last renewal by the owner's clock."""
        with self._database.reading() as connection:
            row = connection.execute(read_statements.EPOCH).one()
            return row.owner, row.renewed_at

    def steering(self) -> Steering:
        """Return what people have set. See `raytasks.store.steering_rows`."""
        with self._database.reading() as connection:
            return steering_rows.read_all(connection)

    def steer(
        self, epoch: int, changes: Sequence[SteeringChange], acts: Sequence[NewAudit], now: float
    ) -> list[AuditEntry]:
        """Store what a person sets, with the acts of the audit. Raises `Superseded`.

        Returns the acts as the audit has them.
        """
        with self.transaction(now=now) as transaction:
            transaction.renew(epoch)
            steering_rows.write(transaction.connection, changes, now)
            entries = act_rows.write_audit(transaction.connection, acts, now)
            transaction.finish()
            return entries

    def settings(self) -> tuple[Steering, list[ScheduleRow]]:
        """Return what people have set, and the schedules, as of one moment."""
        with self._database.reading() as connection:
            return steering_rows.read_all(connection), schedule_rows.read_all(connection)

    def schedules(self) -> list[ScheduleRow]:
        """Return all schedules."""
        with self._database.reading() as connection:
            return schedule_rows.read_all(connection)

    def write_schedules(
        self,
        epoch: int,
        rows: Sequence[ScheduleRow],
        removed: Sequence[ScheduleKey],
        acts: Sequence[NewAudit],
        now: float,
    ) -> list[AuditEntry]:
        """Store changed schedules, delete others, and write the acts into the audit.

        Returns the acts as the audit has them. Raises `Superseded`.
        """
        with self.transaction(now=now) as transaction:
            transaction.renew(epoch)
            schedule_rows.write(transaction.connection, rows, removed)
            entries = act_rows.write_audit(transaction.connection, acts, now)
            transaction.finish()
            return entries

    def expired(self, before: float, limit: int) -> dict[str, float]:
        """Return when tasks ended, by id: those from before `before`, at most `limit`.

        The oldest come first.
        """
        with self._database.reading() as connection:
            rows = connection.execute(statements.EXPIRED, {"p_before": before, "p_limit": limit})
            return dict(map(tuple, rows))

    def duplicates(self, new: Sequence[NewTask]) -> dict[str, Duplicate]:
        """Return the submissions whose key is taken. See `idempotency.find_duplicates`."""
        with self._database.reading() as connection:
            return find_duplicates(connection, new)

    def outbox(
        self, passed_over: Collection[str], full: Collection[str], max_bytes: int
    ) -> outbox_rows.OutboxLook:
        """Return the first rows of the outbox. See `outbox_rows.look`."""
        with self._database.reading() as connection:
            return outbox_rows.look(connection, passed_over, full, max_bytes)

    def outbox_size(
        self, known: Collection[str] = ()
    ) -> tuple[outbox_rows.OutboxSize, Collection[str]]:
        """Return how many rows the outbox has, and which of those that are `known` are there."""
        with self._database.reading() as connection:
            found = outbox_rows.there(connection, known) if known else known
            return outbox_rows.size(connection), found

    def conflicting(self, new: Sequence[NewTask], now: float) -> set[str]:
        """Return the ids of submissions whose unique key is held by another task at `now`."""
        wanted = [unique_rows.wanted_by(task, now) for task in new if task.unique_spec is not None]
        with self._database.reading() as connection:
            held = unique_rows.holders(connection, [row.name for row in wanted], now)
        return {row.task_id for row in wanted if held.get(row.name, row.task_id) != row.task_id}

    def files_due(self, now: float, limit: int) -> list[files.FileKey]:
        """Return files whose removal is due. See `raytasks.store.files.due`."""
        with self._database.reading() as connection:
            return files.due(connection, now, limit)

    def database_id(self) -> str:
        """Return the unique id of this database; it never changes."""
        with self._database.writing() as connection:
            return files.database_id(connection)

    @contextmanager
    def transaction(self, *, now: float) -> Iterator[Transaction]:
        """Begin a write transaction; it is committed when the block ends without an error."""
        storing, writing = self._places.storing(), self._database.writing_directly()
        with storing as places, writing as (connection, driver):
            yield Transaction(connection, driver, places, now=now, step=self.priority_step)

    def read(self, query: Query[Answer]) -> Answer:
        """Answer a query about stored data. See `raytasks.store.reads`."""
        assert isinstance(query, StoredQuery | BulkQuery), query
        with self._database.reading() as connection:
            found: Answer = reads.answer(connection, query)
            return found

    def counts(self) -> Counts:
        """Return the number of tasks by namespace, task type and state."""
        with self._database.reading() as connection:
            return count_steps.read_counts(connection)

    def totals(self) -> dict[Total, int]:
        """Return the totals, by namespace, task type and name."""
        with self._database.reading() as connection:
            return count_steps.read_totals(connection)

    def histograms(self) -> list[metric_rows.HistogramRow]:
        """Return the histograms of all namespaces and types."""
        with self._database.reading() as connection:
            return metric_rows.read_histograms(connection)

    def oldest_due(self, lanes: Sequence[LaneAsk]) -> dict[str, float]:
        """Return the oldest due time by type. See `queue_reads.oldest_due`."""
        with self._database.reading() as connection:
            return queue_reads.oldest_due(connection, lanes)

    def running(self) -> list[Running]:
        """Return the attempts that run, or ran when the last tracker died."""
        with self._database.reading() as connection:
            rows = connection.execute(read_statements.RUNNING_TASKS)
            return [
                Running(  # type: ignore[misc]
                    *most,
                    lane=lane,
                    limit_values=values,
                    callback_url=callback_url,
                    rank=rank,
                    timeout_seconds=timeout,
                    trace_id=trace_id_of(trace),
                    cancelled_by=canceller(reason),
                    keyed=bool(keyed),
                )
                for *most, lane, values, callback_url, rank, timeout, trace, reason, keyed in rows
            ]

    def relane_step(self, epoch: int, now: float, step: RelaneStep) -> RelaneResult:
        """Move the next waiting tasks of a type to their new lanes. See `relaning.relane`.

        Raises `Superseded`, `FenceBroken`, `StoreUnavailable`.
        """
        with self.transaction(now=now) as transaction:
            transaction.renew(epoch)
            done = relane(transaction, step)
            transaction.finish()
            done.ready_changes = transaction.ready_changes
        return done

    def lanes_and_places(self) -> tuple[list[LaneRow], dict[str, LimitPlaces]]:
        """Return `lanes`, and where the values of limits come from by type, as of one moment."""
        with self._database.reading() as connection:
            return lane_statements.lanes(connection), read_places(connection)

    def lanes(self) -> list[LaneRow]:
        """Return all lanes in which tasks are ready. See `lane_statements.lanes`."""
        with self._database.reading() as connection:
            return lane_statements.lanes(connection)

    def put_off(self, task_types: Sequence[str]) -> list[PutOffRow]:
        """Return the tasks that wait for their time to run again. See `lane_statements.put_off`."""
        with self._database.reading() as connection:
            return lane_statements.put_off(connection, task_types)

    def any_ready(self, task_types: Sequence[str]) -> bool:
        """Return whether a task of one of these types waits and is due."""
        if not task_types:
            return False
        with self._database.reading() as connection:
            statement = read_statements.any_ready(len(task_types))
            bound = {f"p_type_{i}": name for i, name in enumerate(task_types)}
            return connection.execute(statement, bound).first() is not None

    def next_due(self) -> float | None:
        """Return the time when the next waiting task becomes due; None if there is none."""
        with self._database.reading() as connection:
            return queue_reads.next_due(connection)

    def next_expiry(self) -> float | None:
        """Return the time when the next task that has never begun expires; None if none does."""
        with self._database.reading() as connection:
            return expiry.next_expiry(connection)

    def place_of(self, task_id: str, lanes: Sequence[LaneAsk], limit: int) -> TaskPlace:
        """Return the place of a due task. See `queue_reads.place_of`."""
        with self._database.reading() as connection:
            return queue_reads.place_of(connection, task_id, lanes, limit)

    def open_bulks(self) -> list[BulkOperation]:
        """Return the open bulk operations of all namespaces, the oldest first."""
        with self._database.reading() as connection:
            return bulk.still_open(connection)

    def stats_since(self, minute: int) -> list[stats.MinuteRow]:
        """Return the statistics of a minute and of all later ones."""
        with self._database.reading() as connection:
            return stats.since(connection, minute)

    def stats_after(self, key: stats.RowKey, limit: int) -> list[stats.MinuteRow]:
        """Return the next rows of the statistics behind a key. See `stats_rows.after`."""
        with self._database.reading() as connection:
            return stats.after(connection, key, limit)

    def has_fine_stats(self, first: int, end: int) -> bool:
        """Return whether some minutes are not folded. See `raytasks.store.stats_rows.is_fine`."""
        with self._database.reading() as connection:
            return stats.is_fine(connection, first, end)

    def stats_by_pair(
        self, first: int, end: int, pair: tuple[str, str], limit: int
    ) -> list[stats.MinuteRow]:
        """Return rows of some minutes, pair by pair. See `raytasks.store.stats_rows.by_pair`."""
        with self._database.reading() as connection:
            return stats.by_pair(connection, first, end, pair, limit)

    def renew(self, epoch: int, now: float) -> None:
        """Make the cheapest possible write, which renews the epoch. Raises `Superseded`.

        On return, no transaction of an earlier call of this epoch is open any more. The reason:
        each of them locks the epoch first.
        """
        with self.transaction(now=now) as transaction:
            transaction.renew(epoch)
            transaction.finish()

    def give_up_connections(self) -> None:
        """Use new connections: a call hangs, and its connection does not come back."""
        self._database.give_up_connections()

    def number_version(
        self, epoch: int, token: str, generation: str, declarations: Mapping[str, str], now: float
    ) -> tuple[versions.VersionRow, bool]:
        """Return a version of the handlers by its token; see `version_rows.number`.

        Raises `Superseded`.
        """
        with self._database.writing() as connection:
            return versions.number(connection, epoch, token, generation, declarations, now)

    def judge_version(
        self,
        epoch: int,
        token: str,
        state: versions.VersionState,
        detail: str | None,
        by: str = UNKNOWN,
        now: float = 0.0,
    ) -> list[AuditEntry]:
        """Store the verdict on a version's trial. Raises `Superseded`.

        Returns the deployment as the audit has it; nothing if the verdict was there already.
        """
        with self._database.writing() as connection:
            row = versions.judge(connection, epoch, token, state, detail)
            if row is None:
                return []
            told = {"state": row.state.value, "generation": row.generation, "error": row.detail}
            act = NewAudit(by, ActionName.DEPLOY, target=str(row.number), details=told)
            return act_rows.write_audit(connection, [act], now)

    def versions(self, limit: int) -> list[versions.VersionRow]:
        """Return the newest versions of the handlers, the newest first."""
        with self._database.reading() as connection:
            return versions.newest(connection, limit)

    def version_declarations(self, limit: int) -> dict[int, dict[str, str]]:
        """Return what the newest versions declare: see `version_rows.declarations`."""
        with self._database.reading() as connection:
            return versions.declarations(connection, limit)

    def ping(self) -> None:
        """Raise `StoreUnavailable` if the database does not answer, or its file is gone."""
        self._database.check_file()
        with self._database.reading() as connection:
            connection.execute(read_statements.PING)

    def close(self) -> None:
        """Close all connections."""
        self._database.close()
