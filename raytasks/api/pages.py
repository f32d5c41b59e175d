"""The pages for browsers: `/docs` shows the API, `/ui/` the tasks, and `/` leads there.

All their files come from this server. A policy tells browsers to load nothing from elsewhere.
"""

from functools import cache
from html import escape
from http import HTTPStatus

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from raytasks.api import ui_pages
from raytasks.web import DOCS, SWAGGER_UI

PAGES = frozenset({"/", "/docs", "/redoc", ui_pages.START})
"""The pages that answer everybody. `/redoc` was once a page of its own."""

FILES = "/docs/files/"
"""The prefix of the paths of the pages' files."""

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

_HEADERS = {
    # Swagger UI writes styles into its elements, and draws pictures from its style sheet.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; connect-src 'self'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def install(app: FastAPI, *, needs_key: bool) -> None:
    """Add the pages to an app that has none of the framework's."""
    app.add_route("/", _front, methods=_METHODS, include_in_schema=False)
    app.add_route("/redoc", _lead_to_docs, include_in_schema=False)
    app.add_route("/docs", _docs, include_in_schema=False)
    app.add_route(f"{FILES}start.js", _start, include_in_schema=False)
    app.mount(FILES, StaticFiles(directory=SWAGGER_UI))
    ui_pages.install(app, needs_key=needs_key)


async def _front(request: Request) -> Response:
    """Redirect browsers to the page. For programs there is nothing here."""
    reads = request.method in ("GET", "HEAD")
    if not reads or "text/html" not in request.headers.get("accept", ""):
        raise HTTPException(HTTPStatus.NOT_FOUND)
    return RedirectResponse(f"{_root(request)}/ui/" if _root(request) else "ui/")


async def _lead_to_docs(request: Request) -> Response:
    return RedirectResponse(f"{_root(request)}/docs")


async def _docs(request: Request) -> Response:
    return HTMLResponse(_page().replace("{root}", escape(_root(request))), headers=_HEADERS)


async def _start(_request: Request) -> Response:
    return FileResponse(DOCS / "start.js", headers={"Cache-Control": "no-cache"})


@cache
def _page() -> str:
    return (DOCS / "index.html").read_text(encoding="utf-8")


def _root(request: Request) -> str:
    root: str = request.scope.get("root_path", "")
    return root
