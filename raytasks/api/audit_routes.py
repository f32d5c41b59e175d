"""The route of the audit: what people did to tasks and to the service."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator
from pydantic_core import from_json, to_json
from starlette.responses import Response

from raytasks.api.asked_times import AskedTime
from raytasks.api.auth import ServiceOperator
from raytasks.api.filter_fields import NO_CONTROL
from raytasks.api.route_service import AWAY, Service, json_answer, problems_of
from raytasks.model.acts import ActionName, AuditEntry
from raytasks.model.bounds import MAX_LISTED, NAMESPACE
from raytasks.model.tasks import is_task_id
from raytasks.model.time_text import rfc3339
from raytasks.protocol.queries import AuditList


class AuditQuery(BaseModel):
    """The query of the audit."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=50, ge=1, le=MAX_LISTED)
    cursor: str | None = Field(default=None, description="The `next_cursor` of the page before.")
    by: str | None = Field(
        default=None, max_length=128, pattern=NO_CONTROL, description="Only acts of this person."
    )
    action: ActionName | None = None
    since: AskedTime | None = Field(
        default=None, description="Only acts from then on (RFC 3339, with a time zone)."
    )
    namespace: str | None = Field(default=None, pattern=f"^{NAMESPACE}$")

    @field_validator("cursor")
    @classmethod
    def _is_a_cursor(cls, cursor: str | None) -> str | None:
        if cursor is not None and not is_task_id(cursor):
            raise ValueError("must be the next_cursor of a page")
        return cursor


class AuditEntryView(BaseModel):
    """An act of a person.

    - `by`: the name of an API key, or `local` where no key is needed. Commands that go by Ray have
      `user@host`, and builds that Ray Serve brought have `serve`.
    - `namespace`: null for the whole service.
    - `target`: the id of a task or of a bulk operation, or the number of a version; or null.
    """

    audit_id: str
    at: AwareDatetime
    by: str
    action: ActionName
    namespace: str | None
    target: str | None
    details: dict[str, Any] | None


class AuditPageView(BaseModel):
    """One page of the audit, the newest act first."""

    entries: list[AuditEntryView]
    next_cursor: str | None


def audit_router(service: Service) -> APIRouter:
    """Return the router of `/audit`."""
    router = APIRouter()

    @router.get(
        "/audit",
        response_model=AuditPageView,
        responses=problems_of(HTTPStatus.UNPROCESSABLE_ENTITY, AWAY),
        summary="List what people did, the newest first",
    )
    async def listed(asked: Annotated[AuditQuery, Query()], _caller: ServiceOperator) -> Response:
        """Return one page: each change of a task or of the service by a person, and each stop.

        Only acts that changed something are there. They are kept for 90 days. It needs a key that
        is bound to no namespace.
        """
        query = AuditList(
            limit=asked.limit,
            cursor=asked.cursor,
            by=asked.by,
            action=asked.action,
            since=None if asked.since is None else asked.since.timestamp(),
            namespace=asked.namespace,
        )
        page = await service.backend.read(query)
        body = {
            "entries": [_shown(entry) for entry in page.entries],
            "next_cursor": page.next_cursor,
        }
        return json_answer(to_json(body))

    return router


def _shown(entry: AuditEntry) -> dict[str, Any]:
    return {
        "audit_id": entry.audit_id,
        "at": rfc3339(entry.at),
        "by": entry.by,
        "action": entry.action,
        "namespace": entry.namespace,
        "target": entry.target,
        "details": None if entry.details is None else from_json(entry.details),
    }
