"""The short form of the proof: what writers have committed are the tasks, whoever is killed."""

from raytasks.store.database_url import without_password
from tests.outbox.proof import prove


def test_tasks_are_exactly_the_committed_rows(postgres_url: str) -> None:
    evidence = prove(postgres_url, transactions=200, writers=8, kills=2, max_delay=0.5)
    assert evidence.holds, (evidence, without_password(postgres_url))
    assert (evidence.trackers_killed, evidence.writers_killed) == (1, 1)
    assert evidence.out_of_order, "no commit came after one with a greater id"
    assert 0 < evidence.orders < evidence.transactions
