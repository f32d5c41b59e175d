"""The new tasks of a transaction that are not stored yet, as candidates for its claims.

A task that a runner may have at once is inserted RUNNING: there is nothing to read and to update.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from raytasks.model.states import TRANSITIONS, Event
from raytasks.model.tasks import NewTask
from raytasks.store import batch_statements
from raytasks.store.candidates import Candidate, limited
from raytasks.store.count_changes import CountChanges
from raytasks.store.cursors import Direct
from raytasks.store.lane_rows import LaneAsk
from raytasks.store.ready_changes import ReadyChanges
from raytasks.store.tag_rows import tags_of

Ranked = tuple[NewTask, float]
"""A stamped new task, and its rank."""

_SUBMITTED = TRANSITIONS[Event.SUBMIT].target


class FreshTasks:
    """The tasks that a transaction at the time `now` has taken in and holds back; none at first.

    What it stores is noted in `changes` and `ready`, and written by `direct`.
    """

    def __init__(
        self, direct: Direct, changes: CountChanges, ready: ReadyChanges, now: float
    ) -> None:
        self._direct = direct
        self._changes = changes
        self._ready = ready
        self._now = now
        self._held: list[Ranked] = []

    def __bool__(self) -> bool:
        """Return whether it holds tasks back."""
        return bool(self._held)

    def hold_back(self, tasks: Iterable[Ranked]) -> None:
        """Hold tasks back. Those before must be stored."""
        assert not self._held, f"{len(self._held)} new tasks are not stored"
        self._held = list(tasks)

    @property
    def are_all(self) -> bool:
        """Whether nothing else has become ready, all of them are due, and none expires now.

        One that was sent twice is left to the database, which refuses it.
        """
        return (
            bool(self._held)
            and not self._ready.any
            and len({task.task_id for task, _ in self._held}) == len(self._held)
            and all(
                task.due_at <= self._now
                and (task.expires_at is None or task.expires_at > self._now)
                for task, _ in self._held
            )
        )

    def candidates(self, asks: Sequence[LaneAsk]) -> list[Candidate]:
        """Return the first of them in some lanes, as `candidates.read_candidates` does.

        Sizes of payloads are in characters.
        """
        lanes: dict[tuple[str, str], list[Candidate]] = {}
        for task, rank in self._held:
            lanes.setdefault((task.task_type, task.lane), []).append(_candidate(task, rank))
        found: list[Candidate] = []
        for ask in limited(asks):
            lane = lanes.get((ask.task_type, ask.lane), ())
            rows = sorted((row for row in lane if row.rank >= ask.floor), key=_order)
            found += rows[: ask.with_next]
        if len(asks) > 1:
            found.sort(key=_order)
        return found

    def store(self, begun: Mapping[str, tuple[Any, ...]] | None = None) -> None:
        """Insert them as PENDING, but those that have `begun` as RUNNING.

        These have beside their id the runner's id, the time of the claim and that of the beginning.
        The caller counts their claim.
        """
        held, self._held = self._held, []
        if not held:
            return
        pending, running = [], []
        for task, rank in held:
            ready = task.due_at <= self._now
            if begun and task.task_id in begun:
                running.append((*batch_statements.submitted(task), rank, *begun[task.task_id]))
            else:
                pending.append((*batch_statements.submitted(task), rank, int(ready)))
            if ready:
                self._ready.add(task, rank)
        if pending:
            self._direct.write(batch_statements.SUBMIT, pending)
        if running:
            self._direct.write(batch_statements.BEGIN, running)
        new = [task for task, _ in held]
        if tags := tags_of(new):
            self._direct.write(batch_statements.TAG, tags)
        self._changes.submit(new)


def _order(row: Candidate) -> tuple[float, str]:
    return row.rank, row.task_id


def _candidate(task: NewTask, rank: float) -> Candidate:
    return Candidate(
        task_id=task.task_id,
        task_type=task.task_type,
        state=_SUBMITTED,
        rank=rank,
        priority=task.priority,
        attempt=0,
        payload=task.payload,
        failures=0,
        crashes=0,
        max_attempts=task.max_attempts,
        timeout_seconds=task.timeout_seconds,
        checkpoint=None,
        namespace=task.namespace,
        revision=0,
        tags=task.tags,
        payload_ref=task.payload_ref,
        started_at=None,
        company=None,
        checkpoint_ref=None,
        trace_context=task.trace_context,
        unique_spec=task.unique_spec,
        expires_at=task.expires_at,
        payload_size=len(task.payload),
        checkpoint_size=None,
        lane=task.lane,
        limit_values=task.limit_values,
        callback_url=task.callback_url,
        scheduled_for=task.scheduled_for,
        cancel_requested=False,
    )
