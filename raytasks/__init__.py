"""raytasks: a durable task queue that is native to Ray.

The way of a task: a client posts it to the API. The API checks it against its handler's payload
model, and passes it to the tracker. The tracker commits it to SQL; only then does the client get
its `202`. A runner in one of the pools claims the task and calls the handler. The outcome goes back
to the tracker, and into SQL.

A handler's author needs `handler`, `Context`, `RetryPolicy` and the errors that a handler may
raise. A driver script needs `submit` and the errors. Each name is imported at its first use.

The package raytasks-client has all that handler modules and HTTP clients need. The rest is in the
package raytasks, which depends on it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

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
    from raytasks.driver.traced_remote import traced_remote
    from raytasks.handling.context import Cancelled, Context
    from raytasks.handling.declaration import handler
    from raytasks.handling.middleware import Invocation, middleware
    from raytasks.model.controls import Batch, Limit, Pool
    from raytasks.model.errors import HandlerError, InvalidSubmission, NoService
    from raytasks.model.retry import (
        AttemptTimeout,
        PermanentError,
        RateLimited,
        RetryAfter,
        RetryPolicy,
        Snooze,
    )
    from raytasks.model.schedule_specs import Schedule
    from raytasks.model.tasks import (
        BacklogFull,
        KeyConflict,
        RaytasksError,
        StateConflict,
        StoreUnavailable,
        TaskFailed,
        TaskNotFound,
        UniqueConflict,
    )

__version__ = "0.6.0"

__all__ = [
    "AttemptTimeout",
    "BacklogFull",
    "Batch",
    "Cancelled",
    "Context",
    "HandlerError",
    "InvalidSubmission",
    "Invocation",
    "KeyConflict",
    "Limit",
    "NoService",
    "PartlySubmitted",
    "PermanentError",
    "Pool",
    "RateLimited",
    "RaytasksError",
    "RetryAfter",
    "RetryPolicy",
    "Schedule",
    "Snooze",
    "StateConflict",
    "StoreUnavailable",
    "SubmittedTask",
    "TaskFailed",
    "TaskNotFound",
    "UniqueConflict",
    "handler",
    "middleware",
    "result",
    "result_async",
    "submit",
    "submit_async",
    "submit_many",
    "submit_many_async",
    "traced_remote",
]

_WHERE = {
    "NoService": "model.errors",
    "PartlySubmitted": "driver.submit",
    "SubmittedTask": "driver.submit",
    "result": "driver.submit",
    "result_async": "driver.submit",
    "submit": "driver.submit",
    "submit_async": "driver.submit",
    "submit_many": "driver.submit",
    "submit_many_async": "driver.submit",
    "traced_remote": "driver.traced_remote",
    "Cancelled": "handling.context",
    "Context": "handling.context",
    "HandlerError": "model.errors",
    "handler": "handling.declaration",
    "Invocation": "handling.middleware",
    "middleware": "handling.middleware",
    "InvalidSubmission": "model.errors",
    "AttemptTimeout": "model.retry",
    "Batch": "model.controls",
    "Limit": "model.controls",
    "Pool": "model.controls",
    "PermanentError": "model.retry",
    "RateLimited": "model.retry",
    "RetryAfter": "model.retry",
    "RetryPolicy": "model.retry",
    "Snooze": "model.retry",
    "Schedule": "model.schedule_specs",
    "BacklogFull": "model.tasks",
    "KeyConflict": "model.tasks",
    "RaytasksError": "model.tasks",
    "StateConflict": "model.tasks",
    "UniqueConflict": "model.tasks",
    "StoreUnavailable": "model.tasks",
    "TaskFailed": "model.tasks",
    "TaskNotFound": "model.tasks",
}


def __getattr__(name: str) -> Any:
    """Import a name at its first use: handler modules must import fast; only drivers need Ray."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(f"{__name__}.{_WHERE[name]}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith(f"{__name__}."):
            raise ImportError(
                f"raytasks.{name} needs the package raytasks, and only raytasks-client is "
                "installed: pip install raytasks",
                name=error.name,
            ) from None
        raise
    found = globals()[name] = getattr(module, name)
    return found


def __dir__() -> list[str]:
    """Return all names, also those that are not imported yet."""
    return sorted({*globals(), *__all__})
