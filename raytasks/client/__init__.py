"""The HTTP clients, for programs outside the Ray cluster.

    with Client("http://127.0.0.1:8000") as client:
        task = client.run("text_processing", {"text": "Ray moves the work."})
        print(task["result"])

Four modules do no input or output: `requests`, `answers`, `api` (the steps of each operation) and
`event_stream`. The classes `Client` and `AsyncClient` only carry out the steps.
"""

from raytasks.client.answers import is_temporary
from raytasks.client.api_errors import (
    ApiError,
    BadArgument,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    RevisionChanged,
    ServiceUnavailable,
    TooManyRequests,
    Unauthorized,
    WaitTimeout,
)
from raytasks.client.asynchronous import AsyncClient
from raytasks.client.documents import Artifact
from raytasks.client.documents import AttemptDocument as Attempt
from raytasks.client.documents import BulkOperationDocument as BulkOperation
from raytasks.client.documents import PageDocument as Page
from raytasks.client.documents import StackDocument as Stack
from raytasks.client.documents import SubmissionDocument as Submission
from raytasks.client.documents import SubmittedDocument as Submitted
from raytasks.client.documents import TaskDocument as Task
from raytasks.client.event_stream import (
    EndEvent,
    FeedEvent,
    GapEvent,
    LogEvent,
    ProgressEvent,
    ServiceLogEvent,
    StateEvent,
    TaskEvent,
)
from raytasks.client.inspection_documents import (
    ClusterDocument,
    NodeDocument,
    PoolDocument,
    RunnerDocument,
    VersionDocument,
)
from raytasks.client.inspection_documents import StatsDocument as Stats
from raytasks.client.requests import DEFAULT_URL, Call
from raytasks.client.sync import Client
from raytasks.model.bounds import MAX_IN_BATCH
from raytasks.model.tasks import TaskFailed

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
    "ClusterDocument",
    "Conflict",
    "EndEvent",
    "FeedEvent",
    "Forbidden",
    "GapEvent",
    "Gone",
    "Invalid",
    "LogEvent",
    "NodeDocument",
    "NotFound",
    "Page",
    "PoolDocument",
    "ProgressEvent",
    "RevisionChanged",
    "RunnerDocument",
    "ServiceLogEvent",
    "ServiceUnavailable",
    "Stack",
    "StateEvent",
    "Stats",
    "Submission",
    "Submitted",
    "Task",
    "TaskEvent",
    "TaskFailed",
    "TooManyRequests",
    "Unauthorized",
    "VersionDocument",
    "WaitTimeout",
    "is_temporary",
]
