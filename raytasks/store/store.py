"""The store: what the tracker can do with the database, each call one transaction.

Calls block; the tracker makes them in a thread of their own. Each may raise `StoreUnavailable`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from sqlalchemy import Connection

from raytasks.model.bulk import BulkFilter, BulkOperation
from raytasks.model.events import EventPage, EventQuery
from raytasks.model.states import State
from raytasks.model.tasks import Attempt, Duplicate, NewTask, Page, Running, Task, TaskQuery
from raytasks.protocol.messages import Ends, TaskEnd
from raytasks.store import bulk, files, read_statements, statements, stats, versions
from raytasks.store.cursors import direct
from raytasks.store.database import Database
from raytasks.store.event_reads import read_events
from raytasks.store.idempotency import find_duplicates
from raytasks.store.transaction import Counted, Superseded, Transaction, task_from

Counts = Mapping[Counted, int]
"""How many tasks there are, by namespace, task type and state."""


class Store:
    """Reads and transactions on the database at `url`; with `reads_only` no transactions."""

    def __init__(self, url: str, *, priority_step: float = 60.0, reads_only: bool = False) -> None:
        self._database = Database(url, reads_only=reads_only)
        self._priority_step = priority_step

    def upgrade(self) -> None:
        """Apply the migrations that are missing."""
        self._database.upgrade()

    def begin_epoch(self, now: float, owner: str = "") -> int:
        """Take the database over, and return the number of the new epoch.

        From here on, ticks of every earlier epoch fail with `Superseded`.
        """
        bound = {"p_now": now, "p_owner": owner}
        with self._database.writing() as connection:
            epoch: int = connection.execute(statements.BEGIN_EPOCH, bound).scalar_one()
            return epoch

    def epoch_owner(self) -> tuple[str | None, float]:
        """Return whose the present epoch is, and when it was last renewed, by its own clock."""
        with self._database.reading() as connection:
            row = connection.execute(read_statements.EPOCH).one()
            return row.owner, row.renewed_at

    def paused_at(self) -> float | None:
        """Return since when no task is to be handed out, or None."""
        with self._database.reading() as connection:
            paused_at: float | None = connection.execute(read_statements.EPOCH).one().paused_at
            return paused_at

    def set_paused(self, epoch: int, paused_at: float | None) -> None:
        """Keep since when no task is to be handed out. Raises `Superseded`."""
        bound = {"p_epoch": epoch, "p_paused_at": paused_at}
        with self._database.writing() as connection:
            if connection.execute(statements.SET_PAUSED, bound).rowcount != 1:
                raise Superseded(f"epoch {epoch} has ended")

    def outdated(self, before: float, limit: int) -> list[str]:
        """Return the ids of tasks that ended before this time, the oldest first."""
        with self._database.reading() as connection:
            rows = connection.execute(statements.OUTDATED, {"p_before": before, "p_limit": limit})
            return list(rows.scalars())

    def duplicates(self, new: Sequence[NewTask]) -> dict[str, Duplicate]:
        """Return those of the submissions whose key is taken. See `Transaction.duplicates`."""
        with self._database.reading() as connection:
            return find_duplicates(connection, new)

    def files_due(self, now: float, limit: int) -> list[files.FileKey]:
        """Return files that are to be removed now. See `raytasks.store.files.due`."""
        with self._database.reading() as connection:
            return files.due(connection, now, limit)

    def database_id(self) -> str:
        """Return what tells this database from all others, the same in all its life."""
        with self._database.writing() as connection:
            return files.database_id(connection)

    def known(self, task_ids: Sequence[str]) -> set[str]:
        """Return those of the ids that are ids of tasks."""
        with self._database.reading() as connection:
            return files.known(connection, task_ids)

    @contextmanager
    def transaction(self, *, now: float) -> Iterator[Transaction]:
        """One write transaction; committed when the block ends without an error."""
        with self._database.writing() as connection, direct(connection) as driver:
            yield Transaction(connection, driver, now=now, priority_step=self._priority_step)

    def tasks(self, task_ids: Sequence[str]) -> dict[str, Task]:
        """Return those of the tasks that exist, by id."""
        if not task_ids:
            return {}
        with self._database.reading() as connection:
            rows = connection.execute(statements.BY_IDS, {"p_task_ids": list(task_ids)})
            return {row.task_id: task_from(row) for row in rows}

    def ends(self, task_ids: Sequence[str]) -> Ends:
        """Return which of these tasks have ended, and which do not exist."""
        if not task_ids:
            return Ends()
        with self._database.reading() as connection:
            rows = connection.execute(statements.ENDS, {"p_task_ids": list(task_ids)}).all()
        found = [TaskEnd(row[0], row[1], State(row[2]), *row[3:]) for row in rows]
        return Ends(
            ended=[end for end in found if end.state.final],
            unknown=list({*task_ids} - {end.task_id for end in found}),
        )

    def task_with_attempts(self, task_id: str) -> tuple[Task, list[Attempt]] | None:
        """Return a task and its newest ended attempts, as of one moment; None if there is none."""
        with self._database.reading() as connection:
            row = connection.execute(statements.BY_IDS, {"p_task_ids": [task_id]}).first()
            if row is None:
                return None
            history = connection.execute(read_statements.ATTEMPTS_OF, {"p_task_id": task_id})
            return task_from(row), [Attempt(*attempt) for attempt in history][::-1]

    def events(self, queries: Sequence[EventQuery], limit: int) -> list[EventPage | None]:
        """Return the events that each query asks for, at most `limit` in all, as of one moment.

        None where there is no such task in the query's namespace.
        """
        with self._database.reading() as connection:
            return read_events(connection, queries, limit)

    def page(self, query: TaskQuery) -> Page:
        """Return the tasks that the query asks for, newest first, and how many there are."""
        with self._database.reading() as connection:
            if query.tag is not None:
                return _page_by_tag(connection, query)
            statement = read_statements.listing(
                state=query.state is not None,
                task_type=query.task_type is not None,
                cursor=query.cursor is not None,
            )
            # One more than asked for, to know whether there are more.
            found = connection.execute(statement, _bound(query, query.limit + 1))
            rows = [task_from(row) for row in found]
            counted = connection.execute(read_statements.COUNTS)
            total = sum(
                number
                for namespace, task_type, state, number in counted
                if namespace == query.namespace
                and query.state in (None, state)
                and query.task_type in (None, task_type)
            )
        more = len(rows) > query.limit
        rows = rows[: query.limit]
        return Page(rows, total, rows[-1].task_id if more else None)

    def counts(self) -> Counts:
        """Return how many tasks there are, by namespace, task type and state."""
        with self._database.reading() as connection:
            rows = connection.execute(read_statements.COUNTS)
            return {(space, name, State(state)): number for space, name, state, number in rows}

    def running(self) -> list[Running]:
        """Return the attempts that run, or did when the last tracker died."""
        with self._database.reading() as connection:
            rows = connection.execute(read_statements.RUNNING_TASKS)
            return [Running(*row) for row in rows]

    def any_ready(self, task_types: Sequence[str]) -> bool:
        """Return whether a task of one of these types waits and is due."""
        if not task_types:
            return False
        with self._database.reading() as connection:
            statement = read_statements.any_ready(len(task_types))
            bound = {f"p_type_{i}": name for i, name in enumerate(task_types)}
            return connection.execute(statement, bound).first() is not None

    def next_due(self) -> float | None:
        """Return when the next task that waits for its time is due, or None."""
        with self._database.reading() as connection:
            due: float | None = connection.execute(statements.NEXT_DUE).scalar()
            return due

    def open_bulks(self) -> list[BulkOperation]:
        """Return the bulk operations of all namespaces that are not done, the oldest first."""
        with self._database.reading() as connection:
            return bulk.still_open(connection)

    def bulk(self, bulk_id: str, namespace: str) -> BulkOperation | None:
        """Return a bulk operation, or None if the namespace has none of this id."""
        with self._database.reading() as connection:
            return bulk.one(connection, bulk_id, namespace)

    def bulks(self, namespace: str) -> list[BulkOperation]:
        """Return the newest bulk operations of a namespace, the newest first."""
        with self._database.reading() as connection:
            return bulk.newest(connection, namespace)

    def count_bulk(self, asked: BulkFilter) -> int | None:
        """Return how many tasks a filter matches now. See `raytasks.store.bulk.count`."""
        with self._database.reading() as connection:
            return bulk.count(connection, asked)

    def stats_since(self, minute: int) -> list[stats.MinuteRow]:
        """Return the statistics of a minute and of all later ones."""
        with self._database.reading() as connection:
            return stats.since(connection, minute)

    def stats_after(self, key: stats.RowKey, limit: int) -> list[stats.MinuteRow]:
        """Return the next rows of the statistics behind a key. See `raytasks.store.stats.after`."""
        with self._database.reading() as connection:
            return stats.after(connection, key, limit)

    def has_fine_stats(self, first: int, end: int) -> bool:
        """Return whether some minutes are not folded. See `raytasks.store.stats.is_fine`."""
        with self._database.reading() as connection:
            return stats.is_fine(connection, first, end)

    def stats_by_pair(
        self, first: int, end: int, pair: tuple[str, str], limit: int
    ) -> list[stats.MinuteRow]:
        """Return rows of some minutes, pair by pair. See `raytasks.store.stats.by_pair`."""
        with self._database.reading() as connection:
            return stats.by_pair(connection, first, end, pair, limit)

    def renew(self, epoch: int, now: float) -> None:
        """Make the cheapest write that there is: the epoch is still the tracker's.

        When it returns, no transaction of an earlier call of this epoch is open any more: each of
        them locks the epoch's row before anything else. Raises `Superseded`.
        """
        with self.transaction(now=now) as transaction:
            transaction.renew(epoch)
            transaction.finish()

    def give_up_connections(self) -> None:
        """Go on with new connections: a call hangs, and its connection does not come back."""
        self._database.give_up_connections()

    def number_version(
        self, epoch: int, token: str, generation: str, now: float
    ) -> tuple[versions.VersionRow, bool]:
        """Return a version of the handlers by its token, and whether it is new.

        A new one gets the next number. Raises `Superseded`.
        """
        with self._database.writing() as connection:
            return versions.number(connection, epoch, token, generation, now)

    def judge_version(
        self, epoch: int, token: str, state: versions.VersionState, detail: str | None
    ) -> None:
        """Keep how the trial of a version ended. Raises `Superseded`."""
        with self._database.writing() as connection:
            versions.judge(connection, epoch, token, state, detail)

    def versions(self, limit: int) -> list[versions.VersionRow]:
        """Return the newest versions of the handlers, the newest first."""
        with self._database.reading() as connection:
            return versions.newest(connection, limit)

    def ping(self) -> None:
        """Raise `StoreUnavailable` if the database does not answer, or its file is gone."""
        self._database.check_file()
        with self._database.reading() as connection:
            connection.execute(read_statements.PING)

    def close(self) -> None:
        """Close all connections."""
        self._database.close()


def _bound(query: TaskQuery, limit: int) -> dict[str, int | str | None]:
    return {
        "p_namespace": query.namespace,
        "p_limit": limit,
        "p_offset": query.offset,
        "p_cursor": query.cursor,
        "p_state": query.state,
        "p_task_type": query.task_type,
        "p_tag": query.tag,
    }


def _page_by_tag(connection: Connection, query: TaskQuery) -> Page:
    """Return those of the next tasks with a tag, newest first, that the filters match."""
    statement = read_statements.tagged_matching(
        state=query.state is not None,
        task_type=query.task_type is not None,
        cursor=query.cursor is not None,
    )
    # One more than asked for, to know whether there are more.
    ids = list(connection.execute(statement, _bound(query, query.limit + 1)).scalars())
    more = len(ids) > query.limit
    ids = ids[: query.limit]
    rows = connection.execute(statements.BY_IDS, {"p_task_ids": ids}) if ids else ()
    tasks = {row.task_id: task_from(row) for row in rows}
    page = [tasks[task_id] for task_id in ids]
    if more:
        return Page(page, None, ids[-1])
    last = read_statements.tagged(cursor=query.cursor is not None)
    bound = {**_bound(query, 1), "p_offset": read_statements.TAG_STEP - 1}
    return Page(page, None, connection.execute(last, bound).scalar())
