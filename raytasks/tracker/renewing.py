"""Tasks that wait again while those of their type were moved: they get their values at once.

They ran, or had ended. So the moves did not meet them, and only their age says where their values
come from.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

from raytasks.store.relaning import Compute, renew
from raytasks.store.transaction import Transaction


class Renewal(NamedTuple):
    """How values of a type are computed that may come from a former place in payloads.

    It concerns what was made before `since`, in seconds since the epoch.
    """

    since: float
    compute: Compute


class _Named(Protocol):
    @property
    def task_id(self) -> str: ...

    @property
    def task_type(self) -> str: ...


def renew_values(
    transaction: Transaction, renewals: Mapping[str, Renewal], tasks: Iterable[_Named]
) -> list[str]:
    """Compute the values of tasks that wait since this transaction; return the ids of those.

    Types without a renewal are left as they are.
    """
    by_type: dict[str, list[str]] = {}
    for task in tasks:
        if task.task_type in renewals:
            by_type.setdefault(task.task_type, []).append(task.task_id)
    for task_type, task_ids in by_type.items():
        renew(transaction, task_ids, renewals[task_type].compute)
    return [name for task_ids in by_type.values() for name in task_ids]
