"""The route of the metrics, for Prometheus."""

import asyncio
import time
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from raytasks.api.auth import Caller, require_unbound
from raytasks.api.route_service import AWAY, Service, problems_of
from raytasks.api_keys import Scope
from raytasks.observe.metrics import render
from raytasks.protocol.metrics_data import MetricsData
from raytasks.protocol.queries import Metrics, Reader

KEPT_SECONDS = 1.0
"""Seconds for which a replica gives the same answer again."""

_TEXT = {"content": {"text/plain": {"schema": {"type": "string"}}}}


class Rendered:
    """The metrics of a replica: read from the tracker at most once a second, and then kept.

    The age of an answer counts from when the tracker was asked. So two requests that are a second
    apart never see a number fall, whichever replicas they reach.
    """

    def __init__(self, reader: Reader, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._reader = reader
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._asked_at: float | None = None
        self._data: MetricsData | None = None
        self._texts: dict[str, tuple[bytes, str]] = {}

    async def text(self, accept: str) -> tuple[bytes, str]:
        """Return the metrics and their content type. Raises `StoreUnavailable`."""
        async with self._lock:
            now = self._monotonic()
            if self._data is None or self._asked_at is None or now - self._asked_at >= KEPT_SECONDS:
                self._data, self._texts = None, {}
                self._asked_at = now
                self._data = await self._reader.read(Metrics())
            known = self._texts.get(accept)
            if known is None:
                # With 1,000 task types it takes a second: other requests go on meanwhile.
                known = await asyncio.to_thread(render, self._data, accept)
                if len(self._texts) < _FORMATS:
                    self._texts[accept] = known
            return known


_FORMATS = 8


def metrics_router(service: Service) -> APIRouter:
    """Return the router of `/metrics`."""
    router = APIRouter()
    rendered = Rendered(service.backend)

    @router.get(
        "/metrics",
        response_class=Response,
        responses={200: {"description": "OK", **_TEXT}, **problems_of(AWAY)},
        summary="Give the metrics of the whole service to Prometheus",
    )
    async def metrics(
        request: Request, _caller: Annotated[Caller, Depends(require_unbound(Scope.READ))]
    ) -> Response:
        """Return all metrics as text: Prometheus', or OpenMetrics if `Accept` asks for it.

        Every replica answers the same, at most a second old. A key that is bound to a namespace is
        refused, as the metrics are those of all namespaces.
        """
        text, content_type = await rendered.text(request.headers.get("accept", ""))
        return Response(text, headers={"content-type": content_type})

    return router
