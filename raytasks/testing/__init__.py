"""The test kit for handlers, and for programs that call the API: no cluster, no Ray, no waiting.

`run_handler` runs one attempt. A `Queue` is a whole service in this process: the real API, tracker,
database and retry rules, with a clock that only the test moves. See `docs/testing.md`.
"""

from raytasks.testing.bench import run_handler
from raytasks.testing.clock import FakeClock
from raytasks.testing.notes import AttemptRun, Logged, ProcessDied, Progress
from raytasks.testing.queue import NotIdle, Queue
from raytasks.testing.task import QueuedTask

__all__ = [
    "AttemptRun",
    "FakeClock",
    "Logged",
    "NotIdle",
    "ProcessDied",
    "Progress",
    "Queue",
    "QueuedTask",
    "run_handler",
]
