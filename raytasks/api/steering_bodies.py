"""The bodies of requests that set something at run time: limits, namespaces, pauses."""

from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from raytasks.api.request_bodies import read_json
from raytasks.api.route_service import Service
from raytasks.handling.submission import field_errors
from raytasks.model.bounds import NAMESPACE
from raytasks.model.controls import (
    DAY_SECONDS,
    MAX_RATE,
    MAX_SLOTS,
    MAX_WEIGHT,
    MIN_PERIOD,
    MIN_RATE,
    MIN_WEIGHT,
)
from raytasks.model.errors import InvalidSubmission

MAX_PAUSE_SECONDS = 366 * DAY_SECONDS
"""The longest pause that ends by itself, in seconds."""

MAX_BACKLOG = 10**12
"""The highest bound of a namespace's backlog."""

Body = TypeVar("Body", bound=BaseModel)


class LimitRequest(BaseModel):
    """The body of `PUT /limits/{name}`: all bounds of the limit. What is left out is no bound."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"running": 20, "rate": 500, "per_seconds": 60}]},
    )

    running: int | None = Field(
        default=None, ge=1, le=MAX_SLOTS, description="How many attempts may run at a time."
    )
    rate: float | None = Field(
        default=None,
        ge=MIN_RATE,
        le=MAX_RATE,
        allow_inf_nan=False,
        validate_default=True,
        description="How many attempts may begin in each `per_seconds`.",
    )
    per_seconds: float = Field(default=1.0, ge=MIN_PERIOD, le=DAY_SECONDS, allow_inf_nan=False)
    burst: int | None = Field(
        default=None,
        ge=1,
        le=MAX_SLOTS,
        description="How many may begin at once. Default: what one second allows, at least 1.",
    )

    @field_validator("rate")
    @classmethod
    def _bounds_something(cls, rate: float | None, info: ValidationInfo) -> float | None:
        if rate is None and info.data.get("running", 1) is None:
            raise ValueError("give running, rate, or both; DELETE returns to what is declared")
        return rate

    @field_validator("burst")
    @classmethod
    def _belongs_to_a_rate(cls, burst: int | None, info: ValidationInfo) -> int | None:
        if burst is not None and info.data.get("rate", 1.0) is None:
            raise ValueError("belongs to a rate; give rate as well")
        return burst


class ShareRequest(BaseModel):
    """The body of `PUT /namespaces/{name}`. What is left out has its default."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"weight": 2, "max_backlog": 100000}]},
    )

    weight: float = Field(
        default=1.0,
        ge=MIN_WEIGHT,
        le=MAX_WEIGHT,
        allow_inf_nan=False,
        description="Its share of run time, beside the other namespaces with waiting tasks.",
    )
    max_backlog: int | None = Field(
        default=None,
        ge=0,
        le=MAX_BACKLOG,
        description="How many of its tasks may wait; further ones get a 429. Null: no own bound.",
    )


class ScopeRequest(BaseModel):
    """The body of `POST /resume`: which pause. Without a field, that of the whole service."""

    model_config = ConfigDict(extra="forbid", strict=True)

    task_type: str | None = Field(default=None, min_length=1, max_length=100)
    namespace: str | None = Field(default=None, pattern=f"^{NAMESPACE}$")


class PauseRequest(ScopeRequest):
    """The body of `POST /pause`: what to pause. Without type and namespace, the whole service."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"task_type": "text_processing", "seconds": 600}]}
    )

    seconds: float | None = Field(
        default=None,
        gt=0,
        le=MAX_PAUSE_SECONDS,
        allow_inf_nan=False,
        description="It ends by itself then. Default: when a person ends it.",
    )


async def read_body(request: Request, service: Service, kind: type[Body]) -> Body:
    """Return the checked body of a request.

    Raises `Problem`, and `InvalidSubmission`, which names each wrong field.
    """
    value = await read_json(
        request.scope, request.receive, service.max_payload_bytes, service.max_depth
    )
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise InvalidSubmission("the request is not valid", field_errors(error)) from None
