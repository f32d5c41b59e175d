"""The client's requests about schedules, and their steps."""

from typing import Any, Literal
from urllib.parse import quote

from raytasks.client.api import Api
from raytasks.client.api_errors import BadArgument
from raytasks.client.bodies import given
from raytasks.client.requests import Call
from raytasks.client.schedule_documents import ScheduleDocument, ScheduleSettings
from raytasks.client.steps import Steps
from raytasks.handling.declaration import task_type_of
from raytasks.model.bounds import MAX_LISTED


def all_schedules(api: Api, name: str | None = None) -> Steps[list[ScheduleDocument]]:
    """Get the schedules, page by page; only the one with this name, if it is given."""
    found: list[ScheduleDocument] = []
    params: dict[str, Any] = {"limit": MAX_LISTED} if name is None else {"name": name, "limit": 1}
    while True:
        page = yield from api.ask(Call("GET", "/schedules", params))
        found += page["schedules"]
        if page["next_cursor"] is None:
            return found
        params = {**params, "cursor": page["next_cursor"]}


def set_schedule_call(name: str, settings: ScheduleSettings) -> Call:
    """Return the request that sets a schedule. Raises `BadArgument`, `HandlerError`."""
    body = given(settings, keep="payload")
    if "task_type" in body:
        body["task_type"] = task_type_of(body["task_type"])
    return Call("PUT", _path(name), body=body)


def clear_schedule_call(name: str) -> Call:
    """Return the request that returns to a schedule's declaration. Raises `BadArgument`."""
    return Call("DELETE", _path(name))


def schedule_call(name: str, verb: Literal["run", "pause", "resume"]) -> Call:
    """Return the request for an act on a schedule. Raises `BadArgument`."""
    return Call("POST", f"{_path(name)}/{verb}")


def _path(name: str) -> str:
    if not name or name in (".", ".."):
        raise BadArgument(f"{name!r} is not the name of a schedule")
    return f"/schedules/{quote(name, safe='')}"
