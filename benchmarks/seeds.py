"""Databases with a great many tasks in them, made straight in SQL: over HTTP it would take long.

A seed is a SQLite file that is made once in a run; each measurement gets a copy.
"""

import itertools
import json
import os
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import uuid_utils
from sqlalchemy import Connection, insert

from benchmarks.handlers import NOOP, SLEEP
from raytasks.model.acts import UNKNOWN
from raytasks.model.states import FINAL, WAITING, OutcomeKind, State
from raytasks.model.steering import Pause
from raytasks.model.tasks import DEFAULT_NAMESPACE
from raytasks.store.database import Database
from raytasks.store.schema import attempts, task_tags, tasks
from raytasks.store.service_tables import task_counts
from raytasks.store.store import Store

COMMON_TAG = "common"
RARE_TAG = "rare"
NO_TAG = "nobody-has-it"

_CHUNK = 10_000
_RARE = 10_000
_STATES = (
    *(State.COMPLETED,) * 12,
    *(State.PENDING,) * 5,
    State.FAILED,
    State.CANCELLED,
    State.RETRYING,
)
_YEAR = 365 * 86_400.0


class Seeds:
    """The seeds of a run, in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def queued(self, number: int) -> Path:
        """Return a database with so many queued no-ops; it is paused, so that none is run."""
        return self._seed(f"queued-{number}", _queued(number))

    def mixed(self, number: int) -> Path:
        """Return a database with tasks of all kinds, to be listed; none of them is due."""
        return self._seed(f"mixed-{number}", _mixed(number))

    def _seed(self, name: str, rows: Iterable[dict[str, Any]]) -> Path:
        path = self._folder / f"{name}.db"
        if not path.exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            made = path.with_suffix(".new")
            fill(f"sqlite:///{made}", rows)
            _sync(made)
            made.rename(path)
        return path


def copied(seed: Path, folder: Path) -> str:
    """Copy a seed into a folder, and return its URL."""
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / "tasks.db"
    shutil.copyfile(seed, copy)
    _sync(copy)
    return f"sqlite:///{copy}"


def _sync(path: Path) -> None:
    """Sync a file to disk: else the first sync of a service would have to wait for all of it."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def fill(url: str, rows: Iterable[dict[str, Any]]) -> None:
    """Make our tables, put tasks into them with all that belongs to them, and pause."""
    store = Store(url)
    store.upgrade()
    pause = Pause("", "", since=time.time(), until=None, by=UNKNOWN, drain=True)
    store.steer(store.begin_epoch(time.time()), [pause], [], time.time())
    store.close()
    database = Database(url)
    counts: Counter[tuple[str, State]] = Counter()
    iterator = iter(rows)
    while chunk := list(itertools.islice(iterator, _CHUNK)):
        counts.update((row["task_type"], row["state"]) for row in chunk)
        with database.writing() as connection:
            _insert(connection, chunk)
    with database.writing() as connection:
        connection.execute(insert(task_counts), [_count(*key, n) for key, n in counts.items()])
    database.close()
    if database.is_sqlite:  # so that the file alone is the whole database
        with sqlite3.connect(str(database.url.database)) as plain:
            plain.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        plain.close()


def _insert(connection: Connection, rows: list[dict[str, Any]]) -> None:
    connection.execute(insert(tasks), rows)
    tagged = [
        {"namespace": DEFAULT_NAMESPACE, "tag": tag, "task_id": row["task_id"]}
        for row in rows
        for tag in json.loads(row["tags"] or "[]")
    ]
    if tagged:
        connection.execute(insert(task_tags), tagged)
    ended = [_attempt(row) for row in rows if row["attempt"]]
    if ended:
        connection.execute(insert(attempts), ended)


def _queued(number: int) -> Iterator[dict[str, Any]]:
    now = time.time()
    for count in range(number):
        at = now - (number - count) / 1000  # as if they had come one after the other
        yield _row(NOOP, State.PENDING, at, at)


def _mixed(number: int) -> Iterator[dict[str, Any]]:
    now = time.time()
    types = itertools.cycle((NOOP, NOOP, NOOP, SLEEP))
    for count, (state, task_type) in enumerate(
        zip(itertools.cycle(_STATES), types, strict=False), start=1
    ):
        tags = [COMMON_TAG] if count % 2 else []
        tags += [RARE_TAG] if count % _RARE == 0 else []
        due = now + _YEAR if state in WAITING else now
        yield _row(task_type, state, now, due, tags)
        if count == number:
            return


def failing(number: int, types: int, errors: int, days: float) -> Iterator[dict[str, Any]]:
    """Yield finished tasks of so many types, a tenth of them FAILED with so many error classes.

    They ended one after the other within the last days.
    """
    now = time.time()
    for count in range(number):
        at = now - (number - count) / number * days * 86_400
        state = State.COMPLETED if count % 10 else State.FAILED
        row = _row(f"type-{count // 10 % types}", state, at, at)
        if state is State.FAILED:
            row["error_type"] = f"Error{count // 10 // types % errors}"
        yield row


def _row(
    task_type: str, state: State, now: float, due: float, tags: list[str] | None = None
) -> dict[str, Any]:
    tried = state not in (State.PENDING, State.CANCELLED)
    final = state in FINAL
    return {
        "task_id": str(uuid_utils.uuid7()),
        "task_type": task_type,
        "state": state,
        "payload": "{}",
        "result": "null" if state is State.COMPLETED else None,
        "error": '{"type": "E", "message": "m"}' if state is State.FAILED else None,
        "error_type": "E" if state is State.FAILED else None,
        "priority": 0,
        "rank": due,
        "ready": state in WAITING and due <= now,
        "attempt": int(tried),
        "max_attempts": 3,
        "failures": int(state in (State.FAILED, State.RETRYING)),
        "crashes": 0,
        "cancel_requested": state is State.CANCELLED,
        "created_at": now,
        "run_at": due,
        "started_at": now if tried else None,
        "finished_at": now if final else None,
        "updated_at": now,
        "tags": json.dumps(tags) if tags else None,
        "revision": 2 if tried else int(final),
    }


def _attempt(row: dict[str, Any]) -> dict[str, Any]:
    good = row["state"] is State.COMPLETED
    return {
        "task_id": row["task_id"],
        "attempt": 1,
        "outcome": OutcomeKind.SUCCEEDED if good else OutcomeKind.FAILED,
        "runner_id": "seed",
        "started_at": row["started_at"],
        "finished_at": row["updated_at"],
        "state": row["state"],
        "revision": row["revision"],
    }


def _count(task_type: str, state: State, number: int) -> dict[str, Any]:
    return {
        "namespace": DEFAULT_NAMESPACE,
        "task_type": task_type,
        "state": state,
        "tasks": number,
    }
