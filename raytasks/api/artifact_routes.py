"""The files of tasks: a list of them, and their bytes."""

import logging
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from pathlib import PurePosixPath
from typing import Annotated, Any, TypeVar

import anyio
from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json
from starlette.responses import Response, StreamingResponse

from raytasks.api.auth import AnyCaller, NamespaceQuery, Reader
from raytasks.api.problems import Problem
from raytasks.api.route_service import AWAY, Service, json_answer, problems_of
from raytasks.api.routes import TaskId
from raytasks.api_keys import Scope
from raytasks.artifacts.artifact_store import URL_PREFIX
from raytasks.artifacts.large_values import ArtifactsUnavailable

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

_CHUNK_BYTES = 256 * 1024

# Types that a browser may show: pictures in which nothing can run. SVG is not one of them.
_SHOWN = {
    ".avif": "image/avif",
    ".bmp": "image/bmp",
    ".gif": "image/gif",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
}


class ArtifactView(BaseModel):
    """A file that a task has made."""

    model_config = ConfigDict(title="Artifact")

    name: str
    bytes: int
    url: str = Field(description="A link that needs no key, and is good for a while.")


class ArtifactListView(BaseModel):
    """The files of a task, by name."""

    artifacts: list[ArtifactView]


class LinkQuery(NamespaceQuery):
    """The query of a file. The fields of a link make it good without a key."""

    expires: int | None = Field(default=None, ge=0, le=2**53)
    signature: str | None = Field(default=None, max_length=200)

    @property
    def is_link(self) -> bool:
        """Whether this is a link, not a request with a key."""
        return self.expires is not None or self.signature is not None


def artifact_router(service: Service) -> APIRouter:
    """Return the router of the endpoints for the files of tasks."""
    router = APIRouter()

    @router.get(
        "/tasks/{task_id}/artifacts",
        response_model=ArtifactListView,
        responses=problems_of(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY, AWAY),
        summary="List the files that a task has made",
    )
    async def artifacts(
        task_id: TaskId, asked: Annotated[NamespaceQuery, Query()], caller: Reader
    ) -> Response:
        """Return name, size and link of each file.

        The links expire after RAYTASKS_ARTIFACT_LINK_SECONDS.
        """
        await service.task(task_id, caller.namespace_for(asked.namespace))
        files = await _asked(service.artifacts.list, task_id)
        listed = [
            {"name": name, "bytes": size, "url": service.links.to(f"{URL_PREFIX}/{task_id}/{name}")}
            for name, size in files
        ]
        return json_answer(to_json({"artifacts": listed}))

    @router.get(
        URL_PREFIX + "/{task_id}/{name}",
        response_class=Response,
        responses={
            200: {
                "description": "The file. A picture is shown by a browser, all else is saved.",
                "content": {"application/octet-stream": {}, "image/*": {}},
            },
            **problems_of(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY, AWAY),
        },
        summary="Get a file that a task has made",
    )
    async def artifact(
        task_id: TaskId,
        name: Annotated[str, Path(description="The file's name.")],
        asked: Annotated[LinkQuery, Query()],
        caller: AnyCaller,
    ) -> Response:
        """Return the file's bytes: by a key with the scope read, or by a link from the list."""
        if asked.is_link:
            service.links.check(f"{URL_PREFIX}/{task_id}/{name}", asked.expires, asked.signature)
        else:
            caller.check(Scope.READ)
            await service.task(task_id, caller.namespace_for(asked.namespace))
        file, size = await _asked(service.artifacts.open, task_id, name)
        return StreamingResponse(_chunks(file), headers=_headers(name, size))

    return router


async def _asked(ask: Callable[..., Answer], *arguments: str) -> Answer:
    """Ask the artifact store. Raises `Problem` 404, `ArtifactsUnavailable`."""
    try:
        return await anyio.to_thread.run_sync(ask, *arguments)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, ValueError):
        raise Problem(HTTPStatus.NOT_FOUND, "there is no such file") from None
    except Exception as error:
        log.warning("the artifact store does not answer: %r", error)
        raise ArtifactsUnavailable("the artifact store does not work just now") from None


async def _chunks(file: Any) -> AsyncIterator[bytes]:
    try:
        while data := await anyio.to_thread.run_sync(file.read, _CHUNK_BYTES):
            yield data
    finally:
        file.close()


def _headers(name: str, size: int) -> dict[str, str]:
    """Return headers that let nothing in the file run: what a task made is only data."""
    headers = {
        "Content-Type": _SHOWN.get(PurePosixPath(name).suffix.lower(), "application/octet-stream"),
        "Content-Length": str(size),
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "private",
        "Referrer-Policy": "no-referrer",  # a link is a secret
    }
    if headers["Content-Type"] == "application/octet-stream":
        headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return headers
