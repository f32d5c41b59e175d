"""The tasks that became final in a transaction, by whatever path, and what that inserts."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from raytasks.model.callbacks import callback_of
from raytasks.model.tasks import NewTask

if TYPE_CHECKING:
    from raytasks.store.transaction import Transaction

_READ_AT_ONCE = 5000  # a statement has a maximum of parameters


class Finals:
    """The notes of one transaction: the ids of ended tasks that have a callback.

    - `made`: the callbacks that it has inserted.
    """

    def __init__(self) -> None:
        self._task_ids: list[str] = []
        self.made: list[NewTask] = []

    def note(self, task_ids: Iterable[str]) -> None:
        """Note tasks with a callback that have become final."""
        self._task_ids += task_ids

    def take(self) -> list[str]:
        """Return the ids noted so far, and forget them."""
        taken, self._task_ids = self._task_ids, []
        return taken

    def take_made(self) -> list[NewTask]:
        """Return the callbacks that were inserted so far, and forget them."""
        made, self.made = self.made, []
        return made

    def check_done(self) -> None:
        """Check that nothing noted is left to do. Raises `AssertionError`."""
        assert not self._task_ids, f"{len(self._task_ids)} callbacks were not inserted"


def call_back(transaction: "Transaction") -> list[NewTask]:
    """Insert a callback for each task that became final and has one.

    Returns all that the transaction has inserted since the last call. Call it after all that ends
    tasks, and before the claim. The backlog's bound does not hold for callbacks, so that none is
    lost.
    """
    insert_callbacks(transaction)
    return transaction.finals.take_made()


def insert_callbacks(transaction: "Transaction") -> None:
    """Insert the callbacks, as tasks that have ended are to change or to go; see `call_back`."""
    finals = transaction.finals
    made: list[NewTask] = []
    for task_ids in _parts(finals.take()):
        found = transaction.tasks(task_ids)
        made += [callback_of(found[task_id]) for task_id in task_ids]
    transaction.submit(made)
    finals.made += made


def _parts(task_ids: list[str]) -> Iterable[list[str]]:
    return (
        task_ids[start : start + _READ_AT_ONCE] for start in range(0, len(task_ids), _READ_AT_ONCE)
    )
