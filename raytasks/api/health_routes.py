"""The routes of the health: for probes, and for people."""

import asyncio
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel
from pydantic_core import to_json
from starlette.responses import Response

from raytasks import __version__
from raytasks.api.auth import AnyCaller, Caller
from raytasks.api.route_service import AWAY, Service, json_answer
from raytasks.api_keys import Scope
from raytasks.protocol.queries import Health, Readiness

_HEALTH_SECONDS = 5.0
_READY_SECONDS = 2.0

_NEEDED = ("database", "tracker")
"""The parts without which no submission can be accepted."""

OK, DEGRADED = "ok", "degraded"


class HealthReasonView(BaseModel):
    """One reason why work stands, or why submissions are refused.

    `since` is in seconds since the epoch, or null if it is unknown. `count` is how many tasks,
    attempts or runners it is about. The `log` of a runner that cannot start is shown to the scope
    operate only.
    """

    code: str
    message: str
    fix: str
    since: float | None
    count: int
    log: list[str] | None = None


class LivenessView(BaseModel):
    """The answer of `/livez`."""

    status: str


class ReadinessView(BaseModel):
    """The answer of `/readyz`: `ok`, or `away` with the reasons."""

    status: str
    reasons: list[HealthReasonView]


def health_router(service: Service) -> APIRouter:
    """Return the router of the endpoints for health."""
    router = APIRouter()

    @router.get("/livez", response_model=LivenessView, summary="Tell that this replica lives")
    async def livez(_caller: AnyCaller) -> Response:
        """Answer at once, and ask nobody. Without an answer, restart the replica."""
        return json_answer(b'{"status":"ok"}')

    @router.get(
        "/readyz",
        response_model=ReadinessView,
        responses={503: {"description": "No submission could be committed now."}},
        summary="Tell whether a submission could be committed now",
    )
    async def readyz(_caller: AnyCaller) -> Response:
        """Answer `200` if a submission could be committed now, else `503` with the reason."""
        try:
            async with asyncio.timeout(_READY_SECONDS):
                reasons = await service.backend.read(Readiness())
        except Exception:
            reasons = [_tracker_away()]
        body = {"status": "away" if reasons else OK, "reasons": reasons}
        return json_answer(to_json(body), AWAY if reasons else HTTPStatus.OK)

    @router.get(
        "/health",
        responses={503: {"description": "Submissions cannot be accepted."}},
        summary="Tell how the service is",
    )
    async def health(caller: AnyCaller) -> Response:
        """Return the state of all parts, and the reasons why work stands, each with its fix.

        The status code is `503` only if submissions cannot be accepted. Else `status` is `ok`, or
        `degraded` with `reasons`. Without a key, or without the scope read, the answer has only
        `status` and `version`.
        """
        try:
            async with asyncio.timeout(_HEALTH_SECONDS):
                report = await service.backend.read(Health())
        except Exception as error:
            away = {"ok": False, "error": f"{type(error).__name__}: the tracker is away"}
            report = {"tracker": away, "reasons": [_tracker_away()]}
        return _health_answer(report, caller, debug=service.debug)

    return router


def _health_answer(report: dict[str, Any], caller: Caller, *, debug: bool) -> Response:
    if not debug and not report.get("database", {}).get("ok", True):
        # A driver's error text names hosts and users.
        report["database"] = {"ok": False, "error": "the database is away; see the log"}
    reasons = report.pop("reasons", [])
    body: dict[str, Any] = {"status": DEGRADED if reasons else OK, "version": __version__}
    if caller.may(Scope.READ):
        body |= {**report, "reasons": _shown(reasons, caller.may(Scope.OPERATE))}
    accepts = all(report[name].get("ok") for name in _NEEDED if name in report)
    return json_answer(to_json(body), HTTPStatus.OK if accepts else AWAY)


def _shown(reasons: list[dict[str, Any]], with_logs: bool) -> list[dict[str, Any]]:
    """Return reasons as they are shown: with the end of logs only for who may see them."""
    return [
        {key: value for key, value in reason.items() if key != "log" or with_logs}
        for reason in reasons
    ]


def _tracker_away() -> dict[str, Any]:
    return {
        "code": "tracker_away",
        "message": "the tracker does not answer, so no submission is accepted",
        "fix": "wait some seconds: it is started again by itself; else see the log",
        "since": None,
        "count": 1,
    }
