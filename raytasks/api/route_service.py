"""The service as the routes use it, and the helpers with which they answer."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_json
from starlette.responses import Response

from raytasks.api.backend import Backend
from raytasks.api.check_threads import CheckThreads
from raytasks.api.events.source import EventSource
from raytasks.api.live_view import LiveView
from raytasks.api.openapi import reference_to
from raytasks.api.outbox_tasks import CommittedTask, OutboxTasks
from raytasks.api.problems import CONTENT_TYPE, Problem, ProblemView
from raytasks.api.request_bounds import WaitingRoom
from raytasks.api.signing import Links
from raytasks.api.submitter import Submitter
from raytasks.api.views import HIDE_ALL, ShownTask, show
from raytasks.artifacts.artifact_store import ArtifactStore
from raytasks.artifacts.large_values import LargeValues
from raytasks.handling.callback_terms import NO_CALLBACKS, CallbackTerms
from raytasks.handling.registry import Registry
from raytasks.handling.submission import PayloadBounds
from raytasks.model.states import State
from raytasks.model.task_filter import is_reserved
from raytasks.model.tasks import AttemptRecord, StoreUnavailable, Task, TaskNotFound, is_task_id
from raytasks.protocol.feed_follower import TaskWatch
from raytasks.protocol.queries import TaskCounts, TaskDetail

AWAY = HTTPStatus.SERVICE_UNAVAILABLE


@dataclass
class Service:
    """All that the routes work with: backend, handlers, settings and files."""

    backend: Backend
    registry: Registry
    artifacts: ArtifactStore
    values: LargeValues
    max_payload_bytes: int
    max_batch_bytes: int
    max_depth: int
    debug: bool
    waiting_room: WaitingRoom
    links: Links
    clock: Callable[[], float] = time.time
    callbacks: CallbackTerms = NO_CALLBACKS

    def __post_init__(self) -> None:
        self.submitter = Submitter(self.backend.submit)
        self.check_threads = CheckThreads()
        self.payload_bounds = PayloadBounds(self.max_payload_bytes, self.max_depth)
        self.watch = TaskWatch(self.backend)
        self.live = LiveView(self.backend)
        self.events = EventSource(self.backend)
        self.outbox = OutboxTasks(self.backend, self.registry)
        self.task_types = to_json(
            {"task_types": [info.description for info in self.registry.infos()]}
        )

    @property
    def ids_by_clock(self) -> bool:
        """Whether the ids of tasks tell about when they were created. See `TaskFilter`."""
        return self.clock is time.time

    def shown(self, task: Task, *, operates: bool) -> ShownTask:
        """Return a task without what its handler keeps secret from a caller.

        Without its handler, nobody knows what is secret. Then only those who operate see it.
        """
        if is_reserved(task.task_type):
            return ShownTask(task)
        spec = self.registry.get(task.task_type)
        if spec is not None:
            return show(task, spec.mask_for(operates=operates))
        return show(task, None if operates else HIDE_ALL)

    async def task(
        self, task_id: str, namespace: str, wait_seconds: float = 0.0
    ) -> tuple[Task, list[AttemptRecord]]:
        """Return a task with its attempts, as soon as it has ended, or after the wait.

        Raises `TaskNotFound`, also for a task of another namespace, and `Problem` if too many wait.
        """
        check_id(task_id)
        if wait_seconds:
            async with self.waiting_room.place():
                found = await self._final(task_id, namespace, wait_seconds)
        else:
            found = await self.backend.read(TaskDetail(task_id))
            found = found or await self.outbox.find(task_id, namespace, 0.0)
        if found is None or found[0].namespace != namespace:
            raise TaskNotFound(f"there is no task {task_id}")
        return found

    async def _final(
        self, task_id: str, namespace: str, wait_seconds: float
    ) -> tuple[Task, list[AttemptRecord]] | None:
        give_up_at = time.monotonic() + wait_seconds
        found = await self.watch.final(task_id, wait_seconds, namespace)
        if found is None:
            found = await self.outbox.find(task_id, namespace, wait_seconds)
            if found is not None and not isinstance(found[0], CommittedTask):
                left = max(0.0, give_up_at - time.monotonic())
                return await self.watch.final(task_id, left, namespace)
        return found

    def check_handler(self, task_type: str) -> None:
        """Refuse to run tasks of this type again if it has no handler. Raises `Problem`."""
        if self.registry.get(task_type) is None and not is_reserved(task_type):
            raise Problem(
                HTTPStatus.CONFLICT,
                f"there is no handler for {task_type!r} in this version, so the task would wait "
                "for ever; deploy a version that has one first",
            )

    async def without_handler(self, namespace: str, states: Iterable[State]) -> list[str]:
        """Return the types of a namespace's tasks in these states that have no handler, sorted.

        It is empty while the database does not answer.
        """
        try:
            counts = await self.backend.read(TaskCounts(namespace))
        except StoreUnavailable:
            return []
        names = {state.value for state in states}
        return sorted(
            task_type
            for task_type, found in counts["by_type"].items()
            if names & found.keys() and self.registry.get(task_type) is None
        )


def check_id(task_id: str) -> None:
    """Refuse a text that cannot be a task's id, without a query to the database.

    Raises `TaskNotFound`.
    """
    if not is_task_id(task_id):
        raise TaskNotFound(f"there is no task {task_id[:100]}")


def problems_of(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI description of these error answers."""
    # By reference: for a model, the framework makes a validator for each answer of each route.
    content = {CONTENT_TYPE: {"schema": reference_to(ProblemView)}}
    return {status.value: {"description": status.phrase, "content": content} for status in statuses}


BODY_PROBLEMS = problems_of(
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.CONFLICT,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.TOO_MANY_REQUESTS,
    AWAY,
)
"""The problems of a request that has a body and makes something."""


@cache
def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """Return a model's JSON schema, made once in a process. Do not change it."""
    return model.model_json_schema()


def body_extra(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the OpenAPI description of a body that the route reads itself.

    The definitions of the schema are put where they are referred to. They would be in the wrong
    place of the document.
    """
    content = {"application/json": {"schema": _inlined(schema, {})}}
    return {"requestBody": {"required": True, "content": content}}


def _inlined(schema: Any, definitions: Mapping[str, Any]) -> Any:
    match schema:
        case {"$ref": str(place), **others} if place.startswith("#/$defs/"):
            found = definitions[place.removeprefix("#/$defs/")]
            return _inlined({**found, **others}, definitions)
        case {"$defs": dict(own), **others}:
            return _inlined(others, {**definitions, **own})
        case dict():
            return {name: _inlined(value, definitions) for name, value in schema.items()}
        case list():
            return [_inlined(value, definitions) for value in schema]
    return schema


def json_answer(
    body: bytes, status: HTTPStatus = HTTPStatus.OK, headers: Mapping[str, str] | None = None
) -> Response:
    """Return an answer whose body is already JSON text."""
    return JsonResponse(body, status.value, headers)


def etag_of(task: Task) -> dict[str, str]:
    """Return the header with a task's revision, by which a change says what it changes."""
    return {"ETag": f'"{task.revision}"'}


class JsonResponse(Response):
    """An answer of JSON text: like `Response`, but faster, as its headers are known."""

    media_type = "application/json"

    def init_headers(self, headers: Mapping[str, str] | None = None) -> None:
        """Set the given headers, and those of the content.

        None of those given may be about the content.
        """
        given = () if headers is None else headers.items()
        self.raw_headers = [
            *((name.lower().encode("latin-1"), text.encode("latin-1")) for name, text in given),
            (b"content-length", b"%d" % len(self.body)),
            (b"content-type", b"application/json"),
        ]
