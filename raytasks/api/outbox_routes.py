"""The routes of the outbox: what waits there, and the nudge that has it looked at."""

from http import HTTPStatus

from fastapi import APIRouter
from pydantic import BaseModel
from pydantic_core import to_json
from starlette.responses import Response

from raytasks.api.auth import ServiceOperator, Submitter
from raytasks.api.route_service import AWAY, Service, json_answer, problems_of
from raytasks.protocol.commands import NudgeOutbox
from raytasks.protocol.queries import OutboxView


class OutboxStateView(BaseModel):
    """The outbox at the tracker's last look.

    - `rows`: how many committed tasks wait to be taken, counted up to 100,000.
    - `oldest_seconds`: for how long the oldest of them has waited; 0 if none waits.
    - `held_by`: why they wait: `backlog_full`, `no_version`, `database_away`, or null. It is
      `locked` if another session of the database has locked the oldest, and `refused` if the
      database refuses it.
    - `set_aside`: how many rows the database refuses. They are tried again by themselves.
    """

    rows: int
    oldest_seconds: float
    held_by: str | None
    set_aside: int


class NudgedView(BaseModel):
    """The answer to a nudge."""

    status: str


def outbox_router(service: Service) -> APIRouter:
    """Return the router of these endpoints."""
    router = APIRouter()

    @router.get(
        "/outbox",
        response_model=OutboxStateView,
        responses=problems_of(HTTPStatus.FORBIDDEN, AWAY),
        summary="Tell what waits in the outbox",
    )
    async def outbox(_caller: ServiceOperator) -> Response:
        """Return how many tasks were committed by users' own transactions and wait to be taken."""
        return json_answer(to_json(await service.backend.read(OutboxView())))

    @router.post(
        "/outbox/nudge",
        status_code=202,
        response_model=NudgedView,
        responses=problems_of(HTTPStatus.FORBIDDEN, AWAY),
        summary="Look into the outbox at once",
    )
    async def nudge(_caller: Submitter) -> Response:
        """Have the tracker look for tasks that users' own transactions have committed.

        It looks each second anyway, so a nudge may get lost. No body is needed.
        """
        await service.backend.execute(NudgeOutbox())
        return json_answer(b'{"status":"nudged"}', HTTPStatus.ACCEPTED)

    return router
