"""The counts and totals in SQL: what is folded, and the steps that were appended since.

What is read is the sum of both. A step leaves out the totals that its counts imply, as all of
it goes through PostgreSQL's log: see `_implied`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, Select, delete, func, select

from raytasks.model.states import FINAL, State
from raytasks.store import batch_statements
from raytasks.store.compiled import RowStatement, Values, Words
from raytasks.store.count_changes import FINISHED, SUBMITTED, CountChanges, Counted, Total
from raytasks.store.count_tables import count_steps
from raytasks.store.cursors import Direct
from raytasks.store.service_tables import task_counts, totals

NAMESPACES: Select[Any] = select(task_counts.c.namespace).union(select(count_steps.c.namespace))  # type: ignore[assignment]
"""The namespaces that have, or had, tasks."""

_CODES = {
    State.PENDING: "P",
    State.RUNNING: "R",
    State.RETRYING: "T",
    State.COMPLETED: "C",
    State.FAILED: "F",
    State.CANCELLED: "X",
}
_STATES = {code: state for state, code in _CODES.items()} | {
    state.value: state
    for state in State  # as a step had them before it was released
}
_FINAL = {_CODES[state]: f"{FINISHED}{state}" for state in sorted(FINAL)}
_COUNTS = select(*task_counts.c)
_BY_STATE = select(task_counts.c.state, func.sum(task_counts.c.tasks)).group_by(task_counts.c.state)
_TOTALS = select(*totals.c)
_STEPS = select(*count_steps.c)
_TAKE = delete(count_steps).returning(*count_steps.c)

_encode = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder(dict[str, int]).decode


def _append(values: Values, words: Words) -> Any:
    return words.insert(count_steps, values)


APPEND = RowStatement({column.name: column for column in count_steps.c}, _append)


def read_counts(connection: Connection) -> dict[Counted, int]:
    """Return the number of tasks by namespace, task type and state; also zeros."""
    counts, _ = _added_up(connection.execute(_STEPS))
    for namespace, task_type, state, number in connection.execute(_COUNTS):
        counts[namespace, task_type, State(state)] += number
    return counts


def read_states(connection: Connection, *, has_steps: bool) -> dict[State, int]:
    """Return the number of tasks by state, in the order of their names; without zeros.

    The tables of an earlier version have no steps, and may have no namespaces.
    """
    states: Counter[State] = Counter()
    for state, number in connection.execute(_BY_STATE):
        states[State(state)] += int(number)
    counts, _ = _added_up(connection.execute(_STEPS) if has_steps else ())
    for (_, _, changed), number in counts.items():
        states[changed] += number
    return {state: number for state, number in sorted(states.items()) if number}


def read_totals(connection: Connection) -> dict[Total, int]:
    """Return all totals, by namespace, task type and name, in this order."""
    _, added = _added_up(connection.execute(_STEPS))
    for namespace, task_type, name, value in connection.execute(_TOTALS):
        added[namespace, task_type, name] += value
    return dict(sorted(added.items()))


def write(direct: Direct, changes: CountChanges) -> dict[Counted, int]:
    """Append what a transaction has changed; return the changes of the counts."""
    counts = {key: change for key, change in changes.counts.items() if change}
    steps: dict[tuple[str, str], dict[str, int]] = {}
    for (namespace, task_type, state), change in counts.items():
        steps.setdefault((namespace, task_type), {})[_CODES[state]] = change
    implied = {key: _implied(step) for key, step in steps.items()}
    for (namespace, task_type, name), number in changes.totals.items():
        kind = namespace, task_type
        if implied.get(kind, {}).pop(name, 0) != number:
            steps.setdefault(kind, {})[name] = number
    for kind, unsaid in implied.items():  # what the counts imply, but did not happen
        steps[kind].update(dict.fromkeys(unsaid, 0))
    if steps:
        rows = [(*key, _encode(step).decode()) for key, step in sorted(steps.items())]
        direct.write(APPEND, rows)
    return counts


def fold(connection: Connection, direct: Direct) -> None:
    """Add all steps to the counts and totals, and delete them.

    Only a transaction that holds the epoch's lock may do so: nobody else appends meanwhile.
    """
    counts, added = _added_up(connection.execute(_TAKE))
    _add(direct, batch_statements.COUNT, counts.items())
    _add(direct, batch_statements.ADD_TOTAL, added.items())


def _added_up(steps: Iterable[Any]) -> tuple[Counter[Counted], Counter[Total]]:
    """Return the sums of steps: of the counts, and of the totals."""
    texts = Counter((namespace, task_type, changes) for namespace, task_type, changes in steps)
    counts: Counter[Counted] = Counter()
    added: Counter[Total] = Counter()
    for (namespace, task_type, changes), times in texts.items():  # most are the same
        step = _decode(changes)
        for name, change in (_implied(step) | step).items():
            if (state := _STATES.get(name)) is not None:
                counts[namespace, task_type, state] += change * times
            else:
                added[namespace, task_type, name] += change * times
    return counts, added


def _implied(step: Mapping[str, int]) -> dict[str, int]:
    """Return the totals that the counts of a step imply, unless it says otherwise itself.

    More tasks than before were submitted. More tasks in a final state have finished.
    """
    implied = {name: step[code] for code, name in _FINAL.items() if step.get(code, 0) > 0}
    if (more := sum(step.get(code, 0) for code in _CODES.values())) > 0:
        implied[SUBMITTED] = more
    return implied


def _add(direct: Direct, batch: RowStatement, items: Iterable[tuple[Any, int]]) -> None:
    if rows := [(*key, number) for key, number in sorted(items)]:
        direct.write(batch, rows)
