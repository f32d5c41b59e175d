"""A tick hands out, takes in and settles only so much, whatever waits; and never nothing."""

import asyncio
from typing import Any

import pytest

from raytasks.model.states import OutcomeKind
from raytasks.protocol import local_socket as local_rpc
from raytasks.protocol.messages import Report
from raytasks.store import candidates
from raytasks.store.store import Store
from raytasks.tracker import claim_plan, sharing
from raytasks.tracker import inbox as inbox_module
from raytasks.tracker.awaited_commands import Submission
from raytasks.tracker.inbox import Inbox
from tests.making import Tracking, capacity_request, lane_ask, new_task, outcome, task_id
from tests.tracking import FaultyStore, ScriptedRunner, tracker_on


def text(size: int) -> str:
    return '"' + "x" * (size - 2) + '"'


def requests(number: int, capacity: int = 100) -> list[Any]:
    return [
        capacity_request(f"r{i}", capacity=capacity, short=capacity, other=capacity)
        for i in range(number)
    ]


class TestClaims:
    def claim(self, tracking: Tracking, number: int = 1) -> dict[str, list[int]]:
        """Return the sizes of what each runner is given in one tick."""
        given: dict[str, list[int]] = {}
        for running, claim in tracking.tick(requests=requests(number)).claimed:
            size = len(claim.payload) + len(claim.checkpoint or "")
            given.setdefault(running.runner_id, []).append(size)
        return given

    def test_there_are_only_so_many(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in (candidates, sharing):
            monkeypatch.setattr(module, "MAX_CLAIMS", 10)
        tracking = Tracking(store)
        tracking.submit(*range(15))
        tracking.submit(*range(15, 30), task_type="other")
        first = tracking.tick(requests=requests(3))
        assert 1 <= len(first.claimed) <= 10
        claimed = {running.task_id for running, _ in first.claimed}
        for _ in range(5):
            done = tracking.tick(requests=requests(3))
            claimed |= {running.task_id for running, _ in done.claimed}
        assert len(claimed) == 30

    def test_a_batch_has_only_so_many_bytes(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sharing, "MAX_BATCH_BYTES", 1000)
        tracking = Tracking(store)
        tracking.submit(*range(8), payload=text(400))
        assert self.claim(tracking, 2) == {"r0": [400, 400], "r1": [400, 400]}
        assert self.claim(tracking) == {"r0": [400, 400]}

    def test_so_few_as_fit_a_message(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(local_rpc, "MAX_BYTES", 8000)
        tracking = Tracking(store)
        tracking.submit(*range(8), payload=text(400))
        assert self.claim(tracking) == {"r0": [400, 400]}

    def test_a_tick_has_only_so_many_bytes(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sharing, "MAX_CLAIM_BYTES", 1000)
        tracking = Tracking(store)
        tracking.submit(*range(8), payload=text(400))
        assert sum(map(len, self.claim(tracking, 5).values())) == 2
        assert sum(map(len, self.claim(tracking, 5).values())) == 2

    def test_a_single_one_that_is_too_large_passes(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sharing, "MAX_BATCH_BYTES", 1000)
        monkeypatch.setattr(sharing, "MAX_CLAIM_BYTES", 1000)
        tracking = Tracking(store)
        tracking.submit(1, 2, payload=text(5000))
        tracking.now += 1
        tracking.submit(3, run_at=tracking.now)
        assert [self.claim(tracking, 2) for _ in range(3)] == [
            {"r0": [5000]}, {"r0": [5000]}, {"r0": [2]},
        ]  # fmt: skip

    def test_checkpoints_count(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sharing, "MAX_BATCH_BYTES", 1000)
        tracking = Tracking(store)
        tracking.submit(*range(4))
        claimed = tracking.claim()
        reports = [Report(item.task_id, 1, 1, checkpoint=text(398)) for item in claimed]
        tracking.tick(reports=reports)
        tracking.tick(outcomes=[(x, outcome(x, OutcomeKind.RELEASED)) for x in claimed])
        assert self.claim(tracking) == {"r0": [400, 400]}

    @pytest.mark.parametrize("size", [10, 2000])
    def test_what_is_not_read_at_once_is_all_there(
        self, store: Store, size: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(candidates, "_READ_BYTES", 100_000)  # 1,000 for each of a hundred
        tracking = Tracking(store)
        tracking.submit(1, payload=text(size))
        [running] = tracking.claim(capacity=100, short=100)
        tracking.tick(reports=[Report(running.task_id, 1, 1, checkpoint=text(size + 1))])
        tracking.settle(running, OutcomeKind.RELEASED)
        [(_, claim)] = tracking.tick(requests=[capacity_request(capacity=100, short=100)]).claimed
        assert (claim.payload, claim.checkpoint) == (text(size), text(size + 1))

    def test_what_shows_where_a_lane_goes_on_counts(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(candidates, "_READ_BYTES", 1000)
        tracking = Tracking(store)
        tracking.submit(1, 2, payload=text(600))
        with tracking.store.transaction(now=tracking.now) as transaction:
            rows = transaction.candidates([lane_ask(1, looks_on=True)])
        assert sum(len(row.payload or "") for row in rows) <= 1000


async def test_a_tick_that_was_cut_is_followed_by_the_next(
    store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runners that wait for work get it at once, not only with their next heartbeat."""
    monkeypatch.setattr(claim_plan, "MAX_ROWS", 1)
    async with tracker_on(store) as tracker:
        tracker.fleet.averages.add("short", 0.001)
        runners = [ScriptedRunner(tracker, f"r{i}", capacity=1, short=1) for i in range(4)]
        calls = [runner.send() for runner in runners]
        await asyncio.sleep(0)
        await tracker.submit([new_task(number) for number in range(4)])
        async with asyncio.timeout(10):
            given = [claim for call in calls for claim in (await call).claims]
        assert len(given) == 4


class TestInbox:
    async def test_new_tasks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(inbox_module, "MAX_SUBMITTED", 10)
        waiting = Inbox()
        sizes = [4, 4, 4, 25, 1]
        waiting.submissions += [
            Submission(tuple(new_task(number) for number in range(size))) for size in sizes
        ]
        taken = []
        while not waiting.empty:
            taken.append([len(item.tasks) for item in waiting.take().submissions])
        assert taken == [[4, 4], [4], [25], [1]]

    async def test_outcomes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(inbox_module, "MAX_OUTCOMES", 3)
        waiting = Inbox()
        tracked = Tracked()
        for number, size in enumerate([1, 2, 3, 4, 5, 6, 7]):
            ended = outcome(tracked.running(number), result="x" * size)
            waiting.outcomes.append((tracked.running(number), ended))
        taken = []
        while not waiting.empty:
            taken.append([len(item.result or "") for _, item in waiting.take().outcomes])
        assert taken == [[1, 2, 3], [4, 5, 6], [7]]

    async def test_what_comes_before_an_outcome_is_not_overtaken(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(inbox_module, "MAX_OUTCOMES", 1)
        waiting = Inbox()
        for n in range(5):
            waiting.reports.append(("r1", Report(task_id(n), 1, n, 0.5)))
        tracked = Tracked()
        for n in range(5):
            waiting.outcomes.append((tracked.running(n), outcome(tracked.running(n))))
        first = waiting.take()
        assert (len(first.reports), len(first.outcomes)) == (5, 1)


class Tracked:
    def running(self, number: int) -> Any:
        from raytasks.model.tasks import Running

        return Running(task_id(number), "short", 1, "r1", 0.0, 0, 0, 0, 3)
