"""Handlers with limits, for tests of what people set at run time."""

from typing import Any

from raytasks import Limit, handler

SMTP = Limit("smtp", running=20, rate=500, per_seconds=60)


@handler("mail", limits=[SMTP, Limit("customer", running=2, by="/account")])
def mail(payload: dict[str, Any]) -> dict[str, Any]:
    """Return the payload."""
    return payload


@handler("letter", limits=[SMTP])
def letter(payload: dict[str, Any]) -> dict[str, Any]:
    """Return the payload."""
    return payload


@handler("step", limits=[Limit("order", running=1, by="/order", ordered=True)])
def step(payload: dict[str, Any]) -> dict[str, Any]:
    """Return the payload."""
    return payload
