"""Late outcomes, and log lines, when the database refuses ticks: nothing is forgotten too early."""

import threading

from raytasks.model.states import OutcomeKind
from raytasks.model.task_events import EventQuery, LogEntry, LogLine
from raytasks.model.tasks import StoreUnavailable
from raytasks.protocol.messages import AttemptLog, Outcome
from raytasks.protocol.queries import TaskDetail, TaskEvents
from raytasks.tracker.core import Tracker
from raytasks.tracker.inbox import Inbox
from raytasks.tracker.recovery import MAX_FAILURES
from tests.making import NOW, new_task, outcome, task_id
from tests.tracking import PATIENCE, FaultyStore, ScriptedRunner, let_run


async def test_a_late_outcome_is_acknowledged_only_when_it_is_kept(
    tracker: Tracker, store: FaultyStore
) -> None:
    await tracker.submit([new_task(1)])
    runner = ScriptedRunner(tracker)
    [claim] = await runner.claim()
    store.away = True
    tracker.ticker.losses.mark_lost("r1", "its lease has ended")
    await let_run()
    runner.known = False
    runner.send([outcome(claim)])  # it is back, and that it was lost is not on disk yet
    await let_run()
    assert await runner.acknowledgements() == []
    await let_run()
    store.away = False
    await runner.until_acknowledged(claim.task_id, 1)
    found = await tracker.read(TaskDetail(claim.task_id))
    assert found is not None
    assert found[1][0].outcome == OutcomeKind.LOST
    assert found[1][0].late_outcome == OutcomeKind.SUCCEEDED
    await runner.hang_up()


async def test_the_loss_of_an_attempt_acknowledges_nothing_that_its_runner_says_of_it(
    tracker: Tracker, store: FaultyStore
) -> None:
    await tracker.submit([new_task(1)])
    runner = ScriptedRunner(tracker)
    [claim] = await runner.claim()
    commits = [threading.Event(), threading.Event()]
    waiting: list[threading.Event] = []

    def wait_for_the_test() -> None:
        if len(waiting) < len(commits):
            waiting.append(commits[len(waiting)])
            assert waiting[-1].wait(PATIENCE)

    store.before_commit = wait_for_the_test
    tracker.ticker.losses.mark_lost("r1", "its lease has ended")
    while len(waiting) < 1:  # the loss is on its way to the disk
        await let_run()
    runner.known = False
    runner.send([outcome(claim)])
    await let_run()
    commits[0].set()
    while len(waiting) < 2:  # the loss is on disk, and the late outcome is not
        await let_run()
    early = await runner.acknowledgements()
    commits[1].set()
    assert early == []
    await runner.until_acknowledged(claim.task_id, 1)
    await runner.hang_up()


async def test_lines_stay_with_their_outcome_when_a_tick_is_tried_in_parts(
    tracker: Tracker, store: FaultyStore
) -> None:
    await tracker.submit([new_task(number) for number in (1, 2, 3)])
    runner = ScriptedRunner(tracker)
    claims = await runner.claim()
    lines = [LogLine(1, NOW, "INFO", "the only one")]
    logs = [AttemptLog(claims[0].task_id, 1, 1, lines)]
    refused: list[None] = []

    def refuse() -> None:
        # The whole tick as often as it takes, then the first part of it.
        if len(refused) <= MAX_FAILURES:
            refused.append(None)
            raise StoreUnavailable("refused")

    store.before_commit = refuse
    runner.send([outcome(claim) for claim in claims], logs=logs)
    for claim in claims:
        await runner.until_acknowledged(claim.task_id, 1)
    [page] = await tracker.read(TaskEvents([EventQuery(claims[0].task_id)]))
    assert page is not None
    assert [event.message for event in page.events if isinstance(event, LogEntry)] == [
        "the only one"
    ]
    await runner.hang_up()


def test_what_is_said_of_one_attempt_is_not_parted() -> None:
    inbox, taken = Inbox(), Inbox()
    for number in (1, 2):
        said = Outcome(task_id(number), 1, OutcomeKind.SUCCEEDED, NOW, NOW)
        taken.late.append(("r1", said))
        taken.logs.append(("r1", AttemptLog(said.task_id, 1, number, ())))
    inbox.isolate(taken)
    for number, group in enumerate(inbox.suspects, start=1):
        assert len(group.names()) == 2
        assert all(task_id(number) in name for name in group.names())
    assert len(inbox.suspects) == 2
