"""The OpenAPI document: the framework's, with our errors and keys added."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from raytasks.api.access_gate import is_public
from raytasks.api.events.event_views import SHAPES
from raytasks.api.log_views import LOG_EVENTS
from raytasks.api.problems import CONTENT_TYPE, ProblemView

_KEY = "key"
_BY_KEY: list[dict[str, list[str]]] = [{_KEY: []}]
_ALL = (HTTPStatus.FORBIDDEN, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
"""The error statuses that every request may get."""
_PLACE = "#/components/schemas/{model}"
_FRAMEWORK_ERRORS = ("HTTPValidationError", "ValidationError")


def install(app: FastAPI, *, needs_key: bool) -> None:
    """Add to the app's document what its routes alone do not tell.

    Errors are problem documents, and stand only where they can occur. Requests need a key, or none.
    """
    make = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            _mend(make(), needs_key)
        return make()

    app.openapi = openapi  # type: ignore[method-assign] # the way that FastAPI's documents show


def reference_to(model: type[BaseModel]) -> dict[str, str]:
    """Return a reference to a model's place in the document."""
    return {"$ref": _PLACE.format(model=model.__name__)}


def _mend(document: dict[str, Any], needs_key: bool) -> None:
    shapes = (ProblemView, *SHAPES, *LOG_EVENTS.values())
    wanted = [(shape, "serialization") for shape in shapes]
    _, made = models_json_schema(wanted, ref_template=_PLACE)  # type: ignore[arg-type]
    document["components"]["schemas"].update(made["$defs"])
    document["components"]["securitySchemes"] = {
        _KEY: {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key. None is needed on the machine itself with "
            "RAYTASKS_DEBUG and without RAYTASKS_API_KEYS.",
        }
    }
    for path, operations in document["paths"].items():
        for operation in operations.values():
            _protect(operation, needs_key and not is_public(path))
            for status, answer in list(operation["responses"].items()):
                # Added to whatever has parameters.
                if _schema_name(answer.get("content", {})) in _FRAMEWORK_ERRORS:
                    del operation["responses"][status]
    for name in _FRAMEWORK_ERRORS:
        document["components"]["schemas"].pop(name, None)


def _protect(operation: dict[str, Any], needs_key: bool) -> None:
    """Add what the gate before all routes requires and answers."""
    operation["security"] = _BY_KEY if needs_key else [{}, *_BY_KEY]
    statuses = [*_ALL, HTTPStatus.UNAUTHORIZED]  # also for a wrong key where none is needed
    if "requestBody" in operation:
        statuses.append(HTTPStatus.REQUEST_TIMEOUT)
    content = {CONTENT_TYPE: {"schema": reference_to(ProblemView)}}
    for status in statuses:
        answer = {"description": status.phrase, "content": content}
        operation["responses"].setdefault(str(status.value), answer)


def _schema_name(content: dict[str, Any]) -> str:
    kind: dict[str, Any] = next(iter(content.values()), {})
    reference: str = kind.get("schema", {}).get("$ref", "")
    return reference.rpartition("/")[2]
