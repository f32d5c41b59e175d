"""The change of a task that waits: its row, its place among the ready tasks, its tags and files."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from msgspec import UNSET
from pydantic_core import from_json
from sqlalchemy import Connection, Select, Update, bindparam, select, update

from raytasks.model.changes import TaskChanges
from raytasks.model.lane_names import lane_of
from raytasks.model.states import Event
from raytasks.model.tasks import Task
from raytasks.store import files, tag_rows
from raytasks.store.lane_rows import LanePlace
from raytasks.store.lane_statements import IN_LANE
from raytasks.store.large_checkpoints import GIVEN_UP_SECONDS
from raytasks.store.ready_changes import ReadyChanges
from raytasks.store.schema import tasks
from raytasks.store.statements import in_source_of

_CHANGED = (
    *("priority", "max_attempts", "timeout_seconds", "run_at", "rank", "ready", "payload"),
    *("payload_ref", "has_files", "tags", "lane", "limit_values", "expires_at"),
    *("checkpoint", "checkpoint_ref", "checkpoint_number"),
)

_PRESENT: Select[Any] = select(
    *IN_LANE,
    *(tasks.c[name] for name in ("ready", "has_files")),
    *(tasks.c[name] for name in ("checkpoint", "checkpoint_ref", "checkpoint_number")),
).where(tasks.c.task_id == bindparam("p_task_id"))

# A claim has the same sources: only a task that waits can be changed.
_CHANGE: Update = (
    update(tasks)
    .where(
        tasks.c.task_id == bindparam("p_task_id"),
        tasks.c.revision == bindparam("p_revision"),
        in_source_of(Event.CLAIM),
    )
    .values(
        revision=tasks.c.revision + bindparam("p_steps"),
        updated_at=bindparam("p_now"),
        **{name: bindparam(f"p_{name}", type_=tasks.c[name].type) for name in _CHANGED},
    )
)


@dataclass(frozen=True)
class Changing:
    """The change of waiting tasks in one transaction, at the time `now`.

    The function `rank_of` gives the rank for a due time and a priority. Each priority is worth
    `priority_step` seconds of rank. What becomes ready, or is ready no longer, goes into `ready`.
    """

    now: float
    rank_of: Callable[[float, int], float]
    priority_step: float
    ready: ReadyChanges

    def change(
        self,
        connection: Connection,
        task: Task,
        changes: TaskChanges,
        steps: int,
        *,
        keeps_rank: bool,
    ) -> int:
        """Change a task that was read in this transaction; return how many rows changed: 1, or 0.

        With `keeps_rank`, a new due time leaves its rank. A new payload drops the checkpoint, which
        was made of the old one. Files that are no longer needed are scheduled for removal.
        """
        row = connection.execute(_PRESENT, {"p_task_id": task.task_id}).one()
        after = changes.applied_to(task, self.now)
        values: dict[str, Any] = {name: getattr(after, name, None) for name in _CHANGED}
        values |= {
            name: getattr(row, name)
            for name in ("checkpoint", "checkpoint_ref", "checkpoint_number")
        }
        values["has_files"] = True if after.payload_ref is not None else row.has_files
        values["lane"] = row.lane
        if changes.limit_values is not UNSET:
            values["lane"] = lane_of(task.namespace, after.limit_values)
        moves = changes.moves_in_time
        values["ready"] = after.run_at <= self.now if moves else row.ready
        if moves and not keeps_rank:
            values["rank"] = self.rank_of(after.run_at, after.priority)
        else:
            values["rank"] = row.rank + (task.priority - after.priority) * self.priority_step
        if changes.payload is not UNSET:
            values |= dict.fromkeys(("checkpoint", "checkpoint_ref", "checkpoint_number"))
            self._give_up(connection, task, [task.payload_ref, row.checkpoint_ref])
        bound = {f"p_{name}": value for name, value in values.items()}
        bound |= {"p_task_id": task.task_id, "p_revision": task.revision}
        bound |= {"p_steps": steps, "p_now": self.now}
        changed = connection.execute(_CHANGE, bound).rowcount
        if changes.tags is not UNSET:
            tag_rows.untag(connection, tag_rows.tags_of([task]))
            tag_rows.tag(connection, tag_rows.tags_of([after]))
        if values["ready"]:
            place = LanePlace(task.task_type, values["lane"], task.namespace, after.limit_values)
            self.ready.add(place, values["rank"])
        if row.ready:
            self.ready.remove(row, row.rank)
        return changed

    def _give_up(self, connection: Connection, task: Task, refs: list[str | None]) -> None:
        """Schedule the removal of files, late enough for present readers."""
        keys = [(task.task_id, from_json(ref)["name"]) for ref in refs if ref is not None]
        files.mark(connection, keys, self.now + GIVEN_UP_SECONDS)
