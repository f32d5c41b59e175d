"""A worker's thread in the test's process, without a tracker: what becomes of each claim."""

import threading
from collections.abc import Callable
from typing import Any

from pydantic_core import from_json

from raytasks.handling.context import LocalChannel
from raytasks.handling.declaration import handler_of
from raytasks.handling.registry import Registry
from raytasks.protocol.messages import Claim, Outcome
from raytasks.runner.worker import Worker
from raytasks.runner.workplace import Workplace

PATIENCE = 20


class Working:
    """Runs attempts of these handlers one after the other, in one thread."""

    def __init__(self, *targets: Callable[..., Any], **workplace: Any) -> None:
        self.channel = LocalChannel()
        self.workplace = Workplace(**workplace)
        self._told = threading.Condition()
        self._outcomes: list[Outcome] = []
        self.worker = Worker(
            Registry(handler_of(target) for target in targets),
            self.workplace,
            lambda _: self.channel,
            self._notify,
        )
        self.worker.start()

    def run(self, *task_types: str, **options: Any) -> list[Outcome]:
        """Return how an attempt of each of these types ended."""
        values = {"failures": 0, "max_attempts": 3, "timeout_seconds": None, **options}
        claims = [
            Claim(f"t{number}", task_type, 1, "{}", checkpoint=None, **values)
            for number, task_type in enumerate(task_types)
        ]
        with self._told:
            self._outcomes.clear()
            self.worker.add(claims)
            assert self._told.wait_for(lambda: len(self._outcomes) == len(claims), PATIENCE)
            return [*self._outcomes]

    def result(self, task_type: str) -> Any:
        """Return the result of an attempt, which must succeed."""
        [outcome] = self.run(task_type)
        assert outcome.result is not None, outcome
        return from_json(outcome.result)

    def error(self, task_type: str) -> dict[str, Any]:
        """Return the error of an attempt, which must fail."""
        [outcome] = self.run(task_type)
        assert outcome.error is not None, outcome
        found: dict[str, Any] = from_json(outcome.error)
        return found

    def _notify(self) -> None:
        with self._told:
            self._outcomes += self.worker.take_outcomes()
            self._told.notify_all()
