"""The routes of the page `/ui/`: its start page, and its files.

All URLs in it are relative, so it works below any path.
"""

import asyncio
from http import HTTPStatus

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from raytasks.web.bundle import PageFile, bundle

START = "/ui"
"""The page's path. Browsers see it with a slash, and relative URLs need that."""

UI_FILES = "/ui/files/"
"""The prefix of the paths of the page's files."""

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; connect-src 'self'; "
    "style-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Vary": "Accept-Encoding",
}
_ASK_AGAIN = "no-cache"
_KEEP = "public, max-age=31536000, immutable"


def install(app: FastAPI, *, needs_key: bool) -> None:
    """Add the page to an app. It asks for a key only if one is needed."""

    async def start(request: Request) -> Response:
        raw: bytes = request.scope.get("raw_path") or b"/"
        if not raw.partition(b"?")[0].endswith(b"/"):
            return RedirectResponse("ui/")
        page = await asyncio.to_thread(bundle)
        return _sent(request, page.locked if needs_key else page.start, _ASK_AGAIN)

    app.add_route(START, start, include_in_schema=False)
    app.add_route(f"{UI_FILES}{{version}}/{{path:path}}", _one_file, include_in_schema=False)


async def _one_file(request: Request) -> Response:
    """Send a file. The name of another version leads to the same file, which is then not kept.

    While replicas of two versions run, a browser may ask one for the files of the other.
    """
    page = await asyncio.to_thread(bundle)
    file = page.files.get(request.path_params["path"])
    if file is None:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    kept = request.path_params["version"] == page.version
    return _sent(request, file, _KEEP if kept else _ASK_AGAIN)


def _sent(request: Request, file: PageFile, caching: str) -> Response:
    headers = {**_HEADERS, "Cache-Control": caching, "ETag": file.etag}
    if file.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    data = file.data
    if "gzip" in request.headers.get("accept-encoding", ""):
        data, headers["Content-Encoding"] = file.packed, "gzip"
    return Response(data, headers=headers, media_type=file.media_type)
