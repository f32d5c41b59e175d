"""Blame for the death of a runner, and the company of a suspect."""

from collections import Counter

import pytest
from msgspec.structs import replace

from raytasks.model.handler_info import REMOTE_POOL
from raytasks.model.states import LossCause, OutcomeKind, State
from raytasks.model.tasks import Running
from raytasks.protocol.messages import Claim, Outcome
from raytasks.protocol.queries import TasksById
from raytasks.store.store import Store
from raytasks.tracker.averages import Averages
from raytasks.tracker.blame import judge, last_words
from raytasks.tracker.fleet import RunnerState
from raytasks.tracker.sharing import CapacityRequest
from tests.making import NOW, Tracking, ids, new_task, outcome, task_id

PROCESS, OUTSIDE = LossCause.PROCESS, LossCause.OUTSIDE


class TestJudge:
    @pytest.mark.parametrize(
        ("begun", "company"), [(2, 1), (8, 1), (15, 1), (16, 2), (125, 15), (1000, 125)]
    )
    def test_of_several_none_is_charged_and_their_company_shrinks(
        self, begun: int, company: int
    ) -> None:
        assert judge(begun, None, PROCESS) == (False, company)

    def test_one_that_was_there_by_itself_is_charged(self) -> None:
        assert judge(1, None, PROCESS) == (True, 1)

    def test_one_that_may_not_be_the_cause_is_charged_the_second_time(self) -> None:
        assert judge(1, None, PROCESS, certain=False) == (False, 1)
        assert judge(1, 1, PROCESS, certain=False) == (True, 1)

    @pytest.mark.parametrize("company", [None, 1, 15])
    @pytest.mark.parametrize("begun", [1, 2, 1000])
    def test_a_cause_outside_makes_no_suspects(self, begun: int, company: int | None) -> None:
        assert judge(begun, company, OUTSIDE) == (False, None)

    @pytest.mark.parametrize("begun", [1, 2, 7, 8, 9, 63, 64, 511, 512, 1000])
    def test_the_culprit_among_a_thousand_is_found_in_four_losses(self, begun: int) -> None:
        company: int | None = None
        charged, losses = False, 0
        while not charged:
            charged, company = judge(begun, company, PROCESS)
            assert company is not None
            begun, losses = min(begun, company), losses + 1
        assert losses <= 4


@pytest.fixture
def tracking(store: Store) -> Tracking:
    """A tracker played by hand, in its first epoch."""
    store.upgrade()
    return Tracking(store)


def tracked(runner_id: str, held: list[Running], averages: Averages) -> CapacityRequest | None:
    """Return what a warm runner with capacity for 1,000 requests that holds these attempts."""
    runner = RunnerState(
        runner_id, runner_id, "shared", "g", NOW, capacity_by_type={"short": 1000}, capacity=1000
    )
    runner.held = {item.task_id: item for item in held}
    runner.call = object()  # type: ignore[assignment]
    return runner.capacity_request(averages)


def test_a_culprit_among_many_is_charged_alone_and_all_others_complete(
    tracking: Tracking,
) -> None:
    """The whole hunt, on a store: one of 1,000 kills each process it runs in."""
    everybody, culprit = range(1000), task_id(617)
    averages = Averages()
    averages.add("short", 0.0)
    tracking.max_crashes = 3
    tracking.tick(submissions=[new_task(number) for number in everybody])
    first = tracking.claim()  # all of them at once, as of a runner with 1,000 slots
    assert len(first) == 1000
    batch, losses, crashes = first, 0, Counter[str]()
    while batch:
        if any(item.task_id == culprit for item in batch):
            losses += 1
            ended = []
            for item in batch:
                charged, company = judge(len(batch), item.company, PROCESS)
                crashes[item.task_id] += charged
                ended.append(
                    (item, outcome(item, OutcomeKind.LOST, charged=charged, company=company))
                )
            if losses <= 4:
                assert crashes.total() == (1 if losses == 4 else 0)
        else:
            ended = [(item, outcome(item)) for item in batch]
        tracking.tick(outcomes=ended)
        want = tracked("r1", [], averages)
        assert want is not None
        batch = [running for running, _ in tracking.tick(requests=[want]).claimed]
        companies = [item.company for item in batch]
        assert all(company is not None and len(batch) <= company for company in companies)
    assert losses == 4 + tracking.max_crashes
    assert +crashes == {culprit: 4}
    counts = Counter(task.state for task in tracking.store.read(TasksById(ids(everybody))).values())
    assert counts == {State.COMPLETED: 999, State.FAILED: 1}
    assert tracking.state(617) is State.FAILED


class TestWant:
    def running(self, number: int, company: int | None) -> Running:
        return Running(task_id(number), "short", 1, "r1", NOW, 0, 0, 0, 3, company=company)

    def capacity_request(self, *companies: int | None) -> CapacityRequest | None:
        averages = Averages()
        averages.add("short", 0.001)
        held = [self.running(number, item) for number, item in enumerate(companies)]
        return tracked("r1", held, averages)

    def test_a_suspect_goes_where_there_are_none_but_suspects(self) -> None:
        beside_others, beside_none, beside_suspects = (
            self.capacity_request(None),
            self.capacity_request(),
            self.capacity_request(5, 4),
        )
        assert beside_others
        assert beside_none
        assert beside_suspects
        assert not beside_others.take("short", 0.001, 4)
        assert beside_none.take("short", 0.001, 4)
        assert beside_suspects.take("short", 0.001, 9)

    def test_what_is_no_suspect_stays_away_from_them(self) -> None:
        want = self.capacity_request(8)
        assert want
        assert not want.take("short", 0.001)

    def test_the_smallest_company_counts_for_all(self) -> None:
        want = self.capacity_request(9, 3)
        assert want
        assert want.take("short", 0.001, 9)
        assert not want.take("short", 0.001, 9)
        assert not self.capacity_request(9, 3, 9)

    def test_one_with_a_smaller_company_does_not_join_too_many(self) -> None:
        want = self.capacity_request(9, 9, 9)
        assert want
        assert not want.take("short", 0.001, 3)
        assert want.take("short", 0.001, 9)

    def test_in_company_1_a_runner_takes_nothing_more(self) -> None:
        assert not self.capacity_request(1)
        want = self.capacity_request()
        assert want
        assert want.take("short", 0.001, 1)
        assert not want.take("short", 0.001)
        assert not want.take("short", 0.001, 1)


class TestSlots:
    """A runner with slots: it gets as many as are free, however long they run."""

    def capacity_request(self, held: list[Running], free: int) -> CapacityRequest | None:
        runner = RunnerState(
            "r1", "r1", "concurrent", "g", NOW, capacity_by_type={"long": free}, capacity=free
        )
        runner.slots = True
        runner.held = {item.task_id: item for item in held}
        runner.call = object()  # type: ignore[assignment]
        averages = Averages()
        averages.add("long", 3600.0)
        return runner.capacity_request(averages)

    def held(self, count: int, company: int | None = None) -> list[Running]:
        return [
            Running(task_id(number), "long", 1, "r1", NOW, 0, 0, 0, 3, company=company)
            for number in range(count)
        ]

    def test_it_gets_what_its_free_slots_take(self) -> None:
        request = self.capacity_request(self.held(990), 10)
        assert request
        assert [request.take("long", 3600.0) for _ in range(11)] == [True] * 10 + [False]

    def test_no_free_slot_takes_nothing(self) -> None:
        assert self.capacity_request(self.held(1000), 0) is None

    def test_suspects_have_no_more_company_than_they_may(self) -> None:
        request = self.capacity_request(self.held(3, company=5), 997)
        assert request
        assert not request.take("long", 3600.0)
        taken = [request.take("long", 3600.0, 5) for _ in range(4)]
        assert taken == [True, True, False, False]
        assert self.capacity_request(self.held(5, company=5), 995) is None


class TestLastWords:
    def words(
        self, held: list[Running], last: list[Outcome]
    ) -> dict[str, tuple[OutcomeKind, bool, int | None]]:
        runner = RunnerState("r1", "r1", "concurrent", "g", NOW, confirmed=True)
        runner.held = {item.task_id: item for item in held}
        runner.last_outcomes = last
        said = last_words(
            runner, "it died", NOW, ended=(), out_of_memory=False, cause=LossCause.PROCESS
        )
        return {item.task_id: (end.kind, end.charged, end.company) for item, end in said}

    def running(self, number: int) -> Running:
        return Running(task_id(number), "short", 1, "r1", NOW, 0, 0, 0, 3)

    def test_what_a_runner_said_of_its_end_counts_once_it_is_gone(self) -> None:
        one, two = self.running(1), self.running(2)
        last = [outcome(one, OutcomeKind.TIMED_OUT), outcome(two, OutcomeKind.RELEASED)]
        assert self.words([one, two], last) == {
            task_id(1): (OutcomeKind.TIMED_OUT, True, None),
            task_id(2): (OutcomeKind.RELEASED, True, None),
        }

    def test_until_its_end_an_attempt_can_save_files_whatever_was_said(self) -> None:
        runner = RunnerState("r1", "r1", "concurrent", "g", NOW, confirmed=True)
        one = self.running(1)
        runner.held = {one.task_id: one}
        runner.last_outcomes = [outcome(one, OutcomeKind.TIMED_OUT, has_files=False)]
        [(_, end)] = last_words(
            runner, "it died", NOW, ended=(), out_of_memory=False, cause=LossCause.PROCESS
        )
        assert end.has_files is True

    def test_only_what_was_sent_may_have_left_files(self) -> None:
        """To look for files costs a call to the object store for each task."""
        runner = RunnerState("r1", "r1", REMOTE_POOL, "g", NOW, confirmed=True)
        sent, unsent = (replace(self.running(number), waits=True) for number in (1, 2))
        runner.held = {item.task_id: item for item in (sent, unsent)}
        runner.undelivered = [Claim(unsent.task_id, "short", 1, "{}", 0, 3, None, None)]
        runner.batch = runner.sent + 1
        said = last_words(
            runner, "it died", NOW, ended=(), out_of_memory=False, cause=LossCause.PROCESS
        )
        assert {item.task_id: (end.kind, end.has_files) for item, end in said} == {
            sent.task_id: (OutcomeKind.RELEASED, True),
            unsent.task_id: (OutcomeKind.RELEASED, False),
        }

    def test_only_the_others_are_to_blame(self) -> None:
        one, two = self.running(1), self.running(2)
        assert self.words([one, two], [outcome(one, OutcomeKind.RELEASED)])[task_id(2)] == (
            OutcomeKind.LOST,
            True,
            1,
        )

    def test_what_it_said_of_another_attempt_does_not_count(self) -> None:
        one = self.running(1)
        other = outcome(Running(task_id(1), "short", 2, "r1", NOW, 0, 0, 0, 3))
        assert self.words([one], [other])[task_id(1)][0] is OutcomeKind.LOST


class TestCompany:
    """A task's company after an attempt."""

    def after(self, tracking: Tracking, kind: OutcomeKind, **changes: object) -> int | None:
        [running] = tracking.claim()
        tracking.settle(running, kind, **changes)
        [again] = tracking.claim()
        company = again.company
        tracking.settle(again, OutcomeKind.RELEASED)
        return company

    def test_a_suspect_is_cleared_by_an_attempt_that_ends_by_itself(
        self, tracking: Tracking
    ) -> None:
        tracking.submit(1, max_attempts=9)
        lost = {"charged": False, "company": 15}
        assert self.after(tracking, OutcomeKind.LOST, **lost) == 15
        assert self.after(tracking, OutcomeKind.RELEASED) == 15
        assert self.after(tracking, OutcomeKind.FAILED, retryable=True) is None

    def test_a_loss_of_another_cause_leaves_it_as_it_was(self, tracking: Tracking) -> None:
        tracking.submit(1)
        assert self.after(tracking, OutcomeKind.LOST, charged=False) is None
        self.after(tracking, OutcomeKind.LOST, charged=False, company=2)
        assert self.after(tracking, OutcomeKind.LOST, charged=False) == 2

    def test_who_was_charged_runs_alone_from_then_on(self, tracking: Tracking) -> None:
        tracking.max_crashes = 3
        tracking.submit(1, max_attempts=9)
        assert self.after(tracking, OutcomeKind.LOST) == 1
        assert self.after(tracking, OutcomeKind.FAILED, retryable=True) == 1

    def test_a_retry_by_a_person_clears_it(self, tracking: Tracking) -> None:
        tracking.max_crashes = 0
        tracking.submit(1)
        [running] = tracking.claim()
        tracking.settle(running, OutcomeKind.LOST)
        tracking.tick(retries=[task_id(1)])
        [again] = tracking.claim()
        assert again.company is None
