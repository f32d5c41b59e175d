"""The client's requests that set something at run time: limits, namespaces, pauses."""

from typing import Any
from urllib.parse import quote

from raytasks.client.api_errors import BadArgument
from raytasks.client.bodies import given
from raytasks.client.requests import Call, checked_namespace

LIMITS = Call("GET", "/limits")
PAUSES = Call("GET", "/pauses")


def set_limit_call(
    name: str,
    running: int | None,
    rate: float | None,
    per_seconds: float | None,
    burst: int | None,
) -> Call:
    """Return the request that sets all bounds of a limit. Raises `BadArgument`."""
    body = given({"running": running, "rate": rate, "per_seconds": per_seconds, "burst": burst})
    return Call("PUT", _limit_path(name), body=body)


def clear_limit_call(name: str) -> Call:
    """Return the request that returns to a limit's declared bounds. Raises `BadArgument`."""
    return Call("DELETE", _limit_path(name))


def set_namespace_call(name: str, weight: float | None, max_backlog: int | None) -> Call:
    """Return the request that sets the share of a namespace. Raises `BadArgument`."""
    body = given({"weight": weight, "max_backlog": max_backlog})
    return Call("PUT", f"/namespaces/{checked_namespace(name)}", body=body)


def clear_namespace_call(name: str) -> Call:
    """Return the request that returns a namespace to the usual share. Raises `BadArgument`."""
    return Call("DELETE", f"/namespaces/{checked_namespace(name)}")


def pause_call(task_type: str | None, namespace: str | None, seconds: float | None) -> Call:
    """Return the request for a pause. Without type and namespace, it is of the whole service."""
    return Call("POST", "/pause", body=_scope(task_type, namespace) | given({"seconds": seconds}))


def resume_call(task_type: str | None, namespace: str | None) -> Call:
    """Return the request that ends a pause."""
    return Call("POST", "/resume", body=_scope(task_type, namespace))


def _scope(task_type: str | None, namespace: str | None) -> dict[str, Any]:
    return given({"task_type": task_type, "namespace": namespace})


def _limit_path(name: str) -> str:
    if not name or name in (".", ".."):
        raise BadArgument(f"{name!r} is not the name of a limit")
    return f"/limits/{quote(name, safe='')}"
