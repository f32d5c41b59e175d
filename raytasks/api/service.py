"""What the routes work with, and how they answer."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from pydantic_core import to_json
from starlette.responses import Response

from raytasks.api.backend import Backend
from raytasks.api.batcher import Batcher
from raytasks.api.problems import ProblemView
from raytasks.artifacts import ArtifactStore
from raytasks.registry import Registry
from raytasks.tracker.watch import TaskWatch

AWAY = HTTPStatus.SERVICE_UNAVAILABLE


@dataclass
class Service:
    """What the routes work with."""

    backend: Backend
    registry: Registry
    artifacts: ArtifactStore
    max_payload_bytes: int
    max_batch_bytes: int
    clock: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        self.batcher = Batcher(self.backend.submit)
        self.watch = TaskWatch(self.backend)
        self.task_types = to_json(
            {"task_types": [info.description for info in self.registry.infos()]}
        )


def problems_of(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """Return what the OpenAPI document says of these answers."""
    return {
        status.value: {"description": status.phrase, "model": ProblemView} for status in statuses
    }


def json_answer(
    body: bytes, status: HTTPStatus = HTTPStatus.OK, headers: dict[str, str] | None = None
) -> Response:
    """Return an answer whose body is JSON already."""
    return Response(body, status.value, headers, media_type="application/json")
