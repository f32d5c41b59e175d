"""The FastAPI app. It needs a backend, and no Ray."""

import time
from collections.abc import Callable

from fastapi import FastAPI
from starlette.types import ASGIApp

from raytasks import __version__
from raytasks.api import openapi, pages, problems
from raytasks.api.access_gate import AccessGate
from raytasks.api.artifact_routes import artifact_router
from raytasks.api.audit_routes import audit_router
from raytasks.api.backend import Backend
from raytasks.api.bulk_routes import bulk_router
from raytasks.api.change_routes import change_router
from raytasks.api.error_routes import error_router
from raytasks.api.events.event_routes import event_router
from raytasks.api.fast_path import FastPath
from raytasks.api.health_routes import health_router
from raytasks.api.inspection_routes import inspection_router
from raytasks.api.limit_routes import limit_router
from raytasks.api.log_routes import log_router
from raytasks.api.metrics_routes import metrics_router
from raytasks.api.namespace_routes import namespace_router
from raytasks.api.outbox_routes import outbox_router
from raytasks.api.pause_routes import pause_router
from raytasks.api.pool_routes import pool_router
from raytasks.api.request_bounds import WaitingRoom
from raytasks.api.request_log import CallerNote, RequestLog
from raytasks.api.route_service import Service
from raytasks.api.routes import service_router, task_router
from raytasks.api.schedule_routes import schedule_router
from raytasks.api.signing import Links
from raytasks.api.stats_routes import stats_router
from raytasks.api.submissions import Submissions, submission_router
from raytasks.api.trailing_slash import TrailingSlash
from raytasks.artifacts.artifact_store import ArtifactStore
from raytasks.artifacts.large_values import LargeValues
from raytasks.handling.registry import Registry
from raytasks.settings import Settings

DESCRIPTION = "A durable task queue that is native to Ray: what got a 202 is never lost."


def create_app(
    backend: Backend,
    registry: Registry,
    settings: Settings,
    *,
    clock: Callable[[], float] = time.time,
) -> ASGIApp:
    """Return the app that serves the API, for these handlers and this tracker.

    `clock` returns seconds since the epoch. It times submissions, and links that expire.
    """
    app = FastAPI(
        title="raytasks",
        version=__version__,
        description=DESCRIPTION,
        redirect_slashes=False,
        docs_url=None,  # the framework's pages need the internet
        redoc_url=None,
    )
    problems.install(app)
    openapi.install(app, needs_key=bool(settings.api_keys))
    artifacts = ArtifactStore(settings.artifacts_url)
    service = Service(
        backend=backend,
        registry=registry,
        artifacts=artifacts,
        values=LargeValues(artifacts, settings.offload_bytes, settings.max_result_bytes),
        max_payload_bytes=settings.max_payload_bytes,
        max_depth=settings.max_depth,
        debug=settings.debug,
        waiting_room=WaitingRoom(settings.max_waiting_clients),
        links=Links(settings.secret_key, settings.artifact_link_seconds, clock),
        max_batch_bytes=settings.max_batch_bytes,
        clock=clock,
        callbacks=settings.callback_terms,
    )
    app.state.service = service
    submissions = Submissions(service)
    app.include_router(submission_router(submissions))
    app.include_router(event_router(service))  # before `/tasks/{task_id}`: one path is like it
    app.include_router(task_router(service))
    app.include_router(change_router(service))
    app.include_router(bulk_router(service))
    app.include_router(stats_router(service))
    app.include_router(log_router(service))
    app.include_router(audit_router(service))
    app.include_router(error_router(service))
    app.include_router(namespace_router(service))
    app.include_router(limit_router(service))
    app.include_router(pause_router(service))
    app.include_router(schedule_router(service))
    app.include_router(outbox_router(service))
    app.include_router(metrics_router(service))
    app.include_router(service_router(service))
    app.include_router(health_router(service))
    app.include_router(inspection_router(service))
    app.include_router(pool_router(service))
    app.include_router(artifact_router(service))
    pages.install(app, needs_key=bool(settings.api_keys))
    answering: ASGIApp = FastPath(app, service, submissions)
    if settings.log_level != "DEBUG":
        return TrailingSlash(AccessGate(answering, settings))
    return RequestLog(TrailingSlash(AccessGate(CallerNote(answering), settings)))
