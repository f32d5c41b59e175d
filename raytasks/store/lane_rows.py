"""The data of lanes that pass between the store and the tracker. See `raytasks.model.lanes`."""

from typing import NamedTuple


class LaneRow(NamedTuple):
    """A lane as the database has it: how many ready tasks wait in it, and the best rank of them."""

    task_type: str
    lane: str
    namespace: str
    limit_values: str | None
    waiting: int
    rank: float


class ReadyChange(NamedTuple):
    """A task that became ready (`change` is 1), or is ready no longer (-1), in a transaction.

    A change that took the task out of its state by a claim is among them, too.
    """

    task_type: str
    lane: str
    namespace: str
    limit_values: str | None
    rank: float
    change: int


class LaneAsk(NamedTuple):
    """A question for the first `limit` ready tasks of a lane, by rank.

    None of them has a rank below `floor`: the index is read from there on.
    """

    task_type: str
    lane: str
    floor: float
    limit: int
