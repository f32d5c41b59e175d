"""The table of endpoints in docs/security.md: it has every route, and it is right."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Mount, Route

from raytasks.api_keys import Scope
from tests.api.test_auth import BODIES, UNKNOWN, check_problem
from tests.keyring import bearer
from tests.local_service import Api

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
ROW = re.compile(r"^\| `([A-Z]+) (/\S*)` \| (.+) \|$", re.MULTILINE)
TABLE = {(method, path): who for method, path, who in ROW.findall(PAGE.read_text())}
FREE = "free key"
ANY = "any key"
KEYS = {"read": "r", "submit": "s", "operate": "o"}


SHARED = pytest.mark.asyncio(loop_scope="module")  # with the service of the module


def routes_of(app: Any) -> Iterator[tuple[str, str]]:
    """Yield method and path of every route of an app, behind all that stands before it."""
    while hasattr(app, "_app"):
        app = app._app
    waiting = list(app.routes)
    while waiting:
        route = waiting.pop()
        if isinstance(route, Mount):
            yield "GET", route.path
        elif isinstance(route, Route) or hasattr(route, "methods"):
            reads = "GET" in route.methods  # the pages also refuse other methods by themselves
            for method in {"GET"} if reads else route.methods:
                yield method, route.path
        else:
            waiting += route.original_router.routes


@SHARED
async def test_it_has_every_route_and_no_other(locked_api: Api) -> None:
    assert set(routes_of(locked_api.service.app)) == TABLE.keys()


def scope_of(who: str) -> str:
    return re.split(r"[,:]", who)[0]


def test_each_scope_is_one() -> None:
    assert {scope_of(who) for who in TABLE.values()} == {"public", ANY, *Scope}


@pytest.mark.parametrize(("method", "path"), TABLE)
@SHARED
async def test_who_may(locked_api: Api, method: str, path: str) -> None:
    who = TABLE[method, path]
    scope = scope_of(who)
    filled = re.sub(r"\{\w+_id\}", UNKNOWN, path).replace("{name}", "a.jpg")
    if filled.endswith("/docs/files"):
        filled += "/swagger-ui.css"
    filled = filled.replace("{version}/{path:path}", "any/ui/main.js")

    async def ask(key: str | None) -> Any:
        headers = {} if key is None else bearer(key)
        body = BODIES.get(path) if method == "POST" else None
        return await locked_api.client.request(method, filled, json=body, headers=headers)

    if path.endswith("/events") and scope == "read":
        pass  # who may is answered by a stream that does not end: only refusals are asked for
    elif scope == "public":
        assert (await ask(None)).status_code not in (401, 403)
    else:
        for key in KEYS.values() if scope == ANY else [KEYS[scope]]:
            assert (await ask(key)).status_code not in (401, 403)
    if scope == "public":
        return
    assert (await ask(None)).status_code == 401
    for other in () if scope == ANY else KEYS.keys() - {scope}:
        assert f"scope {scope}," in check_problem(await ask(KEYS[other]), 403)
    if FREE in who:
        assert "bound to the namespace team-b" in check_problem(await ask("b"), 403)
        assert (await ask("a")).status_code == 200 or method in ("PUT", "DELETE")
