"""Admission of clients' commands to a full backlog, and the wait for an answer."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from raytasks.model.tasks import BacklogFull, NewTask, StoreUnavailable
from raytasks.protocol.queries import KnownTasks
from raytasks.tracker.access import AWAY
from raytasks.tracker.awaited_commands import Action, Pruning, Submission
from raytasks.tracker.room import Room
from raytasks.tracker.ticker import Ticker

ANSWER_SECONDS = 8.0
"""Seconds that a command waits for its commit before it is refused. An HTTP request must be
answered within ten seconds, whatever the database does."""


class Backlog:
    """The bounds on how many tasks may wait: `most` in all, and what people set for namespaces.

    Tasks that are being stored count as well.
    """

    def __init__(self, ticker: Ticker, most: int) -> None:
        self._ticker = ticker
        self.most = most
        self._submitting: Counter[str] = Counter()

    @property
    def size(self) -> int:
        """The number of waiting tasks, including those that are not due yet."""
        return self._ticker.ledger.backlog

    @property
    def room(self) -> int:
        """The number of further tasks that may wait."""
        return self.most - self.size - self._submitting.total()

    def room_in(self, namespace: str) -> int | None:
        """Return how many further tasks of a namespace may wait; None if people set no bound."""
        setting = self._ticker.steering.namespaces.get(namespace)
        if setting is None or setting.max_backlog is None:
            return None
        waiting = self._ticker.ledger.backlogs[namespace] + self._submitting[namespace]
        return setting.max_backlog - waiting

    def now(self) -> Room:
        """Return the room of this moment, for a step in another thread."""
        bounded = self._ticker.steering.namespaces
        rooms = ((name, self.room_in(name)) for name in bounded)
        return Room(self.room, {name: room for name, room in rooms if room is not None})

    def full_namespaces(self) -> list[str]:
        """Return the namespaces of which no further task may wait, as people set."""
        bounded = self._ticker.steering.namespaces
        return [name for name in bounded if (room := self.room_in(name)) is not None and room < 1]

    def refusal(self, tasks: Sequence[NewTask]) -> str | None:
        """Return why so many new tasks may not wait; None if they may."""
        room = max(0, self.room)
        if len(tasks) > room:
            return _full("the backlog", "RAYTASKS_MAX_BACKLOG", room, len(tasks))
        if not self._ticker.steering.namespaces:
            return None
        for namespace, count in Counter(task.namespace for task in tasks).items():
            of_it = self.room_in(namespace)
            if of_it is None:
                continue
            room = max(0, of_it)
            if count > room:
                return _full(
                    f"the backlog of the namespace {namespace}", "its max_backlog", room, count
                )
        return None

    async def that_fit(self, tasks: Sequence[NewTask]) -> Sequence[NewTask]:
        """Return the new tasks that are not stored yet, if the backlog has room for them.

        Some need no room: one whose idempotency key or unique key is taken, and one that is already
        stored and was sent again by Ray. Raises `BacklogFull`, `StoreUnavailable`.
        """
        if self.refusal(tasks) is None:
            return tasks
        access = self._ticker.access
        store = access.store
        known = await access.read(lambda: store.read(KnownTasks([task.task_id for task in tasks])))
        new = [task for task in tasks if task.task_id not in known]
        repeated = set(await access.read(lambda: store.duplicates(new)))
        if any(task.unique_spec is not None for task in new):
            now = self._ticker.clock()
            repeated |= await access.read(lambda: store.conflicting(new, now))
        refusal = self.refusal([task for task in new if task.task_id not in repeated])
        if refusal is not None:
            raise BacklogFull(refusal)
        return new

    @contextmanager
    def submitting(self, tasks: Sequence[NewTask]) -> Iterator[None]:
        """Count tasks that are being stored while the block runs."""
        counts = Counter(task.namespace for task in tasks)
        self._submitting += counts
        try:
            yield
        finally:
            self._submitting -= counts


def _full(what: str, bound: str, room: int, asked: int) -> str:
    return f"{what} is full: {bound} has room for {room} more, and {asked} were submitted"


async def answer_of(command: Submission | Action | Pruning) -> Any:
    """Wait at most `ANSWER_SECONDS` for the answer to a command. Raises `StoreUnavailable`.

    A command that has waited too long, and is in no tick yet, is dropped.
    """
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await command.answer
    except TimeoutError:
        command.expired = True
        raise StoreUnavailable(AWAY) from None
