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

    def check_done(self) -> None:
        """Check that nothing noted is left to do. Raises `AssertionError`."""
        assert not self._task_ids, f"{len(self._task_ids)} callbacks were not inserted"


def call_back(transaction: "Transaction") -> list[NewTask]:
    """Insert a callback for each task that became final and has one.

    Returns all that the transaction has inserted so far. Call it after all that ends tasks, and
    before the claim; also before a change of tasks that have ended. The backlog's bound does not
    hold for callbacks, so that none is lost.
    """
    finals = transaction.finals
    made: list[NewTask] = []
    for task_ids in _parts(finals.take()):
        found = transaction.tasks(task_ids)
        made += [callback_of(found[task_id]) for task_id in task_ids]
    transaction.submit(made)
    finals.made += made
    return finals.made


def _parts(task_ids: list[str]) -> Iterable[list[str]]:
    return (
        task_ids[start : start + _READ_AT_ONCE] for start in range(0, len(task_ids), _READ_AT_ONCE)
    )
