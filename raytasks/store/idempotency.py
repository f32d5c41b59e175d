"""The search for repeated submissions, by their idempotency keys.

A key that was answered is taken, whoever asks. It was answered with the task that has it, or with
the holder of a unique key: that one is an alias. One statement finds both.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from msgspec import json
from sqlalchemy import (
    Connection,
    Insert,
    Table,
    Text,
    any_,
    bindparam,
    cast,
    func,
    insert,
    literal_column,
    select,
    union_all,
)
from sqlalchemy.dialects.postgresql import ARRAY

from raytasks.model.tasks import Duplicate, NewTask
from raytasks.model.uniqueness import decode_unique
from raytasks.store import statements
from raytasks.store.compiled import CompiledQuery, arrays, postgres_dialect, sqlite_dialect
from raytasks.store.schema import KEYED, key_aliases, tasks

Look = Callable[[CompiledQuery, Mapping[str, Any]], Iterable[Sequence[Any]]]
"""Returns the rows that a query finds with some values."""

_ADD_ALIAS: Insert = insert(key_aliases)


class KeyAnswer(NamedTuple):
    """The task that answered an idempotency key, and the digest of the request.

    The task of an alias has another key, or none: it is the holder of the request's unique key.
    """

    task_id: str
    request_digest: str | None
    is_alias: bool


class TakenKeys:
    """The idempotency keys that were answered, each with its answers. None at first.

    A key has one answer. Earlier versions stored tasks with keys that were aliases: these have two.
    """

    def __init__(self) -> None:
        self.repeats = False
        self._answers: dict[tuple[str, str | None], list[KeyAnswer]] = {}

    def __bool__(self) -> bool:
        """Return whether a submission may be a duplicate: by a stored task, or by each other."""
        return self.repeats or bool(self._answers)

    def add(self, namespace: str, key: str, answer: KeyAnswer) -> None:
        """Add what was answered to a key."""
        self._answers.setdefault((namespace, key), []).append(answer)

    def take(self, task: NewTask, answer: str, *, is_alias: bool = False) -> None:
        """Let a submission take its key, if it has one: a task, by its id, is the answer."""
        if (key := task.idempotency_key) is not None:
            self.add(task.namespace, key, KeyAnswer(answer, task.request_digest, is_alias))

    def has(self, task: NewTask) -> bool:
        """Return whether a submission is the task that has its key: it was sent again."""
        found = self._answer(task)
        return found is not None and found.task_id == task.task_id

    def duplicate(self, task: NewTask) -> Duplicate | None:
        """Return the answer to a submission whose key another task has answered, or None."""
        found = self._answer(task)
        if found is None or found.task_id == task.task_id:
            return None
        same, asked = found.request_digest == task.request_digest, None
        if same and found.is_alias and task.unique_spec is not None:
            asked = decode_unique(task.unique_spec).on_conflict
        return Duplicate(found.task_id, same, asked)

    def _answer(self, task: NewTask) -> KeyAnswer | None:
        """Return the answer to the same request, if there is one; else the oldest one.

        Of two, the alias is older.
        """
        if task.idempotency_key is None:
            return None
        found = self._answers.get((task.namespace, task.idempotency_key))
        if found is None:
            return None
        return min(
            found,
            key=lambda one: (one.request_digest != task.request_digest, not one.is_alias),
        )


def find_taken(look: Look, new: Sequence[NewTask], *, postgres: bool) -> TakenKeys:
    """Return the keys of submissions that are taken, by one query for each namespace."""
    taken = TakenKeys()
    keys: dict[str, list[str]] = {}
    for task in new:
        if task.idempotency_key is not None:
            keys.setdefault(task.namespace, []).append(task.idempotency_key)
    for namespace, of_it in keys.items():
        given = arrays([(key,) for key in of_it])[0] if postgres else json.encode(of_it).decode()
        bound = {"p_namespace": namespace, "p_keys": given}
        for key, *answer in look(_answers(postgres=postgres), bound):
            task_id, digest, is_alias = answer
            taken.add(namespace, key, KeyAnswer(task_id, digest, bool(is_alias)))
        taken.repeats |= len(set(of_it)) < len(of_it)
    return taken


def find_duplicates(connection: Connection, new: Sequence[NewTask]) -> dict[str, Duplicate]:
    """Return the submissions whose key is taken, by a stored task or an earlier submission.

    The result is by the id of the submission. A submission that is stored itself is not in it.
    Keys count within their namespace.
    """

    def look(query: CompiledQuery, bound: Mapping[str, Any]) -> Iterable[Sequence[Any]]:
        return connection.exec_driver_sql(query.text, tuple(query.values(bound)))

    taken = find_taken(look, new, postgres=connection.dialect.name == "postgresql")
    found: dict[str, Duplicate] = {}
    for task in new if taken else ():
        repeated = taken.duplicate(task)
        if repeated is not None:
            found[task.task_id] = repeated
        elif not taken.has(task):
            taken.take(task, task.task_id)
    return found


def remember_answers(connection: Connection, answers: Sequence[tuple[NewTask, str]]) -> None:
    """Store the keys of submissions that were answered with other tasks, given by their ids.

    So the same request again has the same answer.
    """
    rows = [
        {
            "namespace": task.namespace,
            "idempotency_key": task.idempotency_key,
            "task_id": task_id,
            "request_digest": task.request_digest,
        }
        for task, task_id in answers
        if task.idempotency_key is not None
    ]
    if rows:
        connection.execute(_ADD_ALIAS, rows)


@cache
def _answers(*, postgres: bool) -> CompiledQuery:
    """Return the query for the answers to keys of a namespace.

    The keys are one value, an array or JSON: with a parameter for each the query takes many times
    as long.
    """
    given: Any = bindparam("p_keys", type_=Text())
    if postgres:
        keys: Any = any_(cast(given, ARRAY(Text())))
    else:
        keys = any_given = func.json_each(given).table_valued("value", name="given")
        keys = select(any_given.c.value)

    def of(table: Table, is_alias: int) -> Any:
        key = table.c.idempotency_key
        return select(
            key,
            cast(table.c.task_id, Text),
            table.c.request_digest,
            literal_column(str(is_alias)),
        ).where(
            table.c.namespace == statements.param("namespace"),
            key == keys if postgres else key.in_(keys),
        )

    owners = of(tasks, 0)
    if postgres:  # SQLite knows it by itself; told so, it walks through all keys of the namespace
        owners = owners.where(KEYED)
    found = union_all(owners, of(key_aliases, 1))
    return CompiledQuery(found, postgres_dialect() if postgres else sqlite_dialect())
