"""The re-laning of waiting tasks, in small steps, after a new version has changed keyed limits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, bindparam, func, select

from raytasks.model.lane_names import lane_of
from raytasks.model.limit_places import LimitPlaces
from raytasks.model.states import WAITING
from raytasks.store.count_steps import read_counts
from raytasks.store.lane_rows import LanePlace, ReadyChange
from raytasks.store.limit_place_rows import write_places
from raytasks.store.schema import AT_REST, READY, tasks
from raytasks.store.transaction import Transaction

STEP = 500
"""Maximum number of tasks that one step looks at."""

STEP_BYTES = 16 * 1024 * 1024
"""Maximum bytes of payloads that one step reads. A single larger one is read by itself."""

Compute = Callable[[str, str | None], str | None]
"""The limit values (JSON) for a payload and for the present values (JSON). A payload in a file is
given as `null`."""


class LaneCursor(NamedTuple):
    """The last task that was looked at: steps go by namespace, then by state, then by id."""

    namespace: str = ""
    state: str = ""
    task_id: str = ""


class RelaneStep(NamedTuple):
    """One step: the next waiting tasks of a type from the cursor on, or ready ones of `lanes`.

    The first and the last step of a walk store the `places` of the type. After the last one, all
    waiting tasks are known to have their values from there.
    """

    task_type: str
    cursor: LaneCursor
    compute: Compute
    lanes: tuple[str, ...] = ()
    places: LimitPlaces | None = None


@dataclass
class RelaneResult:
    """The result of a step: `changed` tasks have new values.

    Without a `cursor`, no more tasks are left.
    """

    cursor: LaneCursor | None = None
    looked_at: int = 0
    changed: int = 0
    ready_changes: list[ReadyChange] = field(default_factory=list)


_FIRST_ID = "00000000-0000-0000-0000-000000000000"

_IN_PLACE = (
    AT_REST,
    tasks.c.namespace == bindparam("p_namespace"),
    tasks.c.task_type == bindparam("p_task_type"),
    tasks.c.state == bindparam("p_state"),
)

_SIZES: Select[Any] = (
    select(tasks.c.task_id, func.length(tasks.c.payload))
    .where(*_IN_PLACE, tasks.c.task_id > bindparam("p_cursor"))
    .order_by(tasks.c.task_id)
    .limit(bindparam("p_limit"))
)

_IN_LANES: Select[Any] = (
    select(tasks.c.task_id, func.length(tasks.c.payload))
    .where(
        READY,
        tasks.c.task_type == bindparam("p_task_type"),
        tasks.c.lane.in_(bindparam("p_lanes", expanding=True)),
    )
    .order_by(tasks.c.lane, tasks.c.rank, tasks.c.task_id)
    .limit(bindparam("p_limit"))
)

_ROWS: Select[Any] = select(
    *(tasks.c[name] for name in ("task_id", "task_type", "lane", "namespace", "limit_values")),
    *(tasks.c[name] for name in ("rank", "ready", "attempt", "payload")),
).where(tasks.c.task_id.in_(bindparam("p_task_ids", expanding=True)))


def relane(transaction: Transaction, step: RelaneStep) -> RelaneResult:
    """Compute the limit values of the next waiting tasks of a type, and move them to their lanes.

    Call `finish` of the transaction after it. What runs keeps its lane.
    """
    if step.lanes:
        return _relane_ready(transaction, step)
    done = _walk(transaction, step.task_type, step.cursor, step.compute)
    if step.places is not None and (step.cursor == LaneCursor() or done.cursor is None):
        places = step.places._replace(moved=done.cursor is None)
        write_places(transaction.connection, step.task_type, places)
    return done


def renew(transaction: Transaction, task_ids: Sequence[str], compute: Compute) -> None:
    """Do the same for single tasks that wait since this transaction."""
    for start in range(0, len(task_ids), STEP):
        _move(transaction, task_ids[start : start + STEP], compute)


def _walk(
    transaction: Transaction, task_type: str, cursor: LaneCursor, compute: Compute
) -> RelaneResult:
    for namespace, state in _places(transaction.connection, task_type):
        if (namespace, state) < cursor[:2]:
            continue
        first = cursor.task_id if (namespace, state) == cursor[:2] else _FIRST_ID
        bound: dict[str, Any] = {
            "p_namespace": namespace,
            "p_state": state,
            "p_task_type": task_type,
        }
        bound |= {"p_cursor": first, "p_limit": STEP}
        if found := _within_bytes(transaction.connection.execute(_SIZES, bound).all()):
            done = _move(transaction, found, compute)
            done.cursor = LaneCursor(namespace, state, found[-1])
            return done
    return RelaneResult()


def _relane_ready(transaction: Transaction, step: RelaneStep) -> RelaneResult:
    bound = {"p_task_type": step.task_type, "p_lanes": list(step.lanes), "p_limit": STEP}
    found = _within_bytes(transaction.connection.execute(_IN_LANES, bound).all())
    return _move(transaction, found, step.compute) if found else RelaneResult()


def _places(connection: Connection, task_type: str) -> list[tuple[str, str]]:
    """Return where tasks of a type wait: namespaces and states, in order."""
    return sorted(
        (namespace, state.value)
        for (namespace, name, state), number in read_counts(connection).items()
        if name == task_type and state in WAITING and number > 0
    )


def _within_bytes(rows: Sequence[Any]) -> list[str]:
    """Return the first ids whose payloads are few enough bytes together."""
    found: list[str] = []
    total = 0
    for task_id, size in rows:
        total += 4 * size  # it is in characters
        if found and total > STEP_BYTES:
            break
        found.append(task_id)
    return found


def _move(transaction: Transaction, task_ids: Sequence[str], compute: Compute) -> RelaneResult:
    done = RelaneResult(looked_at=len(task_ids))
    rows = transaction.connection.execute(_ROWS, {"p_task_ids": list(task_ids)})
    moves: list[tuple[Any, LanePlace]] = []
    for row in rows:
        values = compute(row.payload, row.limit_values)
        lane = lane_of(row.namespace, values)
        if (lane, values) != (row.lane, row.limit_values):
            moves.append((row, LanePlace(row.task_type, lane, row.namespace, values)))
    transaction.move_to_lanes(moves)
    done.changed = len(moves)
    return done
