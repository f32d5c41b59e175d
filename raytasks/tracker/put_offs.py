"""Tasks that are put off, and hold up those behind them: the order by key."""

import heapq
from collections.abc import Callable, Iterable

from raytasks.tracker.gates import Gate


class PutOffs:
    """The tasks that have run and wait for their time to run again, where their order counts.

    Until such a task is ready, the gate of its key is closed. `on_open` gets a gate that may be
    open again.
    """

    def __init__(self, on_open: Callable[[Gate], None]) -> None:
        self._on_open = on_open
        self._due: list[tuple[float, str]] = []
        self._gates: dict[str, list[Gate]] = {}

    def __len__(self) -> int:
        return len(self._gates)

    def __contains__(self, task_id: object) -> bool:
        return task_id in self._gates

    def clear(self) -> None:
        """Forget all; the gates are read again."""
        self._due.clear()
        self._gates.clear()

    def add(self, task_id: str, run_at: float, gates: Iterable[Gate]) -> None:
        """Close the ordered ones of a task's gates until it is ready: not before `run_at`."""
        closed = [gate for gate in gates if gate.limit.declared.ordered]
        for gate in closed:
            if gate.put_off is None:
                gate.put_off = {}
            gate.put_off[task_id] = run_at
        if closed:
            self._gates[task_id] = closed
            heapq.heappush(self._due, (run_at, task_id))

    def remove(self, task_id: str) -> None:
        """Open the gates that a task holds closed: it is ready, or over."""
        for gate in self._gates.pop(task_id, ()):
            if gate.put_off is not None:
                gate.put_off.pop(task_id, None)
                gate.put_off = gate.put_off or None
            self._on_open(gate)

    def promoted(self, next_due: float | None) -> None:
        """Open what tasks hold closed that are ready by now.

        All tasks that are not ready are due at `next_due` or later; None: all are ready.
        """
        while self._due and (next_due is None or self._due[0][0] < next_due):
            run_at, task_id = heapq.heappop(self._due)
            gates = self._gates.get(task_id, ())
            if any(gate.put_off and gate.put_off.get(task_id) == run_at for gate in gates):
                self.remove(task_id)
