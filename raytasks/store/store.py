"""The store: what the tracker can do with the database, each call one transaction.

Calls block; the tracker makes them in a thread of their own. Each may raise `StoreUnavailable`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from raytasks.models import Attempt, Page, Running, Task, TaskQuery
from raytasks.states import State
from raytasks.store import statements
from raytasks.store.database import Database
from raytasks.store.transaction import Superseded, Transaction, task_from

Counts = Mapping[tuple[str, State], int]
"""How many tasks there are, by task type and state."""


class Store:
    """Reads and transactions on the database at `url`."""

    def __init__(self, url: str, *, priority_step: float = 60.0) -> None:
        self._database = Database(url)
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
            row = connection.execute(statements.EPOCH).one()
            return row.owner, row.renewed_at

    def paused_at(self) -> float | None:
        """Return since when no task is to be handed out, or None."""
        with self._database.reading() as connection:
            paused_at: float | None = connection.execute(statements.EPOCH).one().paused_at
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

    @contextmanager
    def transaction(self, *, now: float) -> Iterator[Transaction]:
        """One write transaction; committed when the block ends without an error."""
        with self._database.writing() as connection:
            yield Transaction(connection, now=now, priority_step=self._priority_step)

    def tasks(self, task_ids: Sequence[str]) -> dict[str, Task]:
        """Return those of the tasks that exist, by id."""
        if not task_ids:
            return {}
        with self._database.reading() as connection:
            rows = connection.execute(statements.BY_IDS, {"p_task_ids": list(task_ids)})
            return {row.task_id: task_from(row) for row in rows}

    def task_with_attempts(self, task_id: str) -> tuple[Task, list[Attempt]] | None:
        """Return a task and its ended attempts, both as of one moment; None if there is none."""
        with self._database.reading() as connection:
            row = connection.execute(statements.BY_IDS, {"p_task_ids": [task_id]}).first()
            if row is None:
                return None
            history = connection.execute(statements.ATTEMPTS_OF, {"p_task_id": task_id})
            return task_from(row), [Attempt(*attempt) for attempt in history]

    def page(self, query: TaskQuery) -> Page:
        """Return the tasks that the query asks for, newest first, and how many there are."""
        statement = statements.listing(
            state=query.state is not None, task_type=query.task_type is not None
        )
        bound: dict[str, int | str | None] = {
            "p_limit": query.limit,
            "p_offset": query.offset,
            "p_state": query.state,
            "p_task_type": query.task_type,
        }
        with self._database.reading() as connection:
            rows = [task_from(row) for row in connection.execute(statement, bound)]
            counted = connection.execute(statements.COUNTS)
            total = sum(
                number
                for task_type, state, number in counted
                if query.state in (None, state) and query.task_type in (None, task_type)
            )
        return Page(rows, total)

    def counts(self) -> Counts:
        """Return how many tasks there are, by task type and state."""
        with self._database.reading() as connection:
            rows = connection.execute(statements.COUNTS)
            return {(task_type, State(state)): number for task_type, state, number in rows}

    def running(self) -> list[Running]:
        """Return the attempts that run, or did when the last tracker died."""
        with self._database.reading() as connection:
            return [Running(*row) for row in connection.execute(statements.RUNNING_TASKS)]

    def any_ready(self, task_types: Sequence[str]) -> bool:
        """Return whether a task of one of these types waits and is due."""
        if not task_types:
            return False
        with self._database.reading() as connection:
            statement = statements.any_ready(len(task_types))
            bound = {f"p_type_{i}": name for i, name in enumerate(task_types)}
            return connection.execute(statement, bound).first() is not None

    def next_due(self) -> float | None:
        """Return when the next task that waits for its time is due, or None."""
        with self._database.reading() as connection:
            due: float | None = connection.execute(statements.NEXT_DUE).scalar()
            return due

    def ping(self) -> None:
        """Raise `StoreUnavailable` if the database does not answer."""
        with self._database.reading() as connection:
            connection.execute(statements.PING)

    def close(self) -> None:
        """Close all connections."""
        self._database.close()
