"""The routes by which an operator looks at runners, nodes and versions."""

from http import HTTPStatus
from typing import Any

from fastapi import APIRouter
from pydantic import AwareDatetime, BaseModel
from pydantic_core import to_json
from starlette.responses import Response

from raytasks.api.auth import ServiceOperator
from raytasks.api.route_service import AWAY, Service, json_answer, problems_of
from raytasks.protocol.queries import NodeList, NodesComing, Query, RunnerList, VersionList

_PROBLEMS = problems_of(HTTPStatus.FORBIDDEN, AWAY)


class HeldAttemptView(BaseModel):
    """An attempt that a runner holds.

    The `seconds` are since it began, or since its claim if it has not `begun`. Its time limit is
    `timeout_seconds` from its beginning. At `last_sign_at` it last reported progress, a checkpoint
    or a log line. If it did not, that is when it began.
    """

    task_id: str
    task_type: str
    namespace: str
    attempt: int
    begun: bool
    seconds: float
    timeout_seconds: float | None
    last_sign_at: AwareDatetime | None


class RunnerDocumentView(BaseModel):
    """A runner.

    - `state`: `starting`, `idle`, `busy` or `leaving`.
    - `version`: the newest version of the handlers that has its `generation`.
    - `way`: how it calls the tracker, `socket` or `ray`.
    - `waits_for`: the task that its attempt waits for.
    - `running`: at most 100 of its attempts, out of `running_count`.
    """

    name: str
    pool: str
    state: str
    host: str | None
    pid: int | None
    node_id: str | None
    since: AwareDatetime | None
    last_seen_at: AwareDatetime | None
    version: int | None
    generation: str
    way: str | None
    waits_for: str | None
    running_count: int
    running: list[HeldAttemptView]


class RunnersView(BaseModel):
    """The runners, by pool and name."""

    runners: list[RunnerDocumentView]


class ResourceView(BaseModel):
    """How much of a resource a node has, and how much of it is free; null if that is unknown."""

    total: float
    free: float | None


class NodeView(BaseModel):
    """A node of the Ray cluster. `runners` has the names of those on it.

    A `leaving` one was told to leave the cluster, and takes no more work.
    """

    node_id: str
    host: str
    address: str
    alive: bool
    head: bool
    leaving: bool
    resources: dict[str, ResourceView]
    labels: dict[str, str]
    runners: list[str]


class NodesView(BaseModel):
    """The nodes: the head first, then those that are alive.

    `nodes_coming` is how many Ray's autoscaler is adding, by the names of their types.
    """

    nodes: list[NodeView]
    nodes_coming: dict[str, int]


class VersionChangesView(BaseModel):
    """The task types by which a version differs from an earlier one.

    It is compared with the newest one before it that had passed: number `since`. Types that are
    `changed` have another declaration. New code with the same declaration is no change here.
    """

    since: int
    added: list[str]
    gone: list[str]
    changed: list[str]


class VersionView(BaseModel):
    """A version of the handlers.

    The `state` is `trial`, `passed` or `failed`, with the `error`. The types and the changes are
    null where they are not known. They are stored since 0.6, and the first version has no changes.
    """

    number: int
    generation: str
    state: str
    seen_at: AwareDatetime
    in_force: bool
    error: str | None
    task_types: list[str] | None
    changes: VersionChangesView | None


class VersionsView(BaseModel):
    """The newest versions of the handlers, the newest first, at most 100."""

    versions: list[VersionView]


def inspection_router(service: Service) -> APIRouter:
    """Return the router of these endpoints."""
    router = APIRouter()

    async def answer(name: str, query: Query[list[dict[str, Any]]]) -> Response:
        return json_answer(to_json({name: await service.backend.read(query)}))

    @router.get(
        "/runners",
        response_model=RunnersView,
        responses=_PROBLEMS,
        summary="List the runners, and what they run",
    )
    async def runners(_caller: ServiceOperator) -> Response:
        """Return each runner with its process, its version and its attempts."""
        return await answer("runners", RunnerList())

    @router.get(
        "/nodes", response_model=NodesView, responses=_PROBLEMS, summary="List the cluster's nodes"
    )
    async def nodes(_caller: ServiceOperator) -> Response:
        """Return each node with its resources, and how many nodes are being added.

        It is as seen within the last seconds.
        """
        nodes = await service.backend.read(NodeList())
        coming = await service.backend.read(NodesComing())
        return json_answer(to_json({"nodes": nodes, "nodes_coming": coming}))

    @router.get(
        "/versions",
        response_model=VersionsView,
        responses=_PROBLEMS,
        summary="List the versions of the handlers",
    )
    async def versions(_caller: ServiceOperator) -> Response:
        """Return the newest versions, with the results of their trials and what has changed."""
        return await answer("versions", VersionList())

    return router
