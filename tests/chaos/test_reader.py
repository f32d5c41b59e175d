"""The reader gives of a real database what the checker takes."""

from raytasks.model.states import OutcomeKind, State
from raytasks.store.store import Store
from tests.chaos.reader import read_history, unfinished
from tests.making import NOW, Tracking, ids


def test_history_of_a_real_database(store: Store, store_url: str) -> None:
    tracking = Tracking(store)
    for number in (1, 2):
        tracking.submit(number, payload=f'{{"token": "t{number}"}}')
    for running in tracking.claim(capacity=1):
        tracking.settle(running, OutcomeKind.SUCCEEDED, result="{}")
    assert unfinished(store_url) == ids([2])

    history = read_history(store_url)
    assert history.tokens == dict(zip(ids([1, 2]), ["t1", "t2"], strict=True))
    assert {task.task_id: task.state for task in history.tasks} == dict(
        zip(ids([1, 2]), [State.COMPLETED, State.PENDING], strict=True)
    )
    [attempt] = history.attempts
    assert attempt.outcome is OutcomeKind.SUCCEEDED
    assert (attempt.task_id, attempt.attempt, attempt.finished_at) == (*ids([1]), 1, NOW)
    counted = {key: number for key, number in history.counts.items() if number}
    assert counted == {("short", State.COMPLETED): 1, ("short", State.PENDING): 1}
