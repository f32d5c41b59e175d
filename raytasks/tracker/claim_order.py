"""The order in which a tick offers what it has read to runners, and what it learns of lanes: pure.

A plan asks for the first tasks of some lanes, and says in which order queues take turns. See
`raytasks.tracker.claim_plan`.
"""

import math
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from raytasks.store.candidates import Candidate
from raytasks.store.lane_rows import LaneAsk

FEW = 2
"""Maximum number of tasks of a lane for each of which the rank of the next one is looked up. Of
more, one more is read."""


MAX_LOCKED = 32
"""Number of locked tasks at the head of a lane that are passed over. Behind more, a lane waits."""


@dataclass(slots=True)
class Question:
    """A question for the first tasks of a lane.

    - `limit`: how many of them may be claimed; `extra`: how many more are read, to learn where the
      next one is.
    - `queue`: the number of its queue in the plan.
    - `order`: the number of a group of lanes of which only the best task may be claimed; None: it
      is in no such group.
    - `owner`: the lane, for the tracker's memory.
    """

    task_type: str
    name: str
    floor: float
    limit: int
    queue: int
    extra: int = 0
    order: int | None = None
    owner: Any = None

    @property
    def has_taken(self) -> bool:
        """Whether its lane was taken from its queue; it was not if it is only compared."""
        return self.limit > 0

    @property
    def ask(self) -> LaneAsk:
        """The question for the store."""
        looks_on = self.extra == 1 and 0 < self.limit <= FEW and self.order is None
        limit = self.limit if looks_on else self.limit + self.extra
        return LaneAsk(self.task_type, self.name, self.floor, limit, looks_on)


class Finding(NamedTuple):
    """The finding of a tick in a lane.

    No task is left there with a rank below `floor`; the first one is `head`, if that is known. If
    nothing is beyond what was read, `left` is how many tasks are ready there after the claims; else
    None.
    """

    floor: float
    left: int | None
    head: str = ""


@dataclass
class ClaimPlan:
    """The questions of a tick. The turns are (number of a queue, how many tasks), in order.

    With `is_new`, the lanes that are asked have no task on disk: only new ones of the tick itself.

    The other fields are for the tracker's memory: what is to be taken back when the tick is over.
    With `more` there was more to ask for than one tick does.
    """

    questions: list[Question] = field(default_factory=list)
    turns: list[tuple[int, int]] = field(default_factory=list)
    more: bool = False
    is_new: bool = False
    generation: int = 0
    expected: list[Any] = field(default_factory=list)
    ending: list[Any] = field(default_factory=list)
    reserved: list[tuple[Any, int]] = field(default_factory=list)

    @property
    def task_types(self) -> set[str]:
        """The types that are asked for."""
        return {question.task_type for question in self.questions}

    def look_further(self) -> None:
        """Have so many more tasks of each lane read that locked ones can be passed over."""
        for question in self.questions:
            question.extra += MAX_LOCKED

    @property
    def asks(self) -> list[LaneAsk]:
        """The questions for the store."""
        return [question.ask for question in self.questions]


def offered(
    rows: Sequence[Candidate],
    plan: ClaimPlan,
    locked: Container[str] = (),
    ordered_types: Container[str] = (),
) -> Sequence[Candidate]:
    """Return the rows that may be claimed, in the order in which runners are to get them.

    The rows are in order of rank, at least within each lane. Others come in the place of those that
    are `locked`, but not in a lane of the `ordered_types`.
    """
    questions = plan.questions
    if len(questions) == 1 and not questions[0].extra and not locked:
        return rows
    by_lane = {(item.task_type, item.name): item for item in questions}
    best: dict[int, tuple[float, str]] = {}
    if any(item.order is not None for item in questions):
        for row in rows:
            group = by_lane[row.task_type, row.lane].order
            if group is not None:
                place = (row.rank, row.task_id)
                best[group] = min(best.get(group, place), place)
    left = {key: item.limit for key, item in by_lane.items()}
    queues: list[list[Candidate]] = [[] for _ in range(1 + max(item.queue for item in questions))]
    for row in rows:
        key = row.task_type, row.lane
        if row.task_id in locked:
            left[key] = 0 if row.task_type in ordered_types else left[key]
            continue
        if not left[key]:
            continue
        left[key] -= 1
        question = by_lane[key]
        if question.order is None or best[question.order] == (row.rank, row.task_id):
            queues[question.queue].append(row)
    if len(queues) == 1:
        return queues[0]
    order: list[Candidate] = []
    places = [0] * len(queues)
    for queue, number in plan.turns:
        begin = places[queue]
        order += queues[queue][begin : begin + number]
        places[queue] = begin + number
    return order


def findings(
    rows: Sequence[Candidate], plan: ClaimPlan, chosen: Container[str], number: int
) -> list[Finding]:
    """Return what was found in each lane of a plan; `chosen` are the ids of `number` claims."""
    if len(plan.questions) == 1:
        [question] = plan.questions
        if number == len(rows):
            return [_finding(question, rows, None, number)]
        first = next(row for row in rows if row.task_id not in chosen)
        return [_finding(question, rows, first, number)]
    read: dict[tuple[str, str], list[Candidate]] = {
        (question.task_type, question.name): [] for question in plan.questions
    }
    for row in rows:
        read[row.task_type, row.lane].append(row)
    found = []
    for question in plan.questions:
        mine = read[question.task_type, question.name]
        left = [row for row in mine if row.task_id not in chosen]
        found.append(_finding(question, mine, left[0] if left else None, len(mine) - len(left)))
    return found


def _finding(
    question: Question, rows: Sequence[Candidate], first: Candidate | None, claimed: int
) -> Finding:
    next_rank = rows[-1].next_rank if rows else None
    is_all = len(rows) < question.limit + question.extra and next_rank is None
    left = len(rows) - claimed if is_all else None
    if first is not None:
        return Finding(first.rank, left, first.task_id)
    if is_all:
        return Finding(math.inf, left)
    return Finding(rows[-1].rank if next_rank is None else next_rank, left)
