"""The steps of counts and totals: what is read is what was written, whatever a step leaves out."""

from collections import Counter
from random import Random

import pytest

from raytasks.model.states import FINAL, State
from raytasks.store import count_steps
from raytasks.store.count_changes import EXPIRED, FINISHED, RETRIED, SUBMITTED, CountChanges
from raytasks.store.count_tables import count_steps as table
from raytasks.store.cursors import direct
from raytasks.store.store import Store

KIND = "space", "kind"


def written(store: Store, changes: list[CountChanges], *, fold: bool = False) -> CountChanges:
    """Write changes, each as a step, and return what is read then; nothing is kept."""
    read = CountChanges()
    with store.writing_own() as connection:
        with direct(connection) as driver:
            for change in changes:
                count_steps.write(driver, change)
            driver.flush()
            if fold:
                count_steps.fold(connection, driver)
        read.counts = Counter(count_steps.read_counts(connection))
        read.totals = Counter(count_steps.read_totals(connection))
        connection.rollback()
    return read


def changed(random: Random) -> CountChanges:
    changes = CountChanges()
    for state in State:
        changes.counts[*KIND, state] = random.randint(-2, 2)
    for name in (SUBMITTED, RETRIED, EXPIRED, *(f"{FINISHED}{state}" for state in FINAL)):
        changes.totals[*KIND, name] = random.randint(0, 2)
    return changes


@pytest.mark.parametrize("fold", [False, True])
def test_what_is_read_is_the_sum_of_all_that_was_written(store: Store, *, fold: bool) -> None:
    random = Random(17)
    steps = [changed(random) for _ in range(300)]
    read = written(store, steps, fold=fold)
    for name in ("counts", "totals"):
        found = {key: number for key, number in getattr(read, name).items() if number}
        sums: Counter[tuple[str, str, str]] = Counter()
        for step in steps:
            sums.update(getattr(step, name))  # negative numbers, too
        assert found == {key: number for key, number in sums.items() if number}


def test_a_step_leaves_out_what_its_counts_imply(store: Store) -> None:
    one = CountChanges()
    one.counts[*KIND, State.RUNNING] = 1
    one.totals[*KIND, SUBMITTED] = 1
    other = CountChanges()
    other.counts.update({(*KIND, State.COMPLETED): 1, (*KIND, State.RUNNING): -1})
    other.totals[*KIND, f"{FINISHED}COMPLETED"] = 1
    with store.writing_own() as connection:
        with direct(connection) as driver:
            count_steps.write(driver, one)
            count_steps.write(driver, other)
        kept = connection.execute(table.select()).all()
    assert [row.changes for row in kept] == ['{"R":1}', '{"C":1,"R":-1}']


def test_a_step_that_was_written_before_the_release_is_read(store: Store) -> None:
    text = '{"COMPLETED":1,"RUNNING":-1,"finished.COMPLETED":1}'
    with store.writing_own() as connection:
        row = {"namespace": "space", "task_type": "kind", "changes": text}
        connection.execute(table.insert(), row)
    assert store.counts() == {(*KIND, State.COMPLETED): 1, (*KIND, State.RUNNING): -1}
    assert store.totals() == {(*KIND, f"{FINISHED}COMPLETED"): 1}
