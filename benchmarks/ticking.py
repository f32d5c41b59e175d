"""Ticks without Ray and HTTP: the tracker's part in SQL, to measure what the database costs."""

import time
from collections.abc import Sequence

import uuid_utils

from raytasks.model.states import OutcomeKind
from raytasks.model.tasks import NewTask, Running
from raytasks.protocol.messages import Outcome
from raytasks.store.store import Store
from raytasks.tracker.claim_order import ClaimPlan, Question
from raytasks.tracker.sharing import CapacityRequest
from raytasks.tracker.tick import TickInput, TickResult, run_tick

TYPE = "noop"
_FIRST = -1e18  # a rank below all others
_FOLD_STEPS = 250
_RENEW_SECONDS = 1.0


class Ticking:
    """Ticks in one epoch, and what runs. It makes the tables if they are missing."""

    def __init__(self, url: str) -> None:
        self.store = Store(url)
        self.store.upgrade()
        self.epoch = self.store.begin_epoch(time.time())
        self._renewed_at = 0.0
        self._steps = 0

    def submit(self, tasks: int, size: int) -> None:
        """Store tasks."""
        for _ in range(tasks // size):
            self.tick(submissions=new_tasks(size))

    def drain(self, tasks: int, size: int) -> None:
        """Run tasks that are stored."""
        running: Sequence[Running] = ()
        for _ in range(tasks // size):
            running = self.claimed(size, outcomes=ended(running))
            assert len(running) == size
        self.tick(outcomes=ended(running))

    def life(self, tasks: int, size: int) -> None:
        """Store tasks and run them: each tick ends the attempts of the one before."""
        running: Sequence[Running] = ()
        for _ in range(tasks // size):
            running = self.claimed(
                size, only_new=True, submissions=new_tasks(size), outcomes=ended(running)
            )
            assert len(running) == size
        self.tick(outcomes=ended(running))

    def single(self, tasks: int, size: int) -> None:
        """Store tasks and run them: each is ended by a tick of its own."""
        for _ in range(tasks // size):
            running = self.claimed(size, only_new=True, submissions=new_tasks(size))
            assert len(running) == size
            self.tick(outcomes=ended(running))

    def close(self) -> None:
        """Close the store."""
        self.store.close()

    def claimed(
        self, size: int, *, only_new: bool = False, **work: Sequence[object]
    ) -> list[Running]:
        """Do a tick that claims so many tasks; `only_new`: no others can be claimed."""
        plan = ClaimPlan([Question(TYPE, "", _FIRST, size, 0)], [(0, size)])
        plan.is_new = only_new
        request = CapacityRequest("runner-1", {TYPE: size}, size, seconds=None, empty=False)
        done = self.tick(plan=plan, requests=[request], **work)
        return [running for running, _ in done.claimed]

    def tick(self, **work: object) -> TickResult:
        """Do a tick, which renews and folds as often as a tracker's do."""
        now = time.time()
        renew = now - self._renewed_at >= _RENEW_SECONDS
        fold = self._steps >= _FOLD_STEPS
        done = run_tick(
            self.store,
            TickInput(now, self.epoch, 1, renew=renew, fold=fold, **work),  # type: ignore[arg-type]
        )
        self._renewed_at = now if renew else self._renewed_at
        self._steps = (0 if fold else self._steps) + bool(done.counts or done.totals)
        return done


def new_tasks(size: int) -> list[NewTask]:
    """Return new tasks that are due."""
    now = time.time()
    return [NewTask(str(uuid_utils.uuid7()), TYPE, "{}", 0, 3, None, now, now) for _ in range(size)]


def ended(running: Sequence[Running]) -> list[tuple[Running, Outcome]]:
    """Return the good ends of attempts."""
    now = time.time()
    return [
        (
            item,
            Outcome(
                item.task_id,
                item.attempt,
                OutcomeKind.SUCCEEDED,
                started_at=now,
                finished_at=now,
                result="null",
                node_id="n" * 56,
                worker_id="w" * 56,
            ),
        )
        for item in running
    ]
