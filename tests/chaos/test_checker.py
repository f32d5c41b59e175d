"""The checker finds every kind of broken history, and nothing in a right one."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from raytasks.model.states import OutcomeKind, State
from raytasks.model.tasks import AttemptRecord, Task
from tests.chaos.checker import Rule, check
from tests.chaos.effects import Effect, Phase
from tests.chaos.evidence import Evidence, Fault, History, Submission
from tests.chaos.kinds import RAY_RETRIED, Kind, Place

S, F, L, Z, X, R = (
    OutcomeKind.SUCCEEDED,
    OutcomeKind.FAILED,
    OutcomeKind.LOST,
    OutcomeKind.SNOOZED,
    OutcomeKind.CANCELLED,
    OutcomeKind.RELEASED,
)


def error(*, retryable: bool) -> str:
    return json.dumps({"type": "E", "message": "", "retryable": retryable, "traceback": None})


class World:
    """The evidence of a run, told task by task; then broken by changing its lists."""

    def __init__(self) -> None:
        self.submissions: list[Submission] = []
        self.tasks: list[Task] = []
        self.attempts: list[AttemptRecord] = []
        self.effects: list[Effect] = []
        self.faults: list[Fault] = []
        self.tokens: dict[str, str] = {}
        self.exit_code = 0

    def add(
        self,
        task_id: str,
        kind: Kind,
        outcomes: list[OutcomeKind],
        state: State = State.COMPLETED,
        *,
        permanent: bool = False,
        place: Place = Place.FUNCTION,
        failures: int | None = None,
        crashes: int | None = None,
        max_attempts: int = 3,
        **known: Any,
    ) -> None:
        """Add a task that had these outcomes; each attempt n ran in process 100 + n."""
        self.submissions.append(Submission(f"token-{task_id}", kind, answers=[task_id], **known))
        self.tokens[task_id] = f"token-{task_id}"
        for number, outcome in enumerate(outcomes, start=1):
            self._run(task_id, place, number, outcome)
            told = error(retryable=outcome is L or not permanent) if outcome in (F, L) else None
            self.attempts.append(AttemptRecord(task_id, number, outcome, "r", 0.0, 0.0, error=told))
        result = {"attempt": len(outcomes), "pid": 100 + len(outcomes)}
        self.tasks.append(
            Task(
                task_id=task_id,
                task_type=place,
                state=state,
                payload="{}",
                result=json.dumps(result) if state is State.COMPLETED else None,
                error=None,
                priority=0,
                attempt=len(outcomes),
                max_attempts=max_attempts,
                failures=outcomes.count(F) if failures is None else failures,
                crashes=outcomes.count(L) if crashes is None else crashes,
                cancel_requested=state is State.CANCELLED,
                timeout_seconds=None,
                progress_fraction=None,
                progress_message=None,
                created_at=0.0,
                run_at=0.0,
                started_at=None,
                finished_at=0.0,
                updated_at=0.0,
            )
        )

    def effect(self, task_id: str, attempt: int, phase: Phase, **changes: Any) -> None:
        """Add a line to the effects."""
        values: dict[str, Any] = {
            "task_type": Place.FUNCTION,
            "pid": 100 + attempt,
            "time": 0.0,
        } | changes
        self.effects.append(Effect(task_id=task_id, attempt=attempt, phase=phase, **values))

    def change_task(self, task_id: str, **changes: Any) -> None:
        """Change what the database says of a task."""
        self.tasks = [
            replace(task, **changes) if task.task_id == task_id else task for task in self.tasks
        ]

    def change_attempt(self, task_id: str, number: int, **changes: Any) -> None:
        """Change what the database says of an attempt."""
        self.attempts = [
            replace(item, **changes) if (item.task_id, item.attempt) == (task_id, number) else item
            for item in self.attempts
        ]

    def forget(self, task_id: str) -> None:
        """Remove a task from the database."""
        self.tasks = [task for task in self.tasks if task.task_id != task_id]
        self.attempts = [item for item in self.attempts if item.task_id != task_id]
        del self.tokens[task_id]

    def forget_effects(self, task_id: str, phase: Phase) -> None:
        """Remove lines from the effects."""
        self.effects = [
            effect for effect in self.effects if (effect.task_id, effect.phase) != (task_id, phase)
        ]

    def found(self, counts: dict[tuple[str, State], int] | None = None) -> list[Rule]:
        """Return the rules that the checker finds broken."""
        real = Counter((task.task_type, task.state) for task in self.tasks)
        history = History(
            self.tasks, self.attempts, real if counts is None else counts, self.tokens
        )
        evidence = Evidence(
            self.submissions, history, self.effects, self.faults, 3, RAY_RETRIED, self.exit_code
        )
        return [violation.rule for violation in check(evidence)]

    def _run(self, task_id: str, place: Place, number: int, outcome: OutcomeKind) -> None:
        self.effect(task_id, number, Phase.BEGIN, task_type=place)
        if outcome is S:
            self.effect(task_id, number, Phase.END, task_type=place)


@pytest.fixture
def world() -> World:
    """A run in which every kind of task ended as it should, through some trouble."""
    world = World()
    world.add("instant", Kind.INSTANT, [S])
    world.add("slow", Kind.SLOW, [L, R, S])
    world.add("flaky", Kind.FLAKY, [F, L, F, S])
    world.add("permanent", Kind.PERMANENT, [F], State.FAILED, permanent=True)
    world.add("exhausted", Kind.EXHAUSTED, [F, L, F, F], State.FAILED)
    world.add("poison", Kind.POISON, [L, L, L, L], State.FAILED)
    world.add("once", Kind.CRASH_ONCE, [L, S])
    world.add("beside", Kind.INSTANT, [L, L, L, L, L, S], crashes=1)  # the others not charged
    world.add("snooze", Kind.SNOOZE, [Z, S])
    world.add("ray", Kind.RAY_RETRIES, [S], place=Place.RAY)
    world.effect("ray", 1, Phase.BEGIN, pid=99, task_type=Place.RAY)
    world.add("waited", Kind.CANCELLED, [], State.CANCELLED, cancels=1)
    world.add("ran", Kind.CANCELLED, [X], State.CANCELLED, cancels=2)
    world.add("ran-lost", Kind.CANCELLED, [L], State.CANCELLED, cancels=1, crashes=0)
    world.add("done-first", Kind.CANCELLED, [S], cancels=1)
    world.add("revived", Kind.REVIVED, [F, L, S], permanent=True, retries=1, failures=0)
    world.add("checkpoint", Kind.CHECKPOINT, [F, S])
    for attempt, shards in ((1, (0, 1)), (2, (1, 2))):
        for shard in shards:
            world.effect("checkpoint", attempt, Phase.SHARD, shard=shard)
            if (attempt, shard) != (1, 1):
                world.effect("checkpoint", attempt, Phase.SAVED, shard=shard + 1)
    world.submissions.append(Submission("unanswered", Kind.INSTANT))
    world.faults.append(Fault("kill_tracker", 0.0, recovered_after=1.5))
    return world


def test_a_right_history_has_no_violation(world: World) -> None:
    assert world.found() == []


def test_a_task_whose_submission_had_no_answer_may_be_there(world: World) -> None:
    world.submissions[0].answers.clear()
    assert world.found() == []


class TestAcceptance:
    def test_lost(self, world: World) -> None:
        world.forget("instant")
        assert world.found() == [Rule.LOST]

    def test_keyed_answered_with_two_tasks(self, world: World) -> None:
        world.add("again", Kind.INSTANT, [S])
        world.submissions.pop()
        world.tokens["again"] = "token-instant"
        world.submissions[0].key = "k"
        world.submissions[0].answers.append("again")
        assert world.found() == [Rule.DOUBLED]

    def test_doubled_without_an_answer(self, world: World) -> None:
        world.add("again", Kind.INSTANT, [S])
        world.submissions.pop()
        world.tokens["again"] = "token-instant"
        assert world.found() == [Rule.DOUBLED]

    def test_a_strange_task(self, world: World) -> None:
        world.add("strange", Kind.INSTANT, [S])
        world.submissions.pop()
        assert world.found() == [Rule.STRANGE]

    def test_refused(self, world: World) -> None:
        world.submissions[0].refusals.append("422: no")
        assert world.found() == [Rule.REFUSED]


class TestSequence:
    @pytest.mark.parametrize("state", [State.PENDING, State.RETRYING, State.RUNNING])
    def test_not_final(self, world: World, state: State) -> None:
        world.change_task("flaky", state=state)
        assert world.found() == [Rule.NOT_FINAL]

    @pytest.mark.parametrize("numbers", [(1, 3), (1, 1), (2, 3), (0, 1)])
    def test_gaps_and_repeats(self, world: World, numbers: tuple[int, int]) -> None:
        world.attempts = [item for item in world.attempts if item.task_id != "once"]
        for number, outcome in zip(numbers, (L, S), strict=True):
            world.attempts.append(AttemptRecord("once", number, outcome, "r", 0.0, 0.0))
        assert Rule.NUMBERING in world.found()

    def test_an_attempt_that_the_task_does_not_count(self, world: World) -> None:
        world.change_task("slow", attempt=2)
        assert Rule.NUMBERING in world.found()

    @pytest.mark.parametrize(
        ("kind", "outcomes", "state", "known"),
        [
            (Kind.INSTANT, [S, S], State.COMPLETED, {}),
            (Kind.INSTANT, [S, L, S], State.COMPLETED, {"crashes": 1}),
            (Kind.INSTANT, [F, F, F, S], State.COMPLETED, {}),
            (Kind.INSTANT, [L, L, L, L, S], State.COMPLETED, {}),
            (Kind.EXHAUSTED, [F, F], State.FAILED, {}),
            (Kind.EXHAUSTED, [F, F, F, F], State.FAILED, {}),
            (Kind.POISON, [L, L, L], State.FAILED, {}),
            (Kind.PERMANENT, [F], State.FAILED, {}),  # it says that it may be retried
            (Kind.CANCELLED, [X, L], State.CANCELLED, {"cancels": 1}),
            (Kind.CANCELLED, [S], State.CANCELLED, {"cancels": 1}),
            (Kind.FLAKY, [F], State.COMPLETED, {}),
            (Kind.FLAKY, [], State.COMPLETED, {}),
            (Kind.FLAKY, [F, S], State.COMPLETED, {"failures": 2}),
            (Kind.FLAKY, [L, S], State.COMPLETED, {"crashes": 2}),
            (Kind.REVIVED, [F, S], State.COMPLETED, {"permanent": True, "failures": 0}),
        ],
    )
    def test_illegal(
        self,
        world: World,
        kind: Kind,
        outcomes: list[OutcomeKind],
        state: State,
        known: dict[str, Any],
    ) -> None:
        world.add("bad", kind, outcomes, state, **known)
        assert Rule.SEQUENCE in world.found()

    def test_cancelled_and_nobody_asked(self, world: World) -> None:
        world.add("bad", Kind.CANCELLED, [X], State.CANCELLED)
        assert world.found() == [Rule.UNASKED]

    def test_failed_though_it_had_to_complete(self, world: World) -> None:
        world.add("bad", Kind.INSTANT, [F], State.FAILED, permanent=True)
        assert world.found() == [Rule.WRONG_END]

    def test_poison_that_completed(self, world: World) -> None:
        world.add("bad", Kind.POISON, [L, S])
        assert world.found() == [Rule.WRONG_END]

    def test_poison_that_failed_otherwise(self, world: World) -> None:
        world.add("bad", Kind.POISON, [F], State.FAILED, permanent=True)
        assert world.found() == [Rule.WRONG_END]


class TestNeighbours:
    def test_failed_beside_a_poison_task(self, world: World) -> None:
        world.add("innocent", Kind.SLOW, [L, L, L, L], State.FAILED)
        assert world.found() == [Rule.INNOCENT]

    def test_charged_without_having_begun(self, world: World) -> None:
        world.add("innocent", Kind.SLOW, [L, L, L, L], State.FAILED)
        world.faults.append(Fault("kill", 0.0, 0.0, frozenset({101, 102, 103, 104}), 1.0))
        world.forget_effects("innocent", Phase.BEGIN)
        assert world.found() == [Rule.INNOCENT]

    def test_each_of_its_processes_was_struck(self, world: World) -> None:
        world.add("unlucky", Kind.SLOW, [L, L, L, L], State.FAILED)
        world.faults.append(Fault("kill", 0.0, 0.0, frozenset({101, 102, 103, 104}), 1.0))
        assert world.found() == []


class TestEffects:
    def test_one_attempt_began_twice(self, world: World) -> None:
        world.effect("instant", 1, Phase.BEGIN, pid=7)
        assert world.found() == [Rule.BEGAN_TWICE]

    def test_an_attempt_that_was_never_claimed(self, world: World) -> None:
        world.effect("instant", 2, Phase.BEGIN)
        assert world.found() == [Rule.NEVER_CLAIMED]

    def test_completed_without_an_effect(self, world: World) -> None:
        world.forget_effects("instant", Phase.END)
        assert world.found() == [Rule.NO_EFFECT]

    @pytest.mark.parametrize("result", [{"attempt": 1, "pid": 102}, {"attempt": 2, "pid": 7}, None])
    def test_a_stale_result_was_kept(self, world: World, result: Any) -> None:
        world.change_task("once", result=json.dumps(result))
        assert world.found() == [Rule.STALE]

    def test_the_attempt_that_ended_is_not_the_one_that_succeeded(self, world: World) -> None:
        world.change_attempt("once", 1, outcome=S)
        world.change_attempt("once", 2, outcome=L)
        assert {Rule.SEQUENCE, Rule.STALE, Rule.NO_EFFECT} <= set(world.found())

    def test_a_shard_was_done_again(self, world: World) -> None:
        world.effect("checkpoint", 2, Phase.SHARD, shard=0)
        assert world.found() == [Rule.REDONE]

    def test_a_thawed_attempt_may_write_down_late_what_was_saved_before(self, world: World) -> None:
        world.effect("checkpoint", 1, Phase.SAVED, shard=1, time=9.0)
        assert world.found() == []


class TestService:
    @pytest.mark.parametrize(
        "change",
        [
            lambda counts: counts.update({(Place.FUNCTION, State.COMPLETED): 1}),
            lambda counts: counts.pop((Place.FUNCTION, State.FAILED)),
            lambda counts: counts.update({("other", State.PENDING): 1}),
            lambda counts: counts.update({(Place.FUNCTION, State.RUNNING): -1}),
        ],
    )
    def test_wrong_counts(
        self, world: World, change: Callable[[dict[tuple[str, State], int]], None]
    ) -> None:
        counts = dict(Counter((task.task_type, task.state) for task in world.tasks))
        change(counts)
        assert world.found(counts) == [Rule.COUNTS]

    def test_zeros_are_no_counts(self, world: World) -> None:
        counts = dict(Counter((task.task_type, task.state) for task in world.tasks))
        assert world.found({**counts, (Place.FUNCTION, State.RUNNING): 0}) == []

    def test_no_recovery(self, world: World) -> None:
        world.faults.append(Fault("kill_tracker", 0.0))
        assert world.found() == [Rule.NO_RECOVERY]

    def test_not_stopped_in_order(self, world: World) -> None:
        world.exit_code = 1
        assert world.found() == [Rule.NOT_STOPPED]
