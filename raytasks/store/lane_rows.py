"""The data of lanes that pass between the store and the tracker. See `model.lane_names`."""

from typing import NamedTuple


class LaneRow(NamedTuple):
    """A lane as the database has it: how many ready tasks wait in it, and the best rank of them."""

    task_type: str
    lane: str
    namespace: str
    limit_values: str | None
    waiting: int
    rank: float


class LanePlace(NamedTuple):
    """A place where a task waits: its type and its lane, with namespace and limit values."""

    task_type: str
    lane: str
    namespace: str
    limit_values: str | None


class ReadyChange(NamedTuple):
    """The tasks of a lane that became ready in a transaction, or that are ready no longer.

    - `change`: how many became ready; below zero, how many are ready no longer. What is claimed is
      ready no longer.
    - `rank`: the best rank among these tasks, so the head's rank is at least this one, or as known
      before.
    """

    task_type: str
    lane: str
    namespace: str
    limit_values: str | None
    rank: float
    change: int


class PutOffRow(NamedTuple):
    """A task that has run and waits to run again, but is not due before `run_at`."""

    task_id: str
    task_type: str
    lane: str
    namespace: str
    limit_values: str | None
    run_at: float


class LaneAsk(NamedTuple):
    """A question for the first `limit` ready tasks of a lane, by rank.

    None of them has a rank below `floor`: the index is read from there on. With `looks_on` it is
    told where the lane goes on: by the ranks of those behind each one found, or by one more.
    """

    task_type: str
    lane: str
    floor: float
    limit: int
    looks_on: bool = False

    @property
    def with_next(self) -> int:
        """How many are to be read if one more shows where the lane goes on."""
        return self.limit + self.looks_on
