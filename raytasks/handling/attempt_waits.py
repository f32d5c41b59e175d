"""The waits of attempts: the tasks whose end the attempt that runs here waits for. Plain Python.

A runner notes here which attempt runs. Code that waits for a task on the attempt's behalf notes the
task. The runner tells the tracker, which so learns which runners only wait.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class AttemptWaits:
    """The tasks, by id, whose end one attempt waits for.

    Its methods may be called from any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: Counter[str] = Counter()
        self._pending: dict[str, Callable[[], bool]] = {}

    @contextmanager
    def waiting(self, task_id: str) -> Iterator[None]:
        """Note that the end of a task is waited for while the block runs."""
        with self._lock:
            self._waiting[task_id] += 1
        try:
            yield
        finally:
            with self._lock:
                self._waiting[task_id] -= 1

    def watch(self, task_id: str, pending: Callable[[], bool]) -> None:
        """Note a reference to a task's result. It may be waited for while it is `pending`."""
        with self._lock:
            self._pending[task_id] = pending

    def blocked(self) -> str | None:
        """Return a task that a blocked call waits for; None if there is none."""
        with self._lock:
            return next((task_id for task_id, count in self._waiting.items() if count), None)

    @property
    def has_references(self) -> bool:
        """Whether there may be a reference whose value is not there yet."""
        return bool(self._pending)

    def referred(self) -> str | None:
        """Return a task whose reference has no value yet; None if there is none."""
        while True:
            with self._lock:
                task_id, pending = next(iter(self._pending.items()), (None, None))
            if task_id is None or pending is None or pending():
                return task_id
            with self._lock:
                self._pending.pop(task_id, None)


_present: ContextVar[AttemptWaits | None] = ContextVar("raytasks_attempt_waits", default=None)


def present() -> AttemptWaits | None:
    """Return the waits of the attempt that runs in this context; None outside of an attempt."""
    return _present.get()


@contextmanager
def noting(waits: AttemptWaits) -> Iterator[None]:
    """Note in `waits` what is waited for in the block."""
    token = _present.set(waits)
    try:
        yield
    finally:
        _present.reset(token)


@contextmanager
def waiting_for(task_id: str) -> Iterator[None]:
    """Note, inside an attempt, that the end of a task is waited for. Elsewhere, do nothing."""
    waits = _present.get()
    if waits is None:
        yield
        return
    with waits.waiting(task_id):
        yield
