"""The HTTP clients: what a program calls that is not on the Ray cluster itself.

    with Client("http://127.0.0.1:8000") as client:
        task = client.run("text_processing", {"text": "Ray moves the work."})
        print(task["result"])

What is asked (`calls`), what the answers mean (`answers`), what follows from them (`api`) and what
is new in a stream of events (`events`) is plain code without input and output; `Client` and
`AsyncClient` only carry it.
"""

from raytasks.client.answers import is_temporary
from raytasks.client.asynchronous import AsyncClient
from raytasks.client.calls import DEFAULT_URL, Call
from raytasks.client.documents import (
    Artifact,
    Attempt,
    BulkOperation,
    Page,
    Stats,
    Submission,
    Task,
)
from raytasks.client.errors import (
    ApiError,
    BadArgument,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    ServiceUnavailable,
    TaskFailed,
    TooManyRequests,
    Unauthorized,
    WaitTimeout,
)
from raytasks.client.events import (
    EndEvent,
    FeedEvent,
    GapEvent,
    LogEvent,
    ProgressEvent,
    StateEvent,
    TaskEvent,
)
from raytasks.client.sync import Client
from raytasks.model.bounds import MAX_IN_BATCH

__all__ = [
    "DEFAULT_URL",
    "MAX_IN_BATCH",
    "ApiError",
    "Artifact",
    "AsyncClient",
    "Attempt",
    "BadArgument",
    "BulkOperation",
    "Call",
    "Client",
    "Conflict",
    "EndEvent",
    "FeedEvent",
    "Forbidden",
    "GapEvent",
    "Gone",
    "Invalid",
    "LogEvent",
    "NotFound",
    "Page",
    "ProgressEvent",
    "ServiceUnavailable",
    "StateEvent",
    "Stats",
    "Submission",
    "Task",
    "TaskEvent",
    "TaskFailed",
    "TooManyRequests",
    "Unauthorized",
    "WaitTimeout",
    "is_temporary",
]
