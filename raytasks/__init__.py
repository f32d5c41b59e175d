"""raytasks: a durable task queue that is native to Ray.

The way of a task: a client posts it to the API, which checks it against its handler's payload
model and passes it to the tracker; the tracker commits it to SQL, and only then does the client
get its `202`. The tracker hands the task to a runner in one of the pools, the runner calls the
handler, and the outcome goes back to the tracker and into SQL.

A handler's author needs `handler`, `Context`, `RetryPolicy` and what a handler may raise; a
driver script needs `submit` and `TaskFailed`.
"""

from typing import TYPE_CHECKING, Any

from raytasks.handling.context import Cancelled, Context
from raytasks.handling.registry import handler
from raytasks.model.retry import AttemptTimeout, PermanentError, RetryAfter, RetryPolicy, Snooze
from raytasks.model.tasks import TaskFailed

if TYPE_CHECKING:
    from raytasks.driver.submit import (
        PartlySubmitted,
        SubmittedTask,
        result,
        result_async,
        submit,
        submit_async,
        submit_many,
        submit_many_async,
    )

__version__ = "0.1.0"

__all__ = [
    "AttemptTimeout",
    "Cancelled",
    "Context",
    "PartlySubmitted",
    "PermanentError",
    "RetryAfter",
    "RetryPolicy",
    "Snooze",
    "SubmittedTask",
    "TaskFailed",
    "handler",
    "result",
    "result_async",
    "submit",
    "submit_async",
    "submit_many",
    "submit_many_async",
]

_FROM_DRIVER = frozenset(
    {
        "PartlySubmitted",
        "SubmittedTask",
        "result",
        "result_async",
        "submit",
        "submit_async",
        "submit_many",
        "submit_many_async",
    }
)


def __getattr__(name: str) -> Any:
    """Import what needs Ray only when it is asked for: a handler module must import fast."""
    if name in _FROM_DRIVER:
        from raytasks.driver import submit as driver

        return getattr(driver, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
