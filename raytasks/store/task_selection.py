"""The SQL of a filter for tasks: which index finds them, and what has to be checked then.

Tasks are always walked from the newest to the oldest. An index finds those with a tag, with an
error, or in a state, of all types or of one. Without a state, a walk goes through the states side
by side. The other parts of a filter are checked on each of them. For that, a walk looks at a
limited number of tasks, and the next call goes on from there.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Select,
    TextClause,
    and_,
    case,
    func,
    literal_column,
    select,
    true,
    union_all,
)
from sqlalchemy.sql.selectable import Subquery

from raytasks.model.states import State
from raytasks.model.task_filter import RESERVED, TaskFilter
from raytasks.store.schema import AT_REST, COMPLETED, RUNNING, UNCOMPLETED, task_tags, tasks
from raytasks.store.statements import param

STEP = 2000
"""Maximum number of tasks that a page of a list looks at, if they have to be checked. So its time
hardly depends on the filter."""

ID_SLACK_SECONDS = 3600.0
"""Seconds by which the time in a task's id may differ from its creation. The id is made by the
submitter's clock; the tracker's clock says when a task is created."""

NOT_RESERVED: ColumnElement[bool] = literal_column(
    f"substr(tasks.task_type, 1, {len(RESERVED)}) <> '{RESERVED}'", tasks.c.ready.type
)

SHOWN_SECONDS = 1e-6
"""The precision of times that people see, in seconds. A time that was shown is still the time."""


Condition = ColumnElement[bool] | TextClause
"""A condition on tasks, or its text, where it must be in the same words as that of an index."""


class Shape(NamedTuple):
    """The shape of a filter: which of its parts are there.

    `states` is how many states it has besides COMPLETED and RUNNING. `completed` and `running` are
    for these: no index has what runs by its type.
    """

    states: int
    completed: bool
    running: bool
    task_type: bool
    tag: bool
    error_type: bool
    after: bool
    before: bool
    ids_by_clock: bool
    cursor: bool

    @property
    def is_exact(self) -> bool:
        """Whether one index finds just the tasks of the filter, already in order."""
        return self.states + self.completed + self.running == 1 and not self.is_checked

    @property
    def is_checked(self) -> bool:
        """Whether tasks that an index finds have to be checked."""
        return self.tag or self.error_type or self.after or self.before

    @property
    def any_state(self) -> bool:
        """Whether the filter is for all states."""
        return not (self.states or self.completed or self.running)


def shape_of(asked: TaskFilter, *, cursor: bool) -> Shape:
    """Return the shape of a filter. With `cursor`, only tasks behind one are looked at."""
    return Shape(
        states=len(_at_rest(asked.states)),
        completed=State.COMPLETED in asked.states,
        running=State.RUNNING in asked.states,
        task_type=asked.task_type is not None,
        tag=asked.tag is not None,
        error_type=asked.error_type is not None,
        after=asked.created_after is not None,
        before=asked.created_before is not None,
        ids_by_clock=asked.ids_by_clock,
        cursor=cursor,
    )


def _at_rest(states: Iterable[State]) -> list[State]:
    return [state for state in states if state not in (State.COMPLETED, State.RUNNING)]


def bound(asked: TaskFilter, cursor: str | None) -> dict[str, Any]:
    """Return the parameters of a filter."""
    values: dict[str, Any] = {
        "p_namespace": asked.namespace,
        "p_task_type": asked.task_type,
        "p_tag": asked.tag,
        "p_error_type": asked.error_type,
        "p_cursor": cursor,
    }
    if asked.created_after is not None:
        values["p_after"] = asked.created_after - SHOWN_SECONDS / 2
        values["p_first_id"] = _first_id(asked.created_after - ID_SLACK_SECONDS)
    if asked.created_before is not None:
        values["p_before"] = asked.created_before - SHOWN_SECONDS / 2
        values["p_end_id"] = _first_id(asked.created_before + ID_SLACK_SECONDS)
    states = _at_rest(asked.states)
    return values | {f"p_state_{i}": state.value for i, state in enumerate(states)}


def _first_id(seconds: float) -> str:
    """Return the smallest id (a UUID of version 7) of a time."""
    text = f"{min(max(int(seconds * 1000), 0), 2**48 - 1):012x}"
    return f"{text[:8]}-{text[8:]}-0000-0000-000000000000"


def exactly(shape: Shape, columns: Any) -> Select[Any]:
    """Return the query for a page of tasks, newest first, for a filter that is exact."""
    assert shape.is_exact, shape
    [conditions] = _walks(shape, shown=True)
    statement = select(*columns).where(*conditions)
    return statement.order_by(tasks.c.task_id.desc()).limit(param("limit")).offset(param("offset"))


@cache
def walked(shape: Shape, *, shown: bool = False) -> Subquery:
    """Return the ids that indexes find: newest first, up to a limit.

    With `shown`, tasks of raytasks itself do not count for the limit.
    """
    if shape.tag:
        ids = task_tags.c.task_id
        places = [task_tags.c.namespace == param("namespace"), task_tags.c.tag == param("tag")]
        return _newest(ids, [*places, *_between(shape, ids)])
    each = [_newest(tasks.c.task_id, conditions) for conditions in _walks(shape, shown=shown)]
    if len(each) == 1:
        return each[0]
    found = union_all(*[select(one.c.task_id) for one in each]).subquery("found")
    return _newest(found.c.task_id, [])


def _newest(ids: Any, conditions: Sequence[Condition]) -> Subquery:
    return (
        select(ids).where(*conditions).order_by(ids.desc()).limit(param("step")).subquery("walked")
    )


def newest(shape: Shape) -> Select[str]:
    """Return the query for the ids of a page, newest first, for a filter that is not checked."""
    assert not shape.is_checked, shape
    ids = walked(shape, shown=True).c.task_id
    return select(ids).order_by(ids.desc()).limit(param("limit")).offset(param("offset"))


def last_walked(shape: Shape) -> Select[str]:
    """Return the query for the last id that a walk of a full step looks at, if there is one."""
    ids = walked(shape).c.task_id
    return select(ids).order_by(ids.desc()).limit(1).offset(param("offset"))


def checked(shape: Shape) -> Select[str]:
    """Return the query for the ids of a filter's tasks among those that an index finds."""
    found = walked(shape)
    statement = select(found.c.task_id).join(tasks, tasks.c.task_id == found.c.task_id)
    statement = statement.where(matches(shape))
    return statement.order_by(found.c.task_id.desc()).limit(param("limit"))


def looked_at(shape: Shape, columns: Any) -> Select[Any]:
    """Return the query for all tasks that an index finds, each with whether the filter takes it."""
    found = walked(shape)
    flag = case((matches(shape), 1), else_=0)
    return select(flag, *columns).select_from(found.join(tasks, tasks.c.task_id == found.c.task_id))


def counted(shape: Shape) -> Select[int, int]:
    """Return the query that counts the tasks that an index finds, and those of the filter."""
    found = walked(shape)
    hits = func.count(case((matches(shape), 1)))
    return select(func.count(), hits).select_from(
        found.join(tasks, tasks.c.task_id == found.c.task_id)
    )


def matches(shape: Shape) -> ColumnElement[bool]:
    """Return the condition that a task that an index finds is one of the filter's."""
    conditions: list[ColumnElement[bool]] = []
    by_index = not (shape.tag or shape.error_type)
    if shape.task_type and not by_index:
        conditions.append(tasks.c.task_type == param("task_type"))
    if not shape.task_type:
        conditions.append(NOT_RESERVED)
    if not (by_index or shape.any_state):
        states = [param(f"state_{i}") for i in range(shape.states)]
        states += [State.COMPLETED.value] * shape.completed
        states += [State.RUNNING.value] * shape.running
        conditions.append(tasks.c.state.in_(states))
    if shape.error_type and shape.tag:
        conditions.append(tasks.c.error_type == param("error_type"))
    if shape.after:
        conditions.append(tasks.c.created_at >= param("after"))
    if shape.before:
        conditions.append(tasks.c.created_at < param("before"))
    return and_(true(), *conditions)


def _walks(shape: Shape, *, shown: bool) -> list[list[Condition]]:
    """Return the conditions that indexes of tasks serve: for each walk through one of them.

    With `shown`, a walk passes over the tasks of raytasks itself.
    """
    common: list[Condition] = [tasks.c.namespace == param("namespace")]
    if shape.error_type:
        # The first is what its index is for; it says so in the same words.
        common.append(tasks.c.error_type.is_not(None))
        common.append(tasks.c.error_type == param("error_type"))
    elif shape.task_type:
        common.append(tasks.c.task_type == param("task_type"))
    elif shown:
        common.append(NOT_RESERVED)
    common += _between(shape, tasks.c.task_id)
    if shape.error_type:
        return [common]
    states: list[ColumnElement[Any]] = [param(f"state_{i}") for i in range(shape.states)]
    if shape.any_state:
        states = [literal_column(f"'{state}'") for state in _at_rest(State)]
    of_index = AT_REST if shape.task_type else UNCOMPLETED
    walks: list[list[Condition]] = [[of_index, tasks.c.state == state, *common] for state in states]
    if shape.any_state or shape.running:
        walks.append([UNCOMPLETED, RUNNING, *common])
    if shape.any_state or shape.completed:
        walks.append([COMPLETED, *common])
    return walks


def _between(shape: Shape, ids: Any) -> list[ColumnElement[bool]]:
    """Return the conditions on the ids: behind the cursor, and from about the right time."""
    conditions: list[ColumnElement[bool]] = []
    if shape.cursor:
        conditions.append(ids < param("cursor"))
    if shape.before and shape.ids_by_clock:
        conditions.append(ids < param("end_id"))
    if shape.after and shape.ids_by_clock:
        conditions.append(ids >= param("first_id"))
    return conditions
